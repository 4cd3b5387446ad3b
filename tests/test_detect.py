"""The detection family: boxes lie in the upright picture, words choose, thresholds hold, and what is wrong is told."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from PIL import Image

from engine import Caller, Engine, Priority, fold
from engine.errors import BadFormat, BadValue, Cancelled, LoadFailed
from engine.events import Segment
from engine.families import _detectors, hf_detect
from engine.families._everyday import THINGS
from engine.hub import describe
from engine.registry import Batcher
from engine.requests import DetectRequest
from tests import lookers
from tests.finders import OPEN, OWN
from tests.lookers import NAMES, Zoo, load, picture, png, row, told, turned
from tests.tiny import Listener

pytestmark = pytest.mark.slow
WORDS = ("dog", "red circle", "umbrella")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("hf_detect"), {**OWN, **OPEN}, hf_detect, seed=2, wide=1.5)


def detect(
    backend: Any, *words: str, image: bytes = b"", threshold: float | None = 0.0
) -> list[Segment]:
    listener = Listener()
    backend.detect(DetectRequest(image=image or png(), words=words, threshold=threshold), listener)
    return told(listener)


def boxes(found: list[Segment]) -> list[tuple[float, ...]]:
    return [segment.box for segment in found if segment.box is not None]


@pytest.mark.parametrize("kind", [*OWN, *OPEN])
@pytest.mark.parametrize("size", [(48, 40), (37, 120), (1200, 90), (1, 1), (1, 3000)], ids=str)
def test_boxes_lie_in_the_picture_best_first(zoo, kind, size):
    backend = zoo[kind]
    assert not isinstance(backend, Batcher)
    asked = WORDS if kind in OPEN else ()
    found = detect(backend, *asked, image=png(picture(*size)))
    padded = kind == "owlv2" and max(size) > 10 * min(size)  # all may lie beside the picture
    assert (found or padded) and len(boxes(found)) == len(found)
    for x0, y0, x1, y1 in boxes(found):
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    scores = [segment.score or 0 for segment in found]
    assert scores == sorted(scores, reverse=True) and all(0 < score <= 1 for score in scores)
    known = WORDS if kind in OPEN else set(NAMES.values()) - {"N/A"}
    assert {segment.text for segment in found} <= set(known)


@pytest.mark.parametrize("kind", [*OWN, *OPEN])
def test_boxes_are_those_of_the_class(zoo, kind):
    """The same as the class's own rule makes of a plain pass, for what both tell of."""
    backend = zoo[kind]
    finder, shown = backend.finder, picture()
    reader = finder._reader
    if kind in OWN:
        with torch.inference_mode():
            inputs = reader(images=shown, return_tensors="pt")
            out = finder._model(pixel_values=inputs["pixel_values"])
        own = reader.post_process_object_detection(out, threshold=0.01, target_sizes=[(40, 48)])[0]
    else:
        owl = kind.startswith("owl")
        said = [f"a photo of {word}" for word in WORDS] if owl else [list(WORDS)]
        with torch.inference_mode():
            inputs = reader(images=shown, text=said, return_tensors="pt")
            out = finder._model(**inputs)
        ids = {} if owl else {"input_ids": inputs["input_ids"]}
        own = reader.post_process_grounded_object_detection(
            out, threshold=0.01, target_sizes=[(40, 48)], **ids
        )[0]
    named = own["labels"] != 3 if kind in OWN else 1  # "N/A" is no name
    top = int((own["scores"] * named).argmax())
    first = detect(backend, *(WORDS if kind in OPEN else ()))[0]
    limits = torch.tensor([48.0, 40.0, 48.0, 40.0])
    box = own["boxes"][top].clamp(min=torch.zeros(4), max=limits)
    assert first.score == pytest.approx(float(own["scores"][top]), abs=1e-4)
    assert first.box == pytest.approx(box.tolist(), abs=0.02)


@pytest.mark.parametrize("kind", ["detr", "rt-detr-v2", "owlv2", "grounding-dino"])
def test_pictures_are_seen_upright(zoo, kind):
    backend = zoo[kind]
    asked = WORDS if kind in OPEN else ()
    assert detect(backend, *asked, image=turned(picture())) == detect(backend, *asked)


def test_large_pictures_are_told_in_their_own_pixels(zoo):
    backend = zoo["rt-detr"]
    small, large = detect(backend), detect(backend, image=png(picture(48 * 128, 40 * 128)))
    assert small[0].text == large[0].text
    assert [x * 128 for x in boxes(small)[0]] == pytest.approx(boxes(large)[0], abs=260)
    assert max(x1 for _, _, x1, _ in boxes(large)) > 3000


@pytest.mark.parametrize("kind", ["rt-detr", "detr", "owlvit", "grounding-dino"])
def test_thresholds_hold(zoo, kind):
    backend = zoo[kind]
    asked = WORDS if kind in OPEN else ()
    everything = detect(backend, *asked)
    middle = everything[len(everything) // 2].score or 0
    assert detect(backend, *asked, threshold=middle) == [
        segment for segment in everything if (segment.score or 0) >= middle
    ]
    assert all(segment.score == 1 for segment in detect(backend, *asked, threshold=1.0))


def test_each_class_has_its_own_usual_threshold(zoo):
    found = {kind: zoo[kind].threshold for kind in (*OWN, *OPEN)}
    assert found["detr"] == 0.7 and found["owlv2"] == 0.2 and found["grounding-dino"] == 0.3
    backend = zoo.load("rt-detr", threshold=0.123)
    usual = detect(backend, threshold=None)
    assert usual == detect(backend, threshold=0.123)


def test_words_choose_among_a_models_own_classes(zoo):
    backend = zoo["rt-detr-v2"]
    everything = detect(backend)
    assert len({segment.text for segment in everything}) > 1
    for asked, meant in (("People", "person"), ("DOGS", "dog"), ("a phone", "cell phone")):
        wanted = [segment for segment in everything if segment.text == meant]
        assert detect(backend, asked) == wanted
    assert detect(backend, "dog", "zebra") == detect(backend, "dog")
    with pytest.raises(BadValue, match=r"'zebra', 'lamp' is none of them.*person, traffic light"):
        detect(backend, "zebra", "lamp")


def test_words_in_other_languages_come_with_the_row(zoo):
    backend = zoo.load("rt-detr-v2", also={"chien": "dog", "собака": "dog"})
    assert detect(backend, "Собака") == detect(backend, "dog") == detect(backend, "chiens", "dog")


@pytest.mark.parametrize("kind", OPEN)
def test_words_that_are_read_are_told_as_they_were_given(zoo, kind):
    backend = zoo[kind]
    asked = ("Mr. Dog?", "a red circle", "человек")
    found = detect(backend, *asked)
    assert found and {segment.text for segment in found} <= set(asked)


@pytest.mark.parametrize("kind", OPEN)
def test_without_words_everyday_things_are_looked_for(zoo, kind):
    backend = zoo[kind]
    assert {segment.text for segment in detect(backend)} <= set(THINGS)
    own = zoo.load(kind, words=["lamp"])
    assert {segment.text for segment in detect(own)} == {"lamp"}


def test_many_words_are_read_in_several_passes(zoo, monkeypatch):
    backend = zoo["grounding-dino"]
    passes: list[int] = []
    inner = backend.finder.run
    monkeypatch.setattr(
        backend.finder, "run", lambda m, i, e: passes.append(i["input_ids"].shape[1]) or inner(m, i, e)
    )  # fmt: skip
    words = [f"thing number {n}" for n in range(20)]
    detect(backend, *words)
    assert len(passes) > 1 and max(passes) <= 40
    with pytest.raises(BadValue, match="too long"):
        detect(backend, "word " * 39)
    with pytest.raises(BadValue, match="nothing that can be looked for"):
        detect(backend, "...")


def test_one_thing_is_told_once_by_owls(zoo):
    from torchvision.ops import box_iou

    backend = zoo["owlv2"]
    found = detect(backend, "dog")
    places = torch.tensor(boxes(found))
    overlaps = box_iou(places, places) - torch.eye(len(places))
    # Boxes are cut at the picture's edges after the weaker ones were dropped.
    inside = [n for n, b in enumerate(boxes(found)) if min(b) > 0 and b[2] < 48 and b[3] < 40]
    assert float(overlaps[inside][:, inside].max()) <= _detectors.OVERLAP + 1e-3


def test_words_are_cleaned(zoo):
    backend = zoo["owlvit"]
    assert detect(backend, " dog ", "dog") == detect(backend, "dog")
    with pytest.raises(BadValue, match="Word 2 is empty"):
        detect(backend, "dog", "  ")


BAD_PICTURES = {
    "empty": (b"", BadValue),
    "pdf": (b"%PDF-1.7", BadFormat),
    "truncated": (png()[:200], BadFormat),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures_are_refused(zoo, case):
    data, error = BAD_PICTURES[case]
    listener = Listener()
    with pytest.raises(error) as caught:
        zoo["yolos"].detect(DetectRequest(image=data), listener)
    assert caught.value.param == "image" and not listener.events


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_a_stop_ends_the_work(zoo, patience):
    backend = zoo["rt-detr"]
    request = DetectRequest(image=png(), threshold=0.0)
    with pytest.raises(Cancelled):
        backend.detect(request, Listener(Cancelled(), patience=patience))
    assert detect(backend)


@pytest.mark.parametrize("kind", [*OWN, *OPEN])
def test_others_have_their_turn_within_a_pass(zoo, kind, monkeypatch):
    monkeypatch.setattr("engine.families._looking.MOMENT", 0.0)
    backend = zoo[kind]
    listener = Listener()
    backend.detect(DetectRequest(image=png(), words=("dog",), threshold=1.0), listener)
    assert listener.calls > 5


def test_places_are_held_in_32_bits(zoo, settings):
    """Whatever the setting, for 16 bits are too few for places; the plan knows it too."""
    from engine.demand import Demand
    from engine.settings import Settings
    from tests.fakes import FakeDevice, Remembered

    spec = row(zoo.folder("rt-detr"), "hf_detect")
    half = Settings(device="cpu", dtype="bfloat16")
    backend = hf_detect.load(spec, half)
    assert backend.finder._model.dtype == torch.float32
    demand = Demand(FakeDevice(), {"hf_detect": hf_detect}, half, Remembered(), 10**9)
    assert [need.form.dtype for need in demand.needs(spec)] == ["float32"]


def test_memory_is_told_and_given_back(zoo):
    backend = zoo.load("grounding-dino")
    weights = sum(p.numel() * 4 for p in backend.finder._model.parameters())
    assert weights <= backend.memory() <= weights * 1.5
    model = weakref.ref(backend.finder._model)
    backend.close()
    gc.collect()
    assert model() is None and backend.memory() == 0


@pytest.mark.parametrize(
    ("name", "family", "does"),
    [
        ("CLIPModel", "hf_label", "label"),
        ("SiglipModel", "hf_label", "label"),
        ("ResNetForImageClassification", "hf_label", "label"),
        ("RTDetrV2ForObjectDetection", "hf_detect", "detect"),
        ("YolosForObjectDetection", "hf_detect", "detect"),
        ("Owlv2ForObjectDetection", "hf_detect", "detect"),
        ("GroundingDinoForObjectDetection", "hf_detect", "detect"),
    ],
)
def test_repositories_of_these_classes_are_recognised(name, family, does):
    families = ("hf_chat", "hf_label", "hf_detect")
    spec = describe("a/b", "a/b", "", {"architectures": [name]}, families=families)
    assert (spec.family, spec.does) == (family, {does})


def test_what_finds_no_things_is_told(zoo, tmp_path):
    lookers.build(tmp_path, lookers.CLASSES["vit"])
    with pytest.raises(LoadFailed):
        load(tmp_path, hf_detect)


async def test_requests_reach_it_through_the_engine(zoo, settings):
    engine = Engine.build(
        settings,
        families={"hf_detect": hf_detect},
        specs=(row(zoo.folder("rt-detr"), "hf_detect"),),
    )
    await engine.start()
    try:
        caller = Caller(name="test", dialect="test", priority=Priority.API)
        asked = DetectRequest(image=png(Image.new("RGB", (64, 48))), threshold=0.0)
        result = await fold(engine.run(asked, caller))
        assert result.segments and all(segment.box for segment in result.segments)
    finally:
        await engine.close()
