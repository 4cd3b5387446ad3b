"""The OCR tab's painted parts: the documents, a page with its boxes, its lines. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from engine import Paper, Segment
from ui.cards import button
from ui.conversations import flat
from ui.ocr_lines import GOING, Opened, trust_of
from ui.samples import DOCUMENTS, gallery
from ui.words import say

WIDTHS = (800, 1400, 2400)  # of the page's picture; the browser takes the one that suits
THUMB = 140
PHASES = {
    "queued": "models.phase_queued",
    "running": "ocr.phase_running",
    "paused": "models.phase_paused",
    "done": "models.phase_done",
    "failed": "models.phase_failed",
    "cancelled": "models.phase_cancelled",
}
ZOOMS = (
    ("out", "ocr.zoom_out", "minus"), ("in", "ocr.zoom_in", "plus"), ("fit", "ocr.zoom_fit", "fit"),
)  # fmt: skip


# Documents


def papers(found: Sequence[Paper], opened: str, language: str) -> str:
    """The documents at the side, newest first."""
    rows = "".join(_paper(paper, paper.id == opened, language) for paper in found)
    moving = int(any(paper.phase in GOING for paper in found))
    name = flat(say("ocr.documents", language))
    none = "" if rows else f'<p class="none">{flat(say("ocr.none", language))}</p>'
    tried = flat(say("samples.try", language))
    shelf = f"<details><summary>{tried}</summary>{gallery(DOCUMENTS, language)}</details>"
    samples = shelf if rows else ""
    return (
        f'<div class="papers" data-moving="{moving}"><ul aria-label="{name}">{rows}</ul>{none}'
        f"{samples}</div>"
    )


def _paper(paper: Paper, opened: bool, language: str) -> str:
    name = flat(paper.name)
    current = ' aria-current="true"' if opened else ""
    seen = paper.done + paper.failed
    share = 100 * seen / paper.count if paper.count else 0
    track = ""
    if paper.phase in GOING:
        track = (
            f'<span class="track" role="progressbar" aria-valuenow="{share:.0f}" aria-label="{name}">'
            f'<i style="width:{share:.1f}%"></i></span>'
        )
    return (
        f'<li class="paper {paper.phase}" data-key="{flat(paper.id)}" data-phase="{paper.phase}"{current}>'
        f'<button type="button" class="opens-paper" data-open="{flat(paper.id)}" title="{name}">'
        f"<b>{name}</b><span>{flat(_standing(paper, language))}</span></button>"
        f'<span class="tools">{_tools(paper, language)}</span>{track}</li>'
    )


def _standing(paper: Paper, language: str) -> str:
    """How far it is, in a few words."""
    if paper.phase == "failed":
        return paper.error or say("models.phase_failed", language)
    seen = paper.done + paper.failed
    whole = say("ocr.pages", language, n=paper.count)
    part = say("ocr.pages_of", language, done=seen, n=paper.count)
    parts = [whole if paper.phase == "done" else part]
    if paper.phase != "done":
        parts.insert(0, say(PHASES[paper.phase], language))
    if paper.failed:
        parts.append(say("ocr.pages_failed", language, n=paper.failed))
    return " · ".join(parts)


def _tools(paper: Paper, language: str) -> str:
    tools = ""
    if paper.phase in GOING:
        tools += button("pause", say("models.pause", language), icon="pause", id=paper.id)
    elif paper.phase in ("paused", "cancelled", "failed") or paper.failed:
        tools += button("resume", say("models.resume", language), icon="play", id=paper.id)
    return tools + button("ask_remove", say("models.remove", language), icon="delete", id=paper.id)


# The page


def hello(language: str) -> str:
    """No document is open: how to bring one."""
    choose = button("choose", say("ocr.choose", language), "primary")
    return (
        f'<div class="opened empty"><div class="drop"><i class="pic-paper"></i>'
        f"<h2>{flat(say('ocr.hello', language))}</h2><p>{flat(say('ocr.bring', language))}</p>"
        f'<p class="row">{choose}</p></div>'
        f'<p class="or">{flat(say("samples.try", language))}</p>{gallery(DOCUMENTS, language)}</div>'
    )


def leaf(o: Opened, again: Sequence[tuple[str, str]], language: str) -> str:
    """The page's picture with its boxes, the tools above it and the small pictures below.

    Args:
        again: ids and names of the models that could read it once more.
    """
    return (
        f'<div class="opened" data-doc="{flat(o.paper.id)}" data-page="{o.number}" '
        f'data-model="{flat(o.model)}" data-versus="{flat(o.versus)}" '
        f'data-numbers="{",".join(map(str, o.paper.numbers))}">'
        f"{_bar(o, again, language)}{_picture(o, language)}{_strip(o, language)}</div>"
    )


def _bar(o: Opened, again: Sequence[tuple[str, str]], language: str) -> str:
    numbers = o.paper.numbers
    place = numbers.index(o.number) if o.number in numbers else 0
    before = button("turn", say("ocr.previous", language), icon="before", by="-1")
    after = button("turn", say("ocr.next", language), icon="after", by="1")
    where = say("ocr.page_of", language, n=place + 1, count=len(numbers))
    zoom = "".join(button("zoom", say(key, language), icon=icon, by=by) for by, key, icon in ZOOMS)
    boxes = button("boxes", say("ocr.boxes", language), icon="boxes", pressed=True)
    turner = f'<span class="turner">{before}<b class="where">{flat(where)}</b>{after}</span>'
    return (
        f'<header class="bar">{turner if len(numbers) > 1 else ""}<span class="zoomer">{zoom}{boxes}</span>'
        f'<span class="engines">{_engines(o, again, language)}</span></header>'
    )


def _engines(o: Opened, again: Sequence[tuple[str, str]], language: str) -> str:
    """Whose reading is shown, which stands beside it, and who could read it as well."""
    read = [reading.model for reading in o.paper.readings]
    shown = ""
    if len(read) > 1:
        whose = _options(read, o.model, o)
        beside = _options([m for m in read if m != o.model], o.versus, o)
        none = f'<option value="">{flat(say("ocr.alone", language))}</option>'
        first, second = flat(say("ocr.reading", language)), flat(say("ocr.beside", language))
        shown = (
            f'<select data-of="model" aria-label="{first}" title="{first}">{whose}</select>'
            f'<select data-of="versus" aria-label="{second}" title="{second}">{none}{beside}</select>'
        )
    left = [(model, name) for model, name in again if model not in read]
    if not left or o.paper.phase in GOING:
        return shown
    rows = "".join(f'<option value="{flat(m)}">{flat(name)}</option>' for m, name in left)
    title = flat(say("ocr.again", language))
    return (
        f'{shown}<select data-act="again" data-id="{flat(o.paper.id)}" aria-label="{title}">'
        f'<option value="" selected>{title}</option>{rows}</select>'
    )


def _options(models: Sequence[str], chosen: str, o: Opened) -> str:
    return "".join(
        f'<option value="{flat(m)}"{" selected" if m == chosen else ""}>{flat(o.title(m))}</option>'
        for m in models
    )


def picture_url(paper: Paper, number: int, width: int) -> str:
    """Where the picture of a page is, seen from the page of the app."""
    return f"v1/ocr/documents/{quote(paper.id, safe='')}/pages/{number}/picture?width={width}"


def _picture(o: Opened, language: str) -> str:
    page = o.page
    sizes = ", ".join(f"{picture_url(o.paper, o.number, w)} {w}w" for w in WIDTHS)
    alt = flat(say("ocr.page", language, n=o.number))
    style = f' style="--wide:{page.width};--high:{page.height}"' if page and page.width else ""
    drawn = ""
    if page is not None and page.width:
        drawn = (
            f'<svg viewBox="0 0 {page.width} {page.height}" preserveAspectRatio="none" '
            f'aria-hidden="true">{_shapes(o)}</svg>'
        )
    return (
        f'<div class="desk" tabindex="0" aria-label="{alt}"><figure class="leaf" '
        f'data-key="{flat(o.paper.id)}-{o.number}"{style}>'
        f'<img src="{picture_url(o.paper, o.number, WIDTHS[1])}" srcset="{sizes}" alt="{alt}" '
        f'loading="lazy" draggable="false">{drawn}</figure></div>'
    )


def _shapes(o: Opened) -> str:
    """The lines' outlines; of two readings each in a group of its own."""
    groups = []
    for side, page in (("one", o.page), ("two", o.other)):
        if page is not None:
            mended = o.mended if side == "one" else frozenset()
            shapes = "".join(_shape(n, line, n in mended) for n, line in enumerate(page.lines))
            groups.append(f'<g data-side="{side}">{shapes}</g>' if o.versus else shapes)
    return "".join(groups)


def _shape(number: int, line: Segment, mended: bool) -> str:
    if line.corners is not None:
        c = line.corners
        points = " ".join(f"{c[n]:.1f},{c[n + 1]:.1f}" for n in range(0, 8, 2))
    elif line.box is not None:
        x0, y0, x1, y1 = line.box
        points = f"{x0:.1f},{y0:.1f} {x1:.1f},{y0:.1f} {x1:.1f},{y1:.1f} {x0:.1f},{y1:.1f}"
    else:
        return ""
    return f'<polygon data-line="{number}" class="{trust_of(line, mended)}" points="{points}"/>'


def _strip(o: Opened, language: str) -> str:
    if len(o.paper.numbers) < 2:
        return ""
    going = o.paper.phase in GOING
    thumbs = "".join(_thumb(o, number, going, language) for number in o.paper.numbers)
    name = flat(say("ocr.all_pages", language))
    return f'<nav class="strip" aria-label="{name}">{thumbs}</nav>'


def _thumb(o: Opened, number: int, going: bool, language: str) -> str:
    code = o.codes.get(number)
    state = ("waiting" if going else "unread") if code is None else "failed" if code else "read"
    current = ' aria-current="page"' if number == o.number else ""
    title = flat(say("ocr.page", language, n=number))
    return (
        f'<button type="button" class="thumb {state}" data-goto="{number}" data-key="{number}" '
        f'title="{title}" aria-label="{title}"{current}>'
        f'<img src="{picture_url(o.paper, number, THUMB)}" alt="" loading="lazy"><i>{number}</i></button>'
    )
