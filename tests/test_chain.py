"""Spoken conversations: order, overlap, stopping, barging in, what is remembered, and voices that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine import (
    Audio,
    BadFormat,
    BadValue,
    Caller,
    Done,
    Engine,
    Heard,
    Loading,
    Mishap,
    Said,
    Settings,
    SpeakRequest,
    Text,
    Timings,
    Unknown,
    VoiceEvent,
    VoiceRequest,
)
from engine.errors import InferenceFailed
from engine.talk import gathered
from tests import voices
from tests.voices import record, words_in

CALLER = Caller(name="test", dialect="test", session="s1")


@pytest.fixture
def family() -> voices.Family:
    return voices.Family()


@pytest.fixture
async def engine(settings: Settings, family: voices.Family) -> AsyncIterator[Engine]:
    engine = Engine.build(settings, families={"voices": family}, specs=voices.SPECS)
    await engine.start()
    yield engine
    await engine.close()


async def turn(
    engine: Engine, text: str = "", caller: Caller = CALLER, **more: Any
) -> list[VoiceEvent]:
    async with aclosing(engine.converse(VoiceRequest(text=text, **more), caller)) as events:
        return [event async for event in events]


def said(events: list[VoiceEvent]) -> list[str]:
    """What was spoken, phrase by phrase, as one can hear it."""
    phrases: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, Said):
            phrases[event.number] = phrases.get(event.number, b"") + event.audio.data
    assert list(phrases) == sorted(phrases), "out of order"
    return [words_in(pcm) for pcm in phrases.values()]  # pauses between phrases say nothing


def written(events: list[VoiceEvent]) -> str:
    return "".join(e.delta for e in events if isinstance(e, Text))


def remembered(engine: Engine, session: str = "s1") -> list[tuple[str, str]]:
    return [(e.role, e.text) for e in engine.dialogues.entries(session)]


async def test_speech_is_heard_answered_and_spoken(engine: Engine) -> None:
    events = await turn(
        engine, audio=record("Hello you. It is **3.5** now! Fine? ☀"), language="en"
    )
    [heard] = [e for e in events if isinstance(e, Heard)]
    assert heard == Heard(
        "Hello you. It is **3.5** now! Fine? ☀", "en", pytest.approx(heard.duration)
    )
    assert written(events) == heard.text
    assert said(events) == ["Hello you.", "It is 3.5 now!", "Fine?"]
    times = [e for e in events if isinstance(e, Timings)]
    first, last = times
    assert first.total is None and last.total and last.heard and last.first_audio
    assert last.heard <= (last.first_token or 0) <= (last.first_phrase or 0) <= last.first_audio
    assert isinstance(events[-1], Done) and not events[-1].stopped
    assert remembered(engine) == [("user", heard.text), ("assistant", heard.text)]
    await engine.usage.flush()
    rows = await engine.usage.rows(session="s1")
    assert sorted(r.task for r in rows) == ["chat", "speak", "speak", "speak", "transcribe"]
    assert {(r.priority, r.status) for r in rows} == {("voice", "ok")}


@pytest.mark.parametrize("model", ["writer", "solo"])
async def test_a_phrase_is_spoken_while_the_next_is_written(
    engine: Engine, family: voices.Family, model: str
) -> None:
    text = "One two! !slow " + "word " * 30 + "end. Last one."
    events = await turn(engine, text, model=model)
    order = [type(e).__name__ for e in events if isinstance(e, Said | Text)]
    assert order.index("Said") < len(order) - 10 - order[::-1].index("Text"), "sound comes early"
    writer, mouth = family.made[model], family.made["mouth"]
    assert isinstance(writer, voices.Solo)
    first, *_ = mouth.spans
    assert first[0] == "One two!" and first[2] < writer.written[-1] - 0.3
    assert said(events)[0] == "One two!" and said(events)[-1] == "Last one."


async def test_writing_goes_on_during_speech(engine: Engine, family: voices.Family) -> None:
    await turn(engine, "Now !slow words! " + "word " * 20)
    [slow, *_] = family.made["mouth"].spans
    writer = family.made["writer"]
    assert isinstance(writer, voices.Solo)
    assert [t for t in writer.written if slow[1] < t < slow[2]], "a step at each emit of the voice"


async def test_silence_is_not_answered(engine: Engine) -> None:
    events = await turn(engine, audio=record("\0" * 50))
    assert [type(e).__name__ for e in events if not isinstance(e, Loading)] == [
        "Heard", "Timings", "Done",
    ]  # fmt: skip
    assert remembered(engine) == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"audio": b"no sound"}, BadFormat),
        ({"audio": record("hi"), "language": "xx"}, BadValue),
        ({"text": "hi", "model": "nobody"}, Unknown),
        ({"text": "hi", "speaker": "ear"}, BadValue),
        ({"text": "hi", "voice": "nobody"}, Unknown),
        ({"text": "hi", "language": "xx"}, BadValue),
        ({"audio": record("hi"), "listener": "mouth"}, BadValue),
    ],
)
async def test_what_cannot_begin_is_refused(
    engine: Engine, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await turn(engine, **given)
    assert not engine._running and engine.dialogues.get("s1").interrupt is None


@pytest.mark.parametrize("given", [{}, {"text": " \n"}, {"text": "", "audio": b""}])
def test_neither_text_nor_sound(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give text, or audio"):
        VoiceRequest(**given)


async def test_a_voice_that_fails_loses_no_text(engine: Engine) -> None:
    events = await turn(
        engine, "Good one. Bad !mute one. Good two. !hoarse is half said. Good three."
    )
    mishaps = [e.error for e in events if isinstance(e, Mishap)]
    assert len(mishaps) == 2 and all("secret" not in e.message for e in mishaps)
    assert written(events).endswith("Good three.") and isinstance(events[-1], Done)
    assert said(events)[0] == "Good one." and said(events)[-1] == "Good three."
    events = await turn(engine, "!mute a. !mute b. Not tried any more.")
    assert len([e for e in events if isinstance(e, Mishap)]) == 2 and not said(events)
    assert remembered(engine)[-1] == ("assistant", "!mute a. !mute b. Not tried any more.")


async def test_the_language_is_found_once(engine: Engine, family: voices.Family) -> None:
    await turn(engine, "Bonjour, je suis là pour vous. OK. The end is near.")
    asked = [r.language for r in family.made["mouth"].asked if isinstance(r, SpeakRequest)]
    assert asked == ["fr"] * 3
    events = await turn(engine, "Привет, как дела сегодня? OK.", speaker="mouth")
    assert len(said(events)) == 2 and not [e for e in events if isinstance(e, Mishap)]


async def test_no_voice_at_all(settings: Settings, family: voices.Family) -> None:
    specs = [spec for spec in voices.SPECS if "speak" not in spec.does]
    engine = Engine.build(settings, families={"voices": family}, specs=specs)
    await engine.start()
    events = await turn(engine, "One. Two. Three.")
    assert written(events) == "One. Two. Three."
    assert [e.error.code for e in events if isinstance(e, Mishap)] == ["NOT_FOUND"]
    with pytest.raises(Unknown):
        await turn(engine, "x", speaker="mouth")
    await engine.close()


async def test_a_writer_that_fails_ends_the_turn(engine: Engine) -> None:
    heard = []
    with pytest.raises(InferenceFailed) as caught:
        async for event in engine.converse(VoiceRequest(text="!fail a b. c d e f g"), CALLER):
            heard.append(event)
    assert "secret" not in caught.value.message and written(heard) == "!fail a b. c d e"
    assert not engine._running
    assert remembered(engine)[-1] == ("assistant", "!fail a b. c d e")


async def idle(engine: Engine) -> None:
    """Until the lane has seen that nobody wants anything any more."""
    for _ in range(500):
        if not engine.status().running:
            break
        await asyncio.sleep(0.01)
    assert engine.status().running == 0 and not engine._running


async def test_stop_cuts_all_within_a_token(engine: Engine, family: voices.Family) -> None:
    events: list[VoiceEvent] = []
    text = "!slow start. " + "word " * 200
    async for event in engine.converse(VoiceRequest(text=text), CALLER):
        events.append(event)
        if isinstance(event, Said):
            assert engine.stop("s1") >= 1
    assert isinstance(events[-1], Done) and events[-1].stopped
    at = next(n for n, e in enumerate(events) if isinstance(e, Said))
    assert len([e for e in events[at:] if isinstance(e, Text)]) <= 2
    await idle(engine)


async def test_hanging_up_stops_everything(engine: Engine) -> None:
    whole = "!slow a b. " + "Word " * 300
    stream = engine.converse(VoiceRequest(text=whole), CALLER)
    async for event in stream:
        if isinstance(event, Said):
            await asyncio.sleep(0.05)
            break
    await stream.aclose()
    await idle(engine)
    (_, [role, text]) = remembered(engine)
    assert role == "assistant" and whole.startswith(text) and 0 < len(text) < 500


async def test_barging_in(engine: Engine) -> None:
    """New speech of the session ends the answer; what was heard of it is remembered."""
    whole = "!slow One two three four. " + "Word " * 300
    first = engine.converse(VoiceRequest(text=whole), CALLER)
    events = []
    async for event in first:
        events.append(event)
        if isinstance(event, Said):
            await asyncio.sleep(0.12)
            break
    second = await turn(engine, "And now?")
    events += [event async for event in first]
    assert isinstance(events[-1], Done) and events[-1].stopped
    assert written(second) == "And now?" and isinstance(second[-1], Done)
    (_, cut, *after) = remembered(engine)
    assert cut[0] == "assistant" and whole.startswith(cut[1]) and 0 < len(cut[1]) < 500
    assert after == [("user", "And now?"), ("assistant", "And now?")]


async def test_the_client_knows_better_what_was_played(engine: Engine) -> None:
    await turn(engine, "One two. Three four.")
    await turn(engine, "Next.", played=0.09)  # a character is 10 ms
    assert remembered(engine)[1] == ("assistant", "One two.")
    await turn(engine, "More.", played=0.0)
    assert remembered(engine)[2:] == [("user", "Next.\nMore."), ("assistant", "More.")]
    await turn(engine, "All.", played=99)
    assert remembered(engine)[3] == ("assistant", "More.")


async def test_interrupted_before_a_word_it_is_one_question(engine: Engine) -> None:
    first = engine.converse(VoiceRequest(text="!slow first"), CALLER)
    async for event in first:
        if isinstance(event, Text):
            break
    await turn(engine, "second")
    await first.aclose()
    assert remembered(engine) == [("user", "!slow first\nsecond"), ("assistant", "second")]


async def test_sessions_and_history(engine: Engine, family: voices.Family) -> None:
    other = replace(CALLER, session="s2")
    await turn(engine, "First mine.")
    await turn(engine, "First yours.", other)
    await turn(engine, "Second mine.")
    request = family.made["writer"].asked[-1]
    assert [m.text for m in request.messages] == ["First mine.", "First mine.", "Second mine."]
    assert len(remembered(engine, "s2")) == 2
    for n in range(12):
        await turn(engine, f"{n} " + "word " * 35, aloud=False)
    longest = family.made["writer"].asked[-1]
    assert sum(len(m.text) for m in longest.messages) <= 2000, "the context bounds the prompt"
    assert longest.messages[0].role == "user"
    assert engine.dialogues.forget("s1") and remembered(engine) == []
    assert not engine.dialogues.forget("s1")


async def test_a_history_that_is_too_long_is_left_out(
    engine: Engine, family: voices.Family
) -> None:
    for n in range(5):
        await turn(engine, f"{n} " + "word " * 70, aloud=False)
    assert len(remembered(engine)) == 10
    assert len(family.made["writer"].asked[-1].messages) == 1


async def test_a_conversation_is_kept(engine: Engine) -> None:
    await turn(engine, "One two. Three four.", keep=True)
    kept = engine.dialogues.get("s1").conversation
    await turn(engine, "Next.", keep=True, played=0.08)
    entries = await engine.conversations.entries(kept)
    assert [e.text for e in entries] == ["One two. Three four.", "One two.", "Next.", "Next."]
    assert entries[1].finish == "stopped" and entries[3].model == "writer"
    await engine.conversations.delete(kept)
    await turn(engine, "Again.", keep=True)
    await turn(engine, "Once more.", keep=True)
    fresh = engine.dialogues.get("s1").conversation
    assert fresh and fresh != kept


async def test_one_warm_up_loads_all_three(engine: Engine) -> None:
    took = await engine.warm_up(VoiceRequest(audio=b"x"))
    assert set(took) == {"ear", "writer", "mouth"}
    assert {r.id for r in engine.status().resident} == {"ear", "writer", "mouth"}


async def test_sound_is_gathered_but_never_held_long() -> None:
    async def pieces() -> AsyncIterator[Any]:
        for wait, event in (
            (0, Audio(b"aa", 8)), (0, Audio(b"bb", 8)), (0.2, Audio(b"cc", 8)), (0, Audio(b"dd", 16)),
            (0, Done()),
        ):  # fmt: skip
            await asyncio.sleep(wait)
            yield event

    found = [e async for e in gathered(pieces(), 0.05)]
    assert found == [Audio(b"aabb", 8), Audio(b"cc", 8), Audio(b"dd", 16), Done()]
