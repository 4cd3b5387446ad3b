"""How chat models are asked to read a page, each in the words it was trained on, and what their answers mean.

Knows prompts and texts; nothing of pictures, devices or how a model is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import BadValue
from engine.events import Box, Segment
from engine.languages import NAMES, parse_languages
from engine.registry import ModelSpec

CUT = "[…]"  # stands where an answer was cut
PERIOD = 400  # characters: the longest piece whose endless repetition is noticed
REPEATED = 300  # characters of repetition, at least, and
TIMES = 6  # so often: more than any table or dotted line of a page

PLAIN = (
    "Read all the text in this picture and write it down exactly as it stands, line by line, in reading "
    "order. Do not translate, correct, explain or add anything. Where there is no text, answer nothing."
)
MARKDOWN = (
    "Write this page down as Markdown in reading order: headings, lists, tables as Markdown tables, "
    "formulas as LaTeX between dollar signs. Keep every word exactly as it stands. Do not translate, "
    "explain or add anything, and do not put the answer into a code block."
)
LINE = (
    "This picture shows one line of text. Write down exactly what it says, nothing else. Do not translate, "
    "correct or explain."
)
# The prompts that these models' own documentation gives: they were trained on them, to the letter.
DOTS_LAYOUT = """\
Please output the layout information from the PDF image, including each layout element's bbox, its category, \
and the corresponding text content within the bbox.

1. Bbox format: [x1, y1, x2, y2]

2. Layout Categories: The possible categories are ['Caption', 'Footnote', 'Formula', 'List-item', \
'Page-footer', 'Page-header', 'Picture', 'Section-header', 'Table', 'Text', 'Title'].

3. Text Extraction & Formatting Rules:
    - Picture: For the 'Picture' category, the text field should be omitted.
    - Formula: Format its text as LaTeX.
    - Table: Format its text as HTML.
    - All Others (Text, Title, etc.): Format their text as Markdown.

4. Constraints:
    - The output text must be the original text from the image, with no translation.
    - All layout elements must be sorted according to human reading order.

5. Final Output: The entire output must be a single JSON object.
"""
NATURAL = (
    "Extract the text from the above document as if you were reading it naturally. Return the tables in "
    "html format. Return the equations in LaTeX representation."
)
HUNYUAN = (
    "Extract all information from the main body of the document image and represent it in markdown format, "
    "ignoring headers and footers. Tables should be expressed in HTML format, formulas in the document "
    "should be represented using LaTeX format, and the parsing should be organized according to the "
    "reading order."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model's answer says: the page as text, as Markdown where it was asked for, its lines.

    `cut`: it repeated itself without end or was too long; a mark stands in its place.
    """

    text: str
    markdown: str = ""
    lines: tuple[Segment, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked about a page.

    Args:
        prompt: its words; "" where the picture alone is the question.
        markdown: the answer is Markdown.
        parse: for answers in a form of the model's own; None: text.
    """

    prompt: str
    markdown: bool = False
    parse: Callable[[str], Answer | None] | None = None


@dataclass(frozen=True, slots=True)
class _Trained:
    """A family of models with prompts of its own; they take no hint of a language."""

    names: re.Pattern[str]
    plain: Question
    markdown: Question


def _trained(names: str, plain: str, markdown: str = "", always: bool = False) -> _Trained:
    """`always`: it writes Markdown whatever it is asked."""
    formatted = Question(markdown or plain, markdown=True)
    return _Trained(re.compile(names), Question(plain, markdown=always), formatted)


def ask_for(spec: ModelSpec, formatted: bool, language: str) -> Question:
    """The question for a page, in the words that this model knows best."""
    name = f"{spec.id} {spec.repo} {spec.title} {spec.options.get('name', '')}".lower()
    for trained in TRAINED:
        if trained.names.search(name):
            return trained.markdown if formatted else trained.plain
    prompt = MARKDOWN if formatted else PLAIN
    return Question(prompt + _hint(language), markdown=formatted)


def ask_for_line(spec: ModelSpec, language: str) -> Question:
    """The question for the picture of a single line."""
    whole = ask_for(spec, False, "")
    return Question(LINE + _hint(language)) if whole.prompt == PLAIN else whole


def _hint(language: str) -> str:
    """The hint in words; a language that is not known here may be known to the model."""
    try:
        names = [NAMES.get(code, code) for code in parse_languages(language)]
    except BadValue:
        names = [" ".join(language.split())[:60]]
    return f" The text is in {' and '.join(names)}." if names else ""


def read_answer(question: Question, said: str, whole: bool = True) -> Answer:
    """The page that an answer describes. `whole` False: the model was cut short by a limit."""
    if question.parse is not None and (parsed := question.parse(said)) is not None:
        return parsed
    kept = sense_of(said)
    body = kept[: run_away(kept)].rstrip()
    cut = len(body) < len(kept.rstrip()) or not whole
    text = plain_text(body) if question.markdown else body
    lines = tuple(Segment(" ".join(line.split())) for line in text.splitlines() if line.strip())
    if cut:
        text, body = (f"{one}\n{CUT}" if one else CUT for one in (text, body))
    return Answer(text, body if question.markdown else "", lines, cut)


def sense_of(said: str) -> str:
    """An answer without what is not of the page: code fences, a front matter, marks of places."""
    text = re.sub(r"<\|ref\|>.*?<\|/ref\|>\s*<\|det\|>.*?<\|/det\|>\n?", "", said, flags=re.DOTALL)
    text = re.sub(r"<\|[a-z_/]+\|>", "", text).strip()
    fenced = re.fullmatch(r"(`{3,}|~{3,})[\w+-]*[ \t]*\n(.*?)(?:\n?\1)?", text, re.DOTALL)
    text = fenced[2].strip("\n") if fenced else text
    front = re.match(r"---\n(?:[\w ]+:.*\n)+---\n?", text)
    return text[front.end() :].strip("\n") if front else text


def run_away(text: str) -> int:
    """How much of a text to keep: all, or up to the first round of what it repeats without end."""
    for period in range(1, PERIOD + 1):
        need = max(REPEATED, TIMES * period)
        if need > len(text):
            break
        tail = text[-need:]
        if tail[period:] == tail[:-period]:
            start = len(text) - need
            while start and text[start - 1] == text[start - 1 + period]:
                start -= 1
            return start + period
    return len(text)


def plain_text(markdown: str) -> str:
    """Markdown as one reads it: no marks of headings, emphasis or links; a table's cells parted by tabs."""
    text = re.sub(r"<br\s*/?>", "\n", markdown, flags=re.IGNORECASE)
    text = re.sub(r"</t[dh]>\s*<t[dh][^>]*>", "\t", text, flags=re.IGNORECASE)
    text = re.sub(r"</tr>\s*", "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"</?(?:[a-z][a-z0-9_-]*)(?:\s[^<>]*)?/?>", "", text, flags=re.IGNORECASE)
    text = re.sub(r"!?\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)
    return "\n".join(_plain_lines(text.splitlines())).strip("\n")


def _plain_lines(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if re.fullmatch(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*", line) or re.fullmatch(
            r"\s*(?:`{3,}|~{3,})[\w+-]*\s*", line
        ):
            continue
        bare = re.sub(r"^\s{0,3}(?:#{1,6}\s+|>\s?)", "", line)
        if re.fullmatch(r"\s*\|.*\|\s*", bare):
            bare = "\t".join(cell.strip() for cell in bare.strip().strip("|").split("|"))
        bare = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", bare)
        bare = re.sub(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])", r"\1", bare)
        bare = re.sub(r"`([^`]+)`", r"\1", bare)
        yield re.sub(r"\\([\\`*_{}\[\]()#+.!|>-])", r"\1", bare)


def _read_layout(said: str) -> Answer | None:
    """The answer to `DOTS_LAYOUT`: a list of blocks with boxes; None where it is none."""
    blocks = _blocks(sense_of(said))
    if blocks is None:
        return None
    lines: list[Segment] = []
    pieces = []
    for block in blocks:
        text = str(block.get("text") or "").strip()
        if not text:
            continue
        text = text[: run_away(text)]
        pieces.append(_as_markdown(text, str(block.get("category"))))
        plain = [line for line in plain_text(text).splitlines() if line.strip()]
        lines += _parted(plain, block.get("bbox"))
    markdown = "\n\n".join(pieces)
    return Answer("\n\n".join(map(plain_text, pieces)), markdown, tuple(lines))


def _blocks(text: str) -> list[dict[str, Any]] | None:
    """The objects of a JSON list, also of one that breaks off in the middle."""
    start = text.find("[")
    if start < 0:
        return None
    for end in (len(text), text.rfind("}") + 1):
        body = text[start:end] if end == len(text) else text[start:end] + "]"
        try:
            found = json.loads(body)
        except ValueError:
            continue
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None
    return None


def _as_markdown(text: str, category: str) -> str:
    if category == "Title" and not text.startswith("#"):
        return f"# {text}"
    if category == "Section-header" and not text.startswith("#"):
        return f"## {text}"
    if category == "Formula" and not text.startswith("$"):
        return f"$$\n{text}\n$$"
    return text


def _parted(lines: Sequence[str], box: Any) -> Iterator[Segment]:
    """The lines of a block, each with its share of the block's height."""
    known = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
    for place, line in enumerate(lines):
        here: Box | None = None
        if known:
            tall = (box[3] - box[1]) / len(lines)
            here = (box[0], box[1] + place * tall, box[2], box[1] + (place + 1) * tall)
        yield Segment(line, box=here)


TRAINED = (
    _Trained(
        re.compile(r"dots[._-]?m?ocr"),
        Question("Extract the text content from this image."),
        Question(DOTS_LAYOUT, markdown=True, parse=_read_layout),
    ),
    _trained(r"paddleocr[._-]?vl", "OCR:"),
    _trained(r"glm[._-]?ocr", "Text Recognition:"),
    _trained(r"deepseek[._-]?ocr", "Free OCR.", "<|grounding|>Convert the document to markdown."),
    _trained(r"nanonets[._-]?ocr", NATURAL, always=True),
    _trained(r"olmocr", NATURAL, always=True),
    _trained(r"hunyuan[._-]?ocr", HUNYUAN, always=True),
    _trained(r"lighton[._-]?ocr", "", always=True),
)
