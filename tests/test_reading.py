"""Reading by whichever model can: readers, chat models that are shown pages, a larger one for uncertain lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine import Caller, Engine, Settings
from engine.errors import AtelierError, BadFormat, BadValue, Unknown
from engine.events import Done, Event, Page, Progress
from engine.ocr_prompts import CUT
from engine.registry import ModelSpec
from engine.requests import OcrRequest
from tests import echo, onlooker, typist

pytestmark = pytest.mark.slow  # an engine with a database for each
CALLER = Caller(name="test", dialect="test", session="s")


def chats(id: str, **fields: Any) -> ModelSpec:
    options = fields.pop("options", {})
    return ModelSpec(
        id=id, does=frozenset({"chat"}), accepts=frozenset({"image"}), family="onlooker", memory=10**6,
        options=options, **fields,
    )  # fmt: skip


ROWS = (
    chats("looker", options={"says": "First line~\nSecond line"}),
    chats(
        "chatty",
        options={"says": "```markdown\n# Title\n\n| a | b |\n|---|---|\n| 1 | **2** |\n```"},
    ),
    chats("stuck", options={"says": "Once. " + "~".join(["again and again "] * 400)}),
    chats("drowsy", options={"says": "~".join(["word "] * 400), "pause": 0.005}),
    chats("broken", options={"fails": True}),
    chats("gone", options={"dies": [1] * 100}),
    chats("rednote-hilab/dots.ocr", options={"says": "whatever"}),
)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    families = {"typist": typist, "echo": echo, "onlooker": onlooker}
    engine = Engine.build(settings, families=families, specs=(*typist.SPECS, *echo.SPECS, *ROWS))
    await engine.start()
    yield engine
    await engine.close()


async def read(engine: Engine, model: str | None, *documents: bytes, **fields: Any) -> list[Event]:
    request = OcrRequest(model=model, documents=documents or (typist.tiff(2),), **fields)
    async with aclosing(engine.read(request, CALLER)) as events:
        return [event async for event in events]


def pages_of(events: list[Event]) -> list[Page]:
    return [event for event in events if isinstance(event, Page)]


async def idle(engine: Engine) -> None:
    """Nothing runs any more; the lane's thread takes a moment to notice."""
    async with asyncio.timeout(10):
        while engine.status().running or engine.status().waiting:
            await asyncio.sleep(0.005)
    assert not engine._running


def asked(engine: Engine, model: str) -> list[Any]:
    """What the chat model of a row was asked."""
    return engine.lane._models._residents[model].backend.asked  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", [None, "auto", "ocr", "typist", "typewriter"])
async def test_readers_read_by_themselves(engine: Engine, model: str | None):
    events = await read(engine, model)
    assert [page.number for page in pages_of(events)] == [1, 2]
    assert pages_of(events)[0].model == ("typist" if (model or "").startswith("typ") else "ocr")
    assert [e for e in events if isinstance(e, Progress)][-1] == Progress(2, 2)
    assert isinstance(events[-1], Done)


async def test_the_session_s_reader_goes_before_the_default(engine: Engine):
    engine.sessions.get("s").model = "typist"
    assert pages_of(await read(engine, None))[0].model == "typist"
    engine.sessions.get("s").model = "echo"  # cannot read
    assert pages_of(await read(engine, None))[0].model == "ocr"


async def test_who_cannot_read_is_refused_with_who_can(engine: Engine):
    with pytest.raises(BadValue, match=r"typist.*looker") as refused:
        await read(engine, "echo")
    assert refused.value.param == "model"
    with pytest.raises(Unknown):
        await read(engine, "nobody")


async def test_a_chat_model_is_shown_each_page(engine: Engine):
    events = await read(engine, "looker", typist.tiff(3), language="ru+fr")
    pages = pages_of(events)
    assert [(p.number, p.count, p.width, p.height, p.model) for p in pages] == [
        (n, 3, 40, 80, "looker") for n in (1, 2, 3)
    ]
    assert pages[0].text == "First line\nSecond line" and pages[0].markdown == ""
    assert [line.text for line in pages[0].lines] == ["First line", "Second line"]
    assert pages[0].lines[0].box is None
    assert [(e.done, e.total) for e in events if isinstance(e, Progress)] == [
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    done = events[-1]
    assert (
        isinstance(done, Done) and done.usage.input_tokens == 300 and done.usage.output_tokens == 6
    )
    (first, *_) = asked(engine, "looker")
    assert first.temperature == 0 and first.max_tokens
    assert "Russian and French" in first.messages[0].text
    assert len({request.messages[0].parts[0].data for request in asked(engine, "looker")}) == 3


async def test_markdown_is_asked_for_and_stripped(engine: Engine):
    (page,) = pages_of(await read(engine, "chatty", typist.tiff(1), formatted=True))
    assert page.markdown == "# Title\n\n| a | b |\n|---|---|\n| 1 | **2** |"
    assert page.text == "Title\n\na\tb\n1\t2"
    assert "Markdown" in asked(engine, "chatty")[0].messages[0].text


async def test_models_are_asked_in_their_own_words(engine: Engine):
    await read(engine, "rednote-hilab/dots.ocr", typist.tiff(1))
    await read(engine, "rednote-hilab/dots.ocr", typist.tiff(1), formatted=True)
    plain, layout = (r.messages[0].text for r in asked(engine, "rednote-hilab/dots.ocr"))
    assert plain == "Extract the text content from this image." and "bbox" in layout


async def test_what_repeats_without_end_is_cut(engine: Engine):
    (page,) = pages_of(await read(engine, "stuck", typist.tiff(1)))
    assert page.text.startswith("Once. again and again") and page.text.endswith(CUT)
    assert len(page.text) < 60
    row = (await engine.usage.rows())[0] if not await engine.usage.flush() else None
    assert row is not None and row.output_tokens < 200  # it was ended long before its end


async def test_a_page_s_failure_is_that_page_s_alone(engine: Engine):
    pages = pages_of(await read(engine, "broken", typist.tiff(2)))
    assert [(p.number, p.code) for p in pages] == [(1, "INFERENCE_FAILED"), (2, "INFERENCE_FAILED")]
    assert all(p.error and not p.text for p in pages)


async def test_a_model_that_is_gone_ends_the_reading(engine: Engine):
    with pytest.raises(AtelierError) as ended:
        await read(engine, "gone", typist.tiff(2))
    assert ended.value.status == 503


async def test_a_bad_document_among_good_ones(engine: Engine):
    for model in ("looker",):
        pages = pages_of(await read(engine, model, typist.tiff(1), b"nonsense", typist.tiff(1)))
        assert [(p.document, p.number, p.code) for p in pages] == [
            (0, 1, ""), (1, 0, "BAD_FORMAT"), (2, 1, ""),
        ]  # fmt: skip
        with pytest.raises(BadFormat):
            await read(engine, model, b"nonsense")
        with pytest.raises(BadValue):
            await read(engine, model, typist.tiff(2), pages="9")


async def test_a_pdf_s_own_text_is_taken_unless_it_is_not_wanted(engine: Engine):
    pdf = typist.pdf("Words of the file itself, as they were written.")
    (page,) = pages_of(await read(engine, "looker", pdf, dpi=72))
    assert page.text == "Words of the file itself, as they were written." and page.model == ""
    assert page.lines[0].box is not None
    (page,) = pages_of(await read(engine, "looker", pdf, dpi=72, text_layer=False))
    assert page.text == "First line\nSecond line" and page.model == "looker"


async def test_stop_ends_with_what_is_there(engine: Engine):
    request = OcrRequest(model="drowsy", documents=(typist.tiff(50),))
    events: list[Event] = []
    async with aclosing(engine.read(request, CALLER)) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == 1:
                asyncio.get_running_loop().call_later(0.2, engine.stop, "s")
    done = events[-1]
    assert isinstance(done, Done) and done.stopped
    assert len(pages_of(events)) <= 1
    await idle(engine)


async def test_closing_ends_everything(engine: Engine):
    request = OcrRequest(model="drowsy", documents=(typist.tiff(50),))
    stream = engine.read(request, CALLER)
    while engine.status().running == 0:
        await anext(stream)
        break
    await stream.aclose()
    await idle(engine)


# A second look ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.escalation.LARGE", 1000)


async def hold(engine: Engine, model: str, **options: Any) -> None:
    """Have a model in memory that says this."""
    engine.registry.add(replace(engine.registry.find("looker"), id=model, options=options))
    await engine.load(model)


async def test_uncertain_lines_are_shown_to_a_larger_model_in_memory(engine: Engine):
    engine.registry.set_default("ocr", "unsure")
    (before,) = pages_of(await read(engine, None, typist.tiff(1)))
    assert before.model == "unsure" and before.lines[1].score == 0.3  # nobody larger is here
    await hold(engine, "large", says="Page 1, lime 1", sure=-0.05)
    events = await read(engine, None, typist.tiff(1))
    (page,) = pages_of(events)
    assert page.model == "unsure + large"
    assert [line.text for line in page.lines] == [
        "Page 1, line 0", "Page 1, lime 1", "Page 1, line 2", "Page 1, lime 1", "Page 1, line 4",
    ]  # fmt: skip
    assert page.lines[1].score == pytest.approx(0.951, abs=0.01)
    assert [line.box for line in page.lines] == [line.box for line in before.lines]
    assert page.text == "\n".join(line.text for line in page.lines)
    assert (
        len(asked(engine, "large")) == 2
        and "one line" in asked(engine, "large")[0].messages[0].text
    )
    done = events[-1]
    assert isinstance(done, Done) and done.usage.input_tokens == 200


@pytest.mark.parametrize(
    ("says", "sure"),
    [
        ("Something else entirely, much longer than the line was", -0.05),
        ("Page 1, lime 1", -3.0),
        ("", -0.05),
    ],
)
async def test_what_does_not_convince_changes_nothing(engine: Engine, says: str, sure: float):
    engine.registry.set_default("ocr", "unsure")
    (before,) = pages_of(await read(engine, None, typist.tiff(1)))
    await hold(engine, "large", says=says, sure=sure)
    assert pages_of(await read(engine, None, typist.tiff(1))) == [before]


async def test_nobody_is_asked_who_should_not_be(engine: Engine, settings: Settings):
    engine.registry.set_default("ocr", "unsure")
    await hold(engine, "large", says="Page 1, lime 1", sure=-0.05)
    engine.registry.add(replace(engine.registry.find("large"), starter=True))
    assert pages_of(await read(engine, None, typist.tiff(1)))[0].model == "unsure"
    engine.registry.add(replace(engine.registry.find("large"), starter=False))
    assert pages_of(await read(engine, "unsure", typist.tiff(1)))[0].model == "unsure"  # by name
    await engine.evict("large")
    assert pages_of(await read(engine, None, typist.tiff(1)))[0].model == "unsure"
    assert "large" not in {
        model.id for model in engine.status().resident
    }  # nothing is loaded for it


async def test_it_can_be_switched_off(settings: Settings):
    own = settings.model_copy(update={"ocr_escalation": False})
    families = {"typist": typist, "onlooker": onlooker}
    engine = Engine.build(own, families=families, specs=(*typist.SPECS, *ROWS))
    await engine.start()
    engine.registry.set_default("ocr", "unsure")
    await hold(engine, "large", says="Page 1, lime 1", sure=-0.05)
    assert pages_of(await read(engine, None, typist.tiff(1)))[0].model == "unsure"
    await engine.close()


async def test_a_second_look_that_fails_leaves_the_page(engine: Engine):
    engine.registry.set_default("ocr", "unsure")
    await hold(engine, "large", fails=True)
    assert pages_of(await read(engine, None, typist.tiff(1)))[0].model == "unsure"


async def test_a_second_reader_reads_the_whole_page(engine: Engine):
    engine.registry.set_default("ocr", "unsure")
    reader = ModelSpec(
        id="large", does=frozenset({"ocr"}), family="onlooker", memory=10**6,
        options={"says": "Page 1, line O\nPage 1, lime 1\nPage 1, line 2\nPage 1, line 3"},
    )  # fmt: skip
    engine.registry.add(reader)
    await engine.load("large")
    (page,) = pages_of(await read(engine, None, typist.tiff(1)))
    assert [line.text for line in page.lines][:4] == [
        "Page 1, line 0", "Page 1, lime 1", "Page 1, line 2", "Page 1, line 3",
    ]  # fmt: skip
    assert page.lines[3].score == 0.8  # both read the same
