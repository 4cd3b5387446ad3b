"""The OCR tab's text panel: a page's lines, or two readings of it side by side. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from engine import Page, Paper, Segment
from ui.cards import button
from ui.conversations import flat
from ui.ocr_diff import Word, compare
from ui.words import say

LOW, FAIR = 0.6, 0.85  # scores below which a line is doubtful, or nearly so
GOING = ("queued", "running")
EXPORTS = {
    "text": "ocr.export_text",
    "markdown": "ocr.export_markdown",
    "json": "ocr.export_json",
    "hocr": "ocr.export_hocr",
    "pdf": "ocr.export_pdf",
}
LOOKS = (("lines", "ocr.look_lines"), ("layout", "ocr.look_layout"))


@dataclass(frozen=True, slots=True)
class Opened:
    """A document's page as the tab shows it.

    Args:
        number: which page; `page` is what was read of it, None: nothing yet.
        model: whose reading; `versus`: the one beside it, "" for none, with its page in `other`.
        codes: pages of this reading that are there, with their error's code, "" where they were read.
        mended: places of lines that were corrected.
        titles: the models' names for people.
    """

    paper: Paper
    number: int
    model: str
    page: Page | None = None
    codes: Mapping[int, str] = field(default_factory=dict)
    mended: frozenset[int] = frozenset()
    versus: str = ""
    other: Page | None = None
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, model: str) -> str:
        return self.titles.get(model, model)

    def reader(self, model: str, page: Page | None) -> str:
        """Who read it; of an automatic reading also whoever was chosen for the page."""
        chosen = page.model if model == "auto" and page is not None else ""
        return " · ".join(self.title(name) for name in (model, chosen) if name)


def trust_of(line: Segment, mended: bool) -> str:
    """How sure a line is: "mended", "low", "fair" or "sure"."""
    if mended:
        return "mended"
    score = 1.0 if line.score is None else line.score
    return "low" if score < LOW else "fair" if score < FAIR else "sure"


def export_url(paper: Paper, kind: str, model: str) -> str:
    """Where the whole document is, in one of its written forms."""
    query = urlencode({"format": kind, **({"model": model} if model else {})})
    return f"v1/ocr/documents/{quote(paper.id, safe='')}/export?{query}"


def lines(o: Opened | None, language: str) -> str:
    """The page's lines, or two readings of it side by side."""
    if o is None:
        return '<div class="reading"></div>'
    if o.versus:
        return _pair(o, language)
    page = o.page
    if page is None:
        return f'<div class="reading">{_unread(o.paper.phase in GOING, language)}</div>'
    if page.error:
        told = f'<p class="state failed" role="alert">{flat(page.error)}</p>'
        return f'<div class="reading">{told}</div>'
    doubtful = sum(1 for n, line in enumerate(page.lines) if trust_of(line, n in o.mended) == "low")
    facts = [o.title(page.model) if page.model else say("ocr.own_text", language)]
    if page.lines:
        facts.append(say("ocr.lines", language, n=len(page.lines)))
    if doubtful:
        facts.append(say("ocr.doubtful", language, n=doubtful))
    told = "".join(f"<span>{flat(fact)}</span>" for fact in facts)
    return (
        f'<div class="reading"><header><p class="facts">{told}</p>'
        f'<span class="tools">{_looks(page, language)}{_copies(o, language)}</span></header>'
        f'{_body(o, page, language)}<pre class="whole" hidden>{flat(page.markdown or page.text)}</pre></div>'
    )


def _body(o: Opened, page: Page, language: str) -> str:
    if page.lines:
        hint = flat(say("ocr.mend", language))
        rows = "".join(_line(n, line, n in o.mended, language) for n, line in enumerate(page.lines))
        return f'<ol class="lines" data-hint="{hint}">{rows}</ol>'
    if page.text.strip():
        return f'<pre class="plain">{flat(page.text)}</pre>'
    return f'<p class="none">{flat(say("ocr.empty", language))}</p>'


def _line(number: int, line: Segment, mended: bool, language: str) -> str:
    trust = trust_of(line, mended)
    score = "" if line.score is None or mended else f"{100 * line.score:.0f} %"
    note = say("ocr.mended", language) if mended else score
    return (
        f'<li class="line {trust}" data-line="{number}" data-key="{number}" data-note="{flat(note)}" '
        f'tabindex="0"><span class="said">{flat(line.text)}</span><b>{flat(note)}</b></li>'
    )


def _looks(page: Page, language: str) -> str:
    """Lines or layout, where the model wrote one."""
    if not page.markdown.strip() or not page.lines:
        return ""
    return "".join(
        button("look", say(key, language), "quiet", pressed=name == "lines", to=name)
        for name, key in LOOKS
    )


def _copies(o: Opened, language: str) -> str:
    copied = say("page.copied", language)
    page = button("copy", say("ocr.copy_page", language), "quiet", copied=copied)
    links = "".join(
        f'<a href="{flat(export_url(o.paper, kind, o.model))}" download>{flat(say(key, language))}</a>'
        for kind, key in EXPORTS.items()
    )
    whole = button("copy_all", say("ocr.copy_all", language), "quiet", copied=copied)
    name = flat(say("ocr.export", language))
    return (
        f'{page}<details class="menu"><summary class="act quiet">{name}</summary>'
        f"<div>{whole}{links}</div></details>"
    )


def _pair(o: Opened, language: str) -> str:
    """Two readings beside each other; words that the other has not are marked, once both are there."""
    both = o.page is not None and o.other is not None
    one, two = _texts(o.page), _texts(o.other)
    found = compare(one, two) if both else compare(one or two, one or two)
    share = say("ocr.agree", language, percent=f"{100 * found.share:.1f}") if both else ""
    columns = "".join(
        _column(side, o.reader(model, page), words, page, o.paper.phase in GOING, language)
        for side, model, words, page in (
            ("one", o.model, found.left, o.page),
            ("two", o.versus, found.right, o.other),
        )
    )
    return (
        f'<div class="reading pair"><header><p class="facts"><span>{flat(share)}</span></p></header>'
        f'<div class="columns">{columns}</div></div>'
    )


def _column(
    side: str,
    title: str,
    words: Sequence[Sequence[Word]],
    page: Page | None,
    going: bool,
    language: str,
) -> str:
    if page is None:
        body = _unread(going, language)
    elif page.error:
        body = f'<p class="state failed">{flat(page.error)}</p>'
    else:
        body = f'<ol class="lines">{_marked(words, bool(page.lines))}</ol>'
    return f'<section data-side="{side}"><h4>{flat(title)}</h4>{body}</section>'


def _unread(going: bool, language: str) -> str:
    dots = '<i class="dots"><b></b><b></b><b></b></i>' if going else ""
    text = flat(say("ocr.reading_now" if going else "ocr.not_read", language))
    return f'<p class="state{" going" if going else ""}">{dots}{text}</p>'


def _texts(page: Page | None) -> list[str]:
    if page is None:
        return []
    if page.lines:
        return [line.text for line in page.lines]
    return [line for line in page.text.splitlines() if line.strip()]


def _marked(rows: Sequence[Sequence[Word]], placed: bool) -> str:
    """Lines of words; those of the page's own lines know their place on the picture."""
    found = []
    for number, words in enumerate(rows):
        text = " ".join(flat(w) if same else f"<mark>{flat(w)}</mark>" for w, same in words)
        place = f' data-line="{number}" tabindex="0"' if placed else ""
        found.append(f'<li class="line"{place}><span class="said">{text}</span></li>')
    return "".join(found)
