"""Cutting a growing text into phrases, and what is said of a written one."""

from __future__ import annotations

import pytest

from engine.phrases import LONGEST, Cutter, pauses, spoken, width


def cut(text: str, step: int) -> list[str]:
    """The phrases of a text that grows by so many characters at a time."""
    cutter = Cutter()
    found = [p for n in range(0, len(text), step) for p in cutter.feed(text[n : n + step])]
    return found + cutter.end()


CASES = {
    "Hello! How are you? I am fine.": "Hello! |How are you? |I am fine.",
    "It is 3.5 or 1,000.25. Dr. Smith agrees, e.g. here. J. Roe too.": (
        "It is 3.5 or 1,000.25. |Dr. Smith agrees, e.g. here. |J. Roe too."
    ),
    "Wait... what? Yes… Or no. No. 5 is it.": "Wait... what? |Yes… |Or no. |No. 5 is it.",
    "1. First\n2. Second\n\nEnd.": "1. First\n|2. Second\n|\nEnd.",
    "Il dit « Bonjour. » Puis il part.": "Il dit « Bonjour. » |Puis il part.",
    'He said "Go!" and left. **Bold.** Next.': 'He said "Go!" and left. |**Bold.** |Next.',
    "А. С. Пушкин родился в 1799 г. Он был поэт, т.е. писал.": (
        "А. С. Пушкин родился в 1799 г. |Он был поэт, т.е. писал."
    ),
    "你好。今天天气很好！「再见。」他说。": "你好。|今天天气很好！|「再见。」|他说。",
    "नमस्ते। आप कैसे हैं?": "नमस्ते। |आप कैसे हैं?",
    "Look:\n```py\nprint('a. B')\n\nx = 1. \n```\nDone.": (
        "Look:\n|```py\nprint('a. B')\n\nx = 1. \n```\n|Done."
    ),
    "See https://example.com/a.b?c=d. Then go.": "See https://example.com/a.b?c=d. |Then go.",
    "A rather long first sentence it is, which goes on, and on. Then, a second that is long as well, it is.": (
        "A rather long first sentence it is, |which goes on, and on. |"
        "Then, a second that is long as well, it is."
    ),
    "Yes": "Yes",
}


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize("text", CASES)
def test_phrases(text: str, step: int) -> None:
    found = cut(text, step)
    assert "".join(found) == text
    assert [phrase.strip() for phrase in found] == [part.strip() for part in CASES[text].split("|")]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "word " * 400, "字" * 500, "a" * 2000, "```\n" + "x. Y " * 200]
)
def test_nothing_is_lost_and_nothing_is_endless(text: str) -> None:
    for step in (1, 7):
        found = cut(text, step)
        assert "".join(found) == text
        assert "```" in text or all(width(phrase) <= LONGEST + 3 for phrase in found)


def test_a_phrase_comes_as_soon_as_it_is_sure() -> None:
    cutter = Cutter()
    assert cutter.feed("Really?") == cutter.feed(" ") == [] and cutter.feed("Y") == ["Really?"]
    assert cutter.feed("es.\n") == [" Yes."] and cutter.feed("好。不") == ["\n好。"]


def test_a_pause_follows_a_sentence() -> None:
    assert pauses("So.") and pauses("A title\n") and not pauses("Well, ") and not pauses("好，")


SPOKEN = {
    "# A **title**\n": "A title",
    "- [x] item with `code` and [a link](http://x.y/z)": "item with code and a link",
    "See https://www.example.com/a/b?c=1.": "See example.com",
    "| a | b |\n|---|---|\n| 1 | 2 |": "a, b 1, 2",
    "20 °C, 5 * 3 > 2, C# and a_b, _it_ *is* 👍🏽 №5": "20 °C, 5 * 3 > 2, C# and a_b, it is №5",
    "<b>x</b> ![a cat](cat.png)": "x a cat",
    "1️⃣ One": "1 One",
    "😀🎉": "", "---": "", "* * *": "", "...": "", "```\nonly code": "", "": "",
}  # fmt: skip


@pytest.mark.parametrize("text", SPOKEN)
def test_spoken(text: str) -> None:
    assert spoken(text) == SPOKEN[text]
