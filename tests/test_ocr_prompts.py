"""What models are asked about a page, what their answers mean, and which of two readings of a line is the better."""

from __future__ import annotations

from typing import Any

import pytest

from engine.escalation import judge, pair
from engine.events import Segment
from engine.ocr_prompts import CUT, ask_for, plain_text, read_answer, run_away
from engine.registry import ModelSpec


def row(id: str) -> ModelSpec:
    return ModelSpec(id=id, does=frozenset({"chat"}), accepts=frozenset({"image"}), family="x")


@pytest.mark.parametrize(
    ("id", "formatted", "words", "markdown"),
    [
        ("qwen3_vl_2b", False, "exactly as it stands", False),
        ("Qwen/Qwen2.5-VL-7B-Instruct", True, "as Markdown", True),
        ("vllm/rednote-hilab/dots.ocr", False, "Extract the text content", False),
        ("dots_ocr", True, "bbox", True),
        ("ollama/deepseek-ocr:3b", True, "<|grounding|>", True),
        ("PaddlePaddle/PaddleOCR-VL", False, "OCR:", False),
        ("zai-org/GLM-OCR", True, "Text Recognition:", True),
        ("nanonets/Nanonets-OCR-s", False, "naturally", True),
        ("lightonai/LightOnOCR-1B", False, "", True),
    ],
)
def test_each_model_is_asked_in_its_own_words(id: str, formatted: bool, words: str, markdown: bool):
    asked = ask_for(row(id), formatted, "")
    assert words in asked.prompt and bool(words) == bool(asked.prompt)
    assert asked.markdown is markdown


def test_a_hint_is_said_in_words_where_it_helps():
    assert "Portuguese" in ask_for(row("any"), False, "pt").prompt
    assert "Quenya" in ask_for(row("any"), False, "Quenya").prompt
    assert ask_for(row("glm-ocr"), False, "pt").prompt == "Text Recognition:"
    assert "text is in" not in ask_for(row("any"), False, "auto").prompt


@pytest.mark.parametrize(
    ("old", "score", "new", "chance", "expected"),
    [
        ("Hel1o", 0.4, "Hello", 0.9, ("Hello", 0.9)),
        ("Hel1o", 0.4, "Hello", 0.3, None),
        ("Hello", 0.4, "Hello", None, ("Hello", 0.8)),
        ("Hel1o", 0.4, "Hello", None, ("Hello", 0.6)),
        ("Hello", 0.4, "I cannot read this picture, sorry", None, None),
        ("Hello", 0.4, "Goodbye", None, None),
        ("Hello", 0.4, "", 0.9, None),
    ],
)
def test_judging(old: str, score: float, new: str, chance: float | None, expected: Any):
    assert judge(Segment(old, score=score), Segment(new, score=chance)) == expected


def test_pairing_by_words_and_by_place():
    old = [
        Segment("alpha beta", box=(0, 0, 10, 10)),
        Segment("gamna", box=(0, 10, 10, 20)),
        Segment("omega"),
    ]
    new = [Segment("alpha"), Segment("beta"), Segment("gamma"), Segment("omega")]
    assert pair(old, new, [1]) == {1: new[2]}
    placed = [Segment("a", box=(0, 9, 10, 19)), Segment("b", box=(0, 0, 10, 9))]
    assert pair(old, placed, [0, 1]) == {0: placed[1], 1: placed[0]}
    assert pair(old, [], [0]) == {}


def test_repetition_is_found_and_tables_are_not():
    assert run_away("x" * 299) == 299 and run_away("x" * 300) == 1
    story = "It was a dark night. " * 40
    assert (
        story[: run_away("Begin. " + story)].startswith("Begin"[:0])
        and run_away("Begin. " + story) < 60
    )
    table = "".join(f"| {n} | {n * n} | {n % 7} |\n" for n in range(200))
    assert run_away(table) == len(table)
    assert run_away("Contents " + "." * 200 + " 7") == 211


DOTS = ask_for(row("dots.ocr"), True, "")


def test_a_layout_becomes_markdown_and_lines():
    said = (
        '```json\n[{"bbox": [10, 10, 110, 30], "category": "Title", "text": "Report"},'
        '{"bbox": [10, 40, 110, 80], "category": "Text", "text": "One **two**\\nthree"},'
        '{"bbox": [0, 0, 5, 5], "category": "Picture"},'
        '{"bbox": [10, 90, 110, 99], "category": "Formula", "text": "x^2"},'
        '{"bbox": [10, 90, 110, 99], "category": "Te'
    )
    answer = read_answer(DOTS, said)
    assert answer.markdown == "# Report\n\nOne **two**\nthree\n\n$$\nx^2\n$$"
    assert answer.lines[1] == Segment("One two", box=(10, 40, 110, 60))
    assert answer.lines[2] == Segment("three", box=(10, 60, 110, 80))
    assert read_answer(DOTS, "Plain words").text == "Plain words"


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("# A\n\n**b** *c* `d`", "A\n\nb c d"),
        ("[x](http://y) ![z](w.png)", "x z"),
        ("<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>", "a\tb\nc"),
        ("5 * 3 * 2 = 30", "5 * 3 * 2 = 30"),
        ("snake_case_name and 2\\*2", "snake_case_name and 2*2"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_markdown_as_one_reads_it(markdown: str, plain: str):
    assert plain_text(markdown) == plain


def test_only_whole_fences_are_stripped():
    plain = ask_for(row("any"), False, "")
    assert read_answer(plain, "~~~\na\n~~~").text == "a"
    assert read_answer(plain, "see ```x``` here").text == "see ```x``` here"
    assert read_answer(plain, "a", whole=False).text == f"a\n{CUT}"
