"""Texts as they are spoken: sentences one by one, without markup. A leaf: knows writing, no voice and no model.

`split` cuts a whole text, `take` one that is still being written.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

LONGEST = 300  # characters of what is spoken in one breath; longer sentences are cut at a comma or a space
# What ends a sentence: in most scripts before a space, in Chinese and Japanese anywhere.
_END = re.compile(
    r"(?<![.!?…։؟۔।॥።៖။])(?P<plain>[.!?…։؟۔।॥።៖။]++)(?P<close>(?:[\"'»”’)\]*_]|[^\S\n]»)*)(?=\s|$)|[。！？｡．]+[」』”’）】]*"
)
_PARAGRAPH = re.compile(r"\n\s*\n+|\n(?=\s*(?:[-*•–—]|\d{1,3}[.)])\s)")
_CLAUSE = re.compile(r"[,;:،؛、，；：–—]\s*|\s+")
# Abbreviations that a name, a number or the rest of the sentence follows, without their dots, in lower case.
_BEFORE_A_NAME = frozenset(re.findall(r"\S+", """
    mr mrs ms dr prof st sr jr rev hon gen col sgt capt lt fig figs no nos vol vols ed eds art sec ch pp p vs approx
    e.g i.e cf viz al jan feb mar apr jun jul aug sep sept oct nov dec mt ft
    m mm mme mmes mlle mlles me pr ste av bd bld boul env ex p.ex c.-à-d éd chap tél réf vol fasc
    sra srta dra profa eng exmo exma av r num núm pág págs séc tel ltda cia
    т.е т.к т.н т.д т.п т г гг ул пр им стр рис табл см ср напр проф акад др руб коп тыс млн млрд кв д к обл р н.э
    z.b d.h bzw usw ca nr str abs bsp evtl ggf hrsg inkl s
    """))  # fmt: skip
# Those of them that are words as well: they end a sentence unless a number follows.
_ALSO_WORDS = frozenset(re.findall(r"\S+", """
    no art me s mar dec ex jan sec al ed r ch к д р г гг т.д т.п др руб коп н.э usw nr
    """))  # fmt: skip
_INITIAL = re.compile(r"(?:^|[\s(«\"'.-])([^\W\d_])$")

# All of them take time in proportion to a text, whatever it is: runs are bounded or possessive.
_FENCE = re.compile(r"^(`{3,9}|~{3,9})[^\n]*\n.*?(?:^\1[^\S\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_HIDDEN = re.compile(
    r"<(script|style)\b.{0,5000}?</\1\s*>|<!--.{0,5000}?-->", re.IGNORECASE | re.DOTALL
)
_BREAKING = re.compile(r"<(?:br|/?p|/?div|/?li|/?h[1-6]|/?tr)\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][\w:-]{0,60}(?:\s[^<>]{0,1000})?/?>")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\([^()\s]{0,2000}(?:\s\"[^\"\n]{0,300}\")?\)")
_URL = re.compile(r"\bhttps?://(?:www\.)?([\w.-]{1,250}\w)[^\s<>]*", re.IGNORECASE)
_HEADING = re.compile(r"^ {0,3}#{1,6} +([^\n]*)$", re.MULTILINE)
_QUOTE = re.compile(r"^ {0,3}(?:> ?)++", re.MULTILINE)
_BULLET = re.compile(r"^ *[-*+•] +(?:\[[ xX]\] +)?", re.MULTILINE)
_RULE = re.compile(r"^ *(?:[-*_=]{3,}+|(?=[^|\n]*\|)[|:\- ]++)$", re.MULTILINE)
_BOLD = re.compile(
    r"(?<![A-Za-z0-9*~`])(\*\*\*|\*\*|\*|__|~~|`{1,3})(?=[^\s*~`])([^\n]{1,500}?)(?<=\S)\1"
)
_UNDER = re.compile(r"(?<!\w)_(?=\S)([^_\n]{1,500})(?<=\S)_(?!\w)")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2300-\u23ff\u2b00-\u2bff\U000e0020-\U000e007f\ufe0f\u200d\u20e3]+"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece that is spoken in one breath. `rest`: how long the pause after it is, 1 after a sentence."""

    text: str
    rest: float = 1.0


def plain(text: str) -> str:
    """A text without what is not said: tags, Markdown's signs, code blocks, addresses' paths, emoji.

    Where nothing else is there, code is kept and so are emoji, whose names some voices can say.
    """
    text = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = re.sub(r"[^\S\n]+", " ", text)
    without = _FENCE.sub("\n", text)
    text = without if said(without) else text.replace("```", "")
    text = _BREAKING.sub("\n", _HIDDEN.sub(" ", text))
    text = html.unescape(_TAG.sub("", text))
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(r"\1", text)
    text = _RULE.sub("", text)
    text = _HEADING.sub(lambda found: found[1].rstrip("# ") + "\n", text)
    text = _BULLET.sub("\n\n", _QUOTE.sub("", text))
    for _ in range(3):  # bold in italics
        text = _BOLD.sub(r"\2", text)
    text = _UNDER.sub(r"\1", text)
    text = re.sub(r" ?\| ?", ", ", text) if text.count("|") > 1 else text
    text = re.sub(r"^, |, $", "", text, flags=re.MULTILINE)
    silent = _EMOJI.sub(" ", text)
    text = silent if said(silent) else text
    return re.sub(r" +", " ", text).strip()


def said(text: str) -> bool:
    """Whether there is a letter or a digit to be said."""
    return any(letter.isalnum() for letter in text)


def split(text: str, longest: int = LONGEST) -> list[Sentence]:
    """The sentences of a text without markup, none longer than `longest` characters.

    Safe for abbreviations, initials, numbers and ordinals of English, French, Portuguese, Russian and others; full
    stops of Chinese, Japanese, Hindi, Arabic and their kin are known.
    """
    found: list[Sentence] = []
    for part in _PARAGRAPH.split(text):
        inside = []
        for sentence in _cut(" ".join(part.split())):
            inside += _breaths(sentence, longest)
        if inside:
            inside[-1] = Sentence(inside[-1].text, 2.0)
        found += inside
    return found


def take(text: str) -> tuple[list[str], str]:
    """The complete sentences at the beginning of a text that is still being written, and what is left of it.

    What the end of the text alone makes look complete ("3.", "Dr.") is left: more may follow.
    """
    done: list[str] = []
    start = 0
    for at in _ends(text, open_end=True):
        done.append(text[start:at])
        start = at
    return [one for one in done if one.strip()], text[start:]


def _cut(text: str) -> list[str]:
    ends = [*_ends(text), len(text)]
    pieces = (text[a:b].strip() for a, b in zip([0, *ends], ends, strict=False))
    return [piece for piece in pieces if piece]


def _ends(text: str, open_end: bool = False) -> list[int]:
    """Places right after a sentence; `open_end`: the text may go on."""
    found = [0]
    for match in _END.finditer(text):
        if not _goes_on(text, match, found[-1], open_end):
            found.append(match.end())
    if open_end:
        found += [match.end() for match in re.finditer(r"\n\s*\n", text)]
    return sorted({*found} - {0})


def _goes_on(text: str, match: re.Match[str], start: int, open_end: bool) -> bool:
    """Whether the sentence goes on after what looks like its end."""
    if match["plain"] is None:
        return False
    if open_end and match.end() == len(text):
        return True
    after = text[match.end() : match.end() + 40].lstrip()
    follows = after[:1]
    if match["plain"] not in (".", "…", "..."):
        return bool(match["close"]) and follows.islower()
    if follows.islower():  # an abbreviation, or a pause
        return True
    if match["plain"] != ".":
        return False
    before = text[max(0, match.start() - 24) : match.start()]
    word = re.split(r"[\s(«\"'“„/]", before)[-1].lower()
    if word in _BEFORE_A_NAME and (word not in _ALSO_WORDS or follows.isdigit()):
        return True
    initial = _INITIAL.search(before)
    if initial and initial[1].isupper() and follows.isalpha():
        return True
    return text[start : match.start()].strip().isdigit()  # "1. First": the number belongs to it


def _breaths(sentence: str, longest: int) -> list[Sentence]:
    """A sentence in pieces of at most `longest` characters, cut at the last comma or else space before."""
    pieces: list[Sentence] = []
    while len(sentence) > longest:
        marks = list(_CLAUSE.finditer(sentence, longest // 3, longest))
        clauses = [m for m in marks if not m[0].isspace()]
        at = clauses[-1].end() if clauses else marks[-1].end() if marks else longest
        pieces.append(Sentence(sentence[:at].strip(), 0.4 if clauses else 0.1))
        sentence = sentence[at:].strip()
    return [*pieces, Sentence(sentence)] if sentence else pieces
