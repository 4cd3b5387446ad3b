"""Models that read pages: each class loads with its own processor and reads through the family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine import Settings
from engine.checkpoints import find_checkpoint
from engine.errors import BadFormat, BadValue, Cancelled, LoadFailed
from engine.events import Done, Event, Page, Progress
from engine.families import hf_ocr
from engine.families._hf_ocr_models import MANNERS
from engine.hub import describe
from engine.registry import ModelSpec
from engine.requests import OcrRequest
from tests.paper import Line, encoded, locked, pdf, plain, tiff, written
from tests.tiny import Listener
from tests.tiny_readers import MAKERS, make_reader

pytestmark = pytest.mark.slow

CLASSES = {
    "got_ocr2": "GotOcr2ForConditionalGeneration",
    "paddleocr_vl": "PaddleOCRVLForConditionalGeneration",
    "glm_ocr": "GlmOcrForConditionalGeneration",
    "lighton_ocr": "LightOnOcrForConditionalGeneration",
}
Readers = Callable[[str], hf_ocr.HfOcr]


def row(kind: str, folder: Path, **fields: Any) -> ModelSpec:
    does = frozenset({"ocr"})
    return ModelSpec(id=kind, does=does, family="hf_ocr", path=str(folder), **fields)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_reader(tmp_path_factory.mktemp(kind) / kind, kind)
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def readers(folders: Callable[[str], Path]) -> Readers:
    """Loaded readers, which make few tokens a page."""
    loaded: dict[str, hf_ocr.HfOcr] = {}

    def reader(kind: str) -> hf_ocr.HfOcr:
        if kind not in loaded:
            loaded[kind] = hf_ocr.load(row(kind, folders(kind)), Settings(device="cpu"))
            loaded[kind]._manner = replace(MANNERS[kind], tokens=12)
        return loaded[kind]

    return reader


def ask(reader: hf_ocr.HfOcr, *documents: bytes, **fields: Any) -> Listener:
    heard = Listener()
    reader.ocr(OcrRequest(documents=documents, **fields), heard)
    return heard


def pages(heard: Listener) -> list[Page]:
    return [event for event in heard.events if isinstance(event, Page)]


@pytest.mark.parametrize("kind", MAKERS)
def test_every_class_reads(kind: str, readers: Readers):
    heard = ask(readers(kind), encoded(written("Hello")))
    page, progress, done = heard.events
    assert isinstance(page, Page) and isinstance(done, Done) and progress == Progress(1, 1)
    assert (page.number, page.count, page.width, page.height) == (1, 1, 600, 200)
    assert page.text and page.model == kind and not page.error
    assert heard.input > 3 and 1 <= heard.output <= 12
    assert heard.calls > heard.output, "it asks after every token"


@pytest.mark.parametrize("kind", MAKERS)
def test_the_picture_decides(kind: str, readers: Readers):
    one, other, again = (
        pages(ask(readers(kind), encoded(Image.new("RGB", (200, 200), colour))))[0].text
        for colour in ("black", "yellow", "black")
    )
    assert one == again and one != other


@pytest.mark.parametrize("kind", MAKERS)
def test_it_is_what_transformers_makes(kind: str, readers: Readers, folders: Any):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    picture = written("as it is", (224, 112))
    processor = AutoProcessor.from_pretrained(folders(kind))
    model = AutoModelForImageTextToText.from_pretrained(folders(kind), dtype="auto").eval()
    if kind == "got_ocr2":
        inputs = processor(picture, return_tensors="pt", format=True)
    else:
        words = [{"type": "text", "text": MANNERS[kind].formatted}] * bool(MANNERS[kind].formatted)
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image", "image": picture}, *words]}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        made = model.generate(
            **inputs, max_new_tokens=12, do_sample=False, eos_token_id=readers(kind)._ends
        )
    text = processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert pages(ask(readers(kind), encoded(picture), formatted=True))[0].markdown == text.strip()


@pytest.mark.parametrize(("kind", "always"), [("got_ocr2", False), ("glm_ocr", True)])
def test_markdown_where_it_is_written(kind: str, always: bool, readers: Readers):
    page = encoded(written("# Title"))
    assert bool(pages(ask(readers(kind), page))[0].markdown) == always
    assert pages(ask(readers(kind), page, formatted=True))[0].markdown


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3000, 7)])
def test_odd_shapes(kind: str, size: tuple[int, int], readers: Readers):
    (page,) = pages(ask(readers(kind), plain("PNG", size)))
    assert (page.width, page.height) == size and not page.error


def test_long_pages_are_read_in_pieces(readers: Readers):
    whole = ask(readers("got_ocr2"), plain("PNG", (1400, 600)))
    pieces = ask(readers("got_ocr2"), plain("PNG", (600, 1600)))
    assert pieces.input > 2 * whole.input


def test_a_pdf_that_has_text(readers: Readers):
    scan = encoded(written("seen"), "JPEG")
    document = pdf([[Line(50, 700, "Its own text")]])
    (own,) = pages(ask(readers("lighton_ocr"), document))
    assert own.text == "Its own text" and own.model == "" and own.lines[0].box
    (drawn,) = pages(ask(readers("lighton_ocr"), document, text_layer=False, dpi=50))
    assert drawn.model == "lighton_ocr" and drawn.width < own.width
    (scanned,) = pages(ask(readers("lighton_ocr"), pdf([[]], scan=scan), dpi=50))
    assert scanned.model == "lighton_ocr"


def test_pages_of_several_documents(readers: Readers):
    frames = tiff(*[Image.new("RGB", (60, 60 + n), "red") for n in range(3)])
    heard = ask(readers("lighton_ocr"), frames, b"junk", locked("x"), frames, pages="2-3")
    found = [(page.document, page.number, page.code) for page in pages(heard)]
    assert found == [
        (0, 2, ""), (0, 3, ""), (1, 0, "BAD_FORMAT"), (2, 0, "BAD_VALUE"), (3, 2, ""), (3, 3, ""),
    ]  # fmt: skip
    told = [event.done for event in heard.events if isinstance(event, Progress)]
    assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("document", "fields", "error"),
    [
        (b"junk", {}, BadFormat),
        (locked("x"), {}, BadValue),
        (plain(), {"pages": "7"}, BadValue),
        (plain("GIF"), {}, BadFormat),
    ],
)
def test_the_only_document_cannot_be_read(
    document: bytes, fields: dict[str, Any], error: type[Exception], readers: Readers
):
    with pytest.raises(error):
        ask(readers("lighton_ocr"), document, **fields)


def test_a_page_of_another_size_than_can_be_read(readers: Readers):
    broken = tiff(Image.new("RGB", (40, 40)), Image.new("L", (40, 40)))
    at = broken.rindex(b"\x00\x01\x04\x00")  # the width in the second frame's directory
    damaged = broken[: at + 8] + b"\xff\xff" + broken[at + 10 :]
    found = pages(ask(readers("lighton_ocr"), damaged))
    assert [page.number for page in found] == [1, 2]
    assert not found[0].error and found[1].error.startswith("Page 2") and found[1].code


@pytest.mark.parametrize("kind", MAKERS)
def test_a_stop_takes_effect_within_a_token(kind: str, readers: Readers):
    whole = ask(readers(kind), encoded(written("Hello")))
    for patience in (1, whole.output):
        heard = Listener(Cancelled(), patience)
        with pytest.raises(Cancelled):
            readers(kind).ocr(OcrRequest(documents=(encoded(written("Hello")),)), heard)
        assert heard.calls == patience + 1 and not heard.events
    assert pages(ask(readers(kind), encoded(written("Hello")))) == pages(whole), "it goes on"


@pytest.mark.parametrize("kind", ["paddleocr_vl", "glm_ocr", "got_ocr2"])
def test_another_reading_within_a_reading(kind: str, readers: Readers):
    """A long reading gives way to an urgent one of the same model, and goes on as if nothing had been."""
    one, other = encoded(written("Hello")), encoded(written("Bye", (90, 300)))
    alone = [pages(ask(readers(kind), document))[0].text for document in (one, other)]
    between: list[str] = []

    class Urgent(Listener):
        def __call__(self, event: Event | None) -> None:
            super().__call__(event)
            if self.output == 3 and not between:
                between.append(pages(ask(readers(kind), other))[0].text)

    heard = Urgent()
    readers(kind).ocr(OcrRequest(documents=(one,)), heard)
    assert [pages(heard)[0].text, *between] == alone


def test_what_only_repeats_itself_ends(readers: Readers, monkeypatch: pytest.MonkeyPatch):
    import torch

    reader = readers("lighton_ocr")
    monkeypatch.setattr(reader, "_manner", replace(reader._manner, tokens=400))
    monkeypatch.setattr(reader, "_ends", [10_000])
    letter = reader._reader.tokenizer.convert_tokens_to_ids("a")
    head = reader._model.lm_head

    def stuck(module: Any, given: Any, logits: Any) -> Any:
        return torch.zeros_like(logits).index_fill_(-1, torch.tensor([letter]), 1)

    hook = head.register_forward_hook(stuck)
    try:
        heard = ask(reader, plain())
    finally:
        hook.remove()
    assert heard.output == hf_ocr.LOOP and heard.finish == "length"
    assert pages(heard)[0].text == "a"


@pytest.mark.parametrize(
    ("tail", "period"),
    [([1] * 9, 1), ([1, 2] * 9, 2), ([1, 2, 3, 1, 2, 3, 1], 3), ([1, 2, 3, 4, 1], 0), ([1, 1, 1, 2], 0)],
)  # fmt: skip
def test_period_of(tail: list[int], period: int):
    assert hf_ocr.period_of(tail) == period


def test_memory_is_given_back(folders: Callable[[str], Path]):
    reader = hf_ocr.load(row("lighton_ocr", folders("lighton_ocr")), Settings(device="cpu"))
    assert reader.memory() > 10_000
    reader.close()
    assert reader.memory() == 0


def changed(folder: Path, target: Path, **config: Any) -> Path:
    shutil.copytree(folder, target)
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | config), "utf-8")
    return target


def test_other_kinds_are_refused(folders: Callable[[str], Path], tmp_path: Path):
    folder = changed(folders("lighton_ocr"), tmp_path / "other", model_type="llava")
    with pytest.raises(LoadFailed, match="got_ocr2, paddleocr_vl"):
        hf_ocr.load(row("other", folder), Settings(device="cpu"))


def test_code_that_is_not_needed_is_not_run(folders: Callable[[str], Path], tmp_path: Path):
    code = {"AutoConfig": "configuration_paddleocr_vl.PaddleOCRVLConfig"}
    folder = changed(folders("paddleocr_vl"), tmp_path / "coded", auto_map=code)
    (folder / "configuration_paddleocr_vl.py").write_text("raise SystemExit('run')\n", "utf-8")
    with pytest.raises(LoadFailed, match="code of its own"):
        hf_ocr.load(row("coded", folder), Settings(device="cpu"))
    reader = hf_ocr.load(row("coded", folder, options={"native": True}), Settings(device="cpu"))
    assert find_checkpoint(reader.spec) == folder
    reader.close()


@pytest.mark.parametrize("name", CLASSES.values())
def test_pasted_ids_are_recognised(name: str):
    found = describe(
        "org/reader", "org/reader", "", {"architectures": [name]}, families={"hf_chat", "hf_ocr"}
    )
    assert found.family == "hf_ocr" and found.does == {"ocr"} and found.options == {"native": True}
