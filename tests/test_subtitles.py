"""Subtitles written and read again: SRT and WebVTT."""

from __future__ import annotations

import pytest

from engine.errors import BadFormat
from engine.events import Segment, Word
from engine.subtitles import (
    LINE,
    LINES,
    LONGEST,
    Cue,
    cues_of,
    parse_subtitles,
    write_srt,
    write_vtt,
)

CUES = [Cue(0.0, 1.5, "Hello there."), Cue(3661.25, 3662.0, "Ham & eggs <3\n<i>soft</i>")]


def test_srt_is_as_players_read_it() -> None:
    assert write_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\nHam & eggs <3\n<i>soft</i>\n"
    )


def test_vtt_escapes_what_would_be_marks() -> None:
    written = write_vtt(CUES)
    assert written.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n")
    assert "Ham &amp; eggs &lt;3\n<i>soft</i>" in written


@pytest.mark.parametrize("write", [write_srt, write_vtt])
def test_what_is_written_is_read(write) -> None:  # type: ignore[no-untyped-def]
    read = parse_subtitles(write(CUES))
    assert [(c.start, c.end, c.text) for c in read] == [(c.start, c.end, c.text) for c in CUES]


def test_files_of_others_are_read() -> None:
    vtt = (
        "WEBVTT - title\n\nNOTE a remark\n\nSTYLE\n::cue { color: red }\n\nintro\n"
        "00:01.000 --> 00:02.500 align:start line:0\n<v Ann>Hi <c.loud>you</c>\n\n00:03.000 --> 00:04.000\n&lt;b&gt;\n"
    )
    first, second = parse_subtitles(vtt)
    assert (first.name, first.settings) == ("intro", "align:start line:0")
    assert (first.start, first.end, first.text) == (1.0, 2.5, "Hi you")
    assert second.text == "<b>"
    windows = "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nÀ bientôt !\r\n\r\n2\r\n0:00:03.5 --> 0:00:04,000\r\nOui\r\n"
    assert [c.text for c in parse_subtitles(windows)] == ["À bientôt !", "Oui"]
    again = write_vtt(parse_subtitles(vtt))
    assert "intro\n00:00:01.000 --> 00:00:02.500 align:start line:0" in again


@pytest.mark.parametrize("text", ["", "WEBVTT\n", "just words\n\nand more", "00:xx --> 00:yy"])
def test_no_subtitles(text: str) -> None:
    with pytest.raises(BadFormat, match="no cue"):
        parse_subtitles(text)


def test_long_spans_become_cues_that_can_be_read() -> None:
    words = [Word(f"word{n:02}", n * 0.5, n * 0.5 + 0.4) for n in range(40)]
    text = " " + " ".join(word.text for word in words)
    timed = cues_of([Segment(text, 0.0, 19.9, words=tuple(words))])
    guessed = cues_of([Segment(text, 0.0, 19.9)])
    for cues in (timed, guessed):
        assert " ".join(cue.text for cue in cues) == text.strip()
        assert all(len(cue.text) <= LINE * LINES for cue in cues)
        assert all(0 < cue.end - cue.start <= LONGEST for cue in cues)
    starts = {word.start for word in words}
    assert all(cue.start in starts for cue in timed)
    assert max(map(len, write_srt(timed).split("\n"))) <= LINE + 8


def test_silence_and_cues_without_length() -> None:
    assert cues_of([Segment("  ", 1.0, 2.0)]) == []
    assert "00:00:01,000 --> 00:00:01,040" in write_srt([Cue(1.0, 1.0, "x")])
