"""The label family: shares equal a plain computation, what is kept is not read again, and what is wrong is told."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from engine import Caller, Engine, Priority, fold
from engine.errors import BadFormat, BadValue, Cancelled, LoadFailed, TooLarge
from engine.events import Done, Segment
from engine.families import hf_label
from engine.families._everyday import EVERYDAY
from engine.families._looking import LONGEST, THINNEST, tame
from engine.families._naming import match
from engine.registry import Batcher
from engine.requests import LabelRequest
from tests import lookers
from tests.lookers import CLASSES, LABELS, Zoo, load, picture, png, row, told, turned
from tests.tiny import Listener

pytestmark = pytest.mark.slow
ASKED = ("a red circle", "cat", "dog", "уличный фонарь")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("hf_label"), {**LABELS, **CLASSES}, hf_label)


@pytest.fixture
def clip(zoo: Zoo) -> hf_label.HfWords:
    backend: hf_label.HfWords = zoo["clip"]
    backend._vectors.clear()
    return backend


def label(backend: Any, *labels: str, image: bytes = b"") -> list[Segment]:
    listener = Listener()
    backend.label(LabelRequest(image=image or png(), labels=labels), listener)
    return told(listener)


def plain(backend: Any, labels: tuple[str, ...]) -> list[float]:
    """The model's own forward pass over everything at once, as its class defines scores."""
    model, reader = backend._model, backend._reader
    said = [hf_label.say(text, backend.spec) for text in labels]
    if backend._bias is not None:
        said = [text.lower() for text in said]
    texts = reader.tokenizer(said, return_tensors="pt", **backend._how)
    shown = reader.image_processor(images=picture(), return_tensors="pt")
    with torch.inference_mode():
        logits = model(**texts, **shown).logits_per_image[0]
    chances = logits.sigmoid() if backend._bias is not None else logits.exp()
    return (chances / chances.sum()).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", LABELS)
def test_shares_equal_the_models_own_scores(zoo, kind):
    backend = zoo[kind]
    assert not isinstance(backend, Batcher)
    found = {segment.text: segment.score for segment in label(backend, *ASKED)}
    assert set(found) == set(ASKED)
    for text, share in zip(ASKED, plain(backend, ASKED), strict=True):
        assert math.isclose(found[text] or 0, share, rel_tol=2e-3, abs_tol=1e-5)
    assert len({round(score or 0, 6) for score in found.values()}) > 1, "nothing is told apart"


@pytest.mark.parametrize("kind", [*LABELS, *CLASSES])
@pytest.mark.parametrize("labels", [(), ("dog", "person")], ids=["own", "given"])
def test_shares_add_up_to_one_best_first(zoo, kind, labels):
    backend = zoo[kind]
    scores = [segment.score or 0 for segment in label(backend, *labels)]
    assert math.isclose(sum(scores), 1, abs_tol=1e-6)
    assert scores == sorted(scores, reverse=True) and all(0 <= s <= 1 for s in scores)
    assert all(s.box is None for s in label(backend, *labels))


@pytest.mark.parametrize("kind", ["clip", "siglip2", "vit"])
def test_16_bits_tell_nearly_the_same(zoo, kind):
    half = zoo.load(kind, dtype="bfloat16")
    assert half._model.dtype == torch.bfloat16
    whole = {segment.text: segment.score for segment in label(zoo[kind], "dog", "person")}
    for segment in label(half, "dog", "person"):
        assert segment.score == pytest.approx(whole[segment.text], abs=0.03)


def test_pictures_decide(zoo):
    backend = zoo["clip"]
    one, other = (label(backend, *ASKED, image=png(picture(seed=n))) for n in (1, 2))
    assert one != other and one == label(backend, *ASKED, image=png(picture(seed=1)))


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit"])
def test_pictures_are_seen_upright(zoo, kind):
    backend = zoo[kind]
    own = ("dog", "person")
    assert label(backend, *own, image=turned(picture())) == label(backend, *own)


def test_without_labels_everyday_ones_or_those_of_the_row(zoo):
    assert len(label(zoo["clip"])) == len(EVERYDAY) > 60
    own = zoo.load("clip", labels=["a circle", "a star"])
    assert {segment.text for segment in label(own)} == {"a circle", "a star"}
    assert {s.text for s in label(zoo["vit"])} == set(lookers.NAMES.values())


def test_texts_are_read_once(clip, monkeypatch):
    passes: list[int] = []
    inner = clip.run

    def counting(method: str, inputs: Any, emit: Any) -> Any:
        if method == "get_text_features":
            passes.append(len(inputs["input_ids"]))
        return inner(method, inputs, emit)

    monkeypatch.setattr(clip, "run", counting)
    before = clip.memory()
    first = label(clip, *ASKED)
    assert label(clip, *ASKED) == first and passes == [4]
    label(clip, "cat", "a new one")
    assert passes == [4, 1] and clip.memory() == before + 5 * 16 * 4
    monkeypatch.setattr(hf_label, "KEPT", 2)
    assert len(label(clip, *(f"label {n}" for n in range(150)))) == 150
    assert passes[2:] == [64, 64, 22] and len(clip._vectors) == 2


def test_labels_are_cleaned_and_each_told_once(clip):
    assert len(label(clip, " cat ", "cat", "Cat")) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat", "a photo of cat"),
        ("a drawing of a cat", "a drawing of a cat"),
        ("une étoile rouge", "photo : une étoile rouge"),
        ("um cão", "foto: um cão"),
        ("кошка", "фото: кошка"),
        ("фотография кошки", "фотография кошки"),
    ],
)
def test_a_label_is_said_in_its_language(text, said):
    assert hf_label.say(text, row(Path(), "hf_label")) == said


def test_a_row_says_how_labels_are_said():
    assert hf_label.say("x", row(Path(), "hf_label", template="{}")) == "x"
    assert hf_label.language_of("кошка", ("en",)) == "en"


def test_given_labels_choose_among_a_models_own_classes(zoo):
    backend = zoo["vit"]
    found = label(backend, "Dogs", "people", "phone")
    assert {segment.text for segment in found} == {"Dogs", "people", "phone"}
    with pytest.raises(BadValue, match=r"'zebra' is none of them\. It knows person, traffic light"):
        label(backend, "dog", "zebra")


def test_a_model_of_many_labels_at_once_shares_them_out(zoo, tmp_path):
    def many(folder: Path) -> Any:
        model = CLASSES["vit"](folder)
        model.config.problem_type = "multi_label_classification"
        return model

    scores = [s.score or 0 for s in label(load(lookers.build(tmp_path, many), hf_label))]
    assert math.isclose(sum(scores), 1, abs_tol=1e-6)


BAD_PICTURES = {
    "empty": (b"", BadValue),
    "text": (b"hello", BadFormat),
    "svg": (b"<svg xmlns='x'></svg>", BadFormat),
    "truncated": (png()[:200], BadFormat),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures_are_refused(clip, case):
    data, error = BAD_PICTURES[case]
    listener = Listener()
    with pytest.raises(error) as caught:
        clip.label(LabelRequest(image=data, labels=("cat",)), listener)
    assert caught.value.param == "image" and not listener.events


def test_too_many_pixels_are_refused(clip, monkeypatch):
    monkeypatch.setattr(hf_label, "open_picture", lambda data: _bounded(data))
    with pytest.raises(TooLarge):
        label(clip, "cat")


def _bounded(data: bytes) -> Any:
    from engine.pictures import open_picture

    return open_picture(data, pixels=100)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (5000, 40)], ids=str)
@pytest.mark.parametrize("kind", ["clip", "siglip2", "vit"])
def test_odd_sizes_are_borne(zoo, kind, size):
    backend = zoo[kind]
    found = label(backend, "dog", "person", image=png(Image.new("RGB", size, "red")))
    assert len(found) == 2


def test_tamed_pictures_are_small_and_not_too_thin():
    assert tame(picture()).size == (48, 40)
    for size in ((1, 65_535), (65_535, 1), (9000, 7000), (1, 1)):
        width, height = tame(Image.new("RGB", size)).size
        assert max(width, height) < 2 * LONGEST
        assert max(width, height) <= THINNEST * min(width, height) + THINNEST


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_a_stop_ends_the_work(clip, patience):
    with pytest.raises(Cancelled):
        clip.label(
            LabelRequest(image=png(), labels=("cat",)), Listener(Cancelled(), patience=patience)
        )
    assert label(clip, "cat")[0].score == 1.0


def test_others_have_their_turn_within_a_pass(clip, monkeypatch):
    monkeypatch.setattr("engine.families._looking.MOMENT", 0.0)
    modes = []

    class Watching(Listener):
        def __call__(self, event: Any) -> None:
            modes.append(torch.is_inference_mode_enabled())
            super().__call__(event)

    listener = Watching()
    clip.label(LabelRequest(image=png(), labels=("cat", "dog")), listener)
    assert len(told(listener)) == 2 and len(modes) >= 8 and not any(modes)


def test_memory_is_told_and_given_back(zoo):
    backend = zoo.load("clip")
    label(backend, *ASKED)
    weights = sum(p.numel() * 4 for p in backend._model.parameters())
    assert weights <= backend.memory() <= weights * 1.5
    model = weakref.ref(backend._model)
    backend.close()
    gc.collect()
    assert model() is None and backend.memory() == 0


def test_what_is_no_labeller_is_told(zoo, tmp_path):
    import shutil

    shutil.copytree(zoo.folder("clip"), tmp_path / "a")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "a" / name).unlink(missing_ok=True)
    with pytest.raises(LoadFailed, match="how model 'tiny' reads pictures") as caught:
        load(tmp_path / "a", hf_label)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("dog", [2]),
        ("DOGS", [2]),
        ("a dog", [2]),
        ("people", [0]),
        ("phones", [3]),
        ("cell-phone", [3]),
        ("traffic lights", [1]),
        ("knives", [4]),
        ("buses", [5]),
        ("bus", [5]),
        ("tabby cat", [6]),
        ("hot dog", [7]),
        ("zebra", []),
        ("s", []),
        ("chien", [2]),
    ],
)
def test_words_find_classes(word, found):
    names = ["person", "traffic light", "dog", "cell phone", "knife", "bus", "tabby, tabby cat", "hot dog"]  # fmt: skip
    assert match(word, names, {"Chien": "dog"}) == found


async def test_requests_reach_it_through_the_engine(zoo, settings):
    engine = Engine.build(
        settings, families={"hf_label": hf_label}, specs=(row(zoo.folder("siglip"), "hf_label"),)
    )
    await engine.start()
    try:
        caller = Caller(name="test", dialect="test", priority=Priority.API)
        result = await fold(engine.run(LabelRequest(image=png(), labels=ASKED), caller))
        assert [segment.text for segment in result.segments] != [] and isinstance(result.done, Done)
        with pytest.raises(BadFormat):
            await fold(engine.run(LabelRequest(image=b"nothing"), caller))
    finally:
        await engine.close()
