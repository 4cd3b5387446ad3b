"""What the media corner looks like: values in, HTML out. Foreign values are escaped here and nowhere else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from engine import Ticket
from ui.cards import PHASES, button
from ui.conversations import flat
from ui.header import size, span
from ui.words import say

ICONS = {"video": "play", "audio": "sound", "image": "picture", "page": "paper", "file": "paper"}
KINDS = {
    "video": "media.video", "audio": "media.audio", "image": "media.image", "page": "media.page",
    "file": "media.file",
}  # fmt: skip
# What a kind of thing can be sent to: the tab, and the button's text.
SENDS = {
    "video": (("speech", "media.transcribe"),),
    "audio": (("speech", "media.transcribe"),),
    "image": (("vision", "media.see"), ("ocr", "media.read")),
    "page": (("translate", "media.translate"), ("chat", "media.discuss")),
    "pdf": (("ocr", "media.read"),),
    "text": (("translate", "media.translate"), ("chat", "media.discuss")),
}
SHOWN = 30  # formats in the list
EXCERPT = 600  # characters of a text


@dataclass(slots=True)
class Shown:
    """An address that a browser looks at, and what was found so far."""

    url: str
    found: Any = None
    picture: bytes = b""
    error: str = ""
    taken_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job, what it took once it is done, and the tab that its file then goes to."""

    ticket: Ticket
    taken: Any
    then: str


def card(shown: Shown | None, language: str) -> str:
    """What lies at the address."""
    if shown is None:
        return '<div class="media-found none"></div>'
    if shown.error:
        close = button("clear", say("page.close", language), icon="close")
        return (
            f'<div class="media-found"><div class="media-card failed" role="alert"><i class="pic-paper"></i>'
            f'<div class="what"><h4>{flat(_short(shown.url))}</h4><p>{flat(_sentence(shown.error))}</p></div>'
            f"{close}</div></div>"
        )
    if shown.found is None:
        dots = '<i class="dots"><b></b><b></b><b></b></i>'
        text = flat(say("media.looking", language))
        return (
            f'<div class="media-found"><div class="media-card" role="status"><i class="pic-paper"></i>'
            f'<div class="what"><h4>{flat(_short(shown.url))}</h4><p>{dots} {text}</p></div></div></div>'
        )
    return f'<div class="media-found">{_card(shown, language)}</div>'


def _card(shown: Shown, language: str) -> str:
    found = shown.found
    about = " · ".join(part for part in (found.site, found.author, found.date) if part)
    facts = "".join(f"<span>{flat(fact)}</span>" for fact in _facts(found, language))
    words = f"<p>{flat(found.description[:300])}</p>" if found.description else ""
    return (
        f'<article class="media-card" data-key="{flat(found.url)}">{_picture(shown)}<div class="what">'
        f'<h4>{flat(found.title)}</h4><p class="about">{flat(about)}</p>'
        f'<p class="facts">{facts}</p>{words}<div class="doing">{_formats(found, language)}'
        f"{_doing(found, language)}</div></div>"
        f"{button('clear', say('page.close', language), icon='close')}</article>"
    )


def _picture(shown: Shown) -> str:
    if shown.picture:
        data = b64encode(shown.picture).decode()
        return f'<img src="data:image/webp;base64,{data}" alt="">'
    return f'<i class="pic-{ICONS[shown.found.type]}"></i>'


def _facts(found: Any, language: str) -> list[str]:
    """Kind, duration, size and pixels."""
    facts = [say(KINDS[found.type], language)]
    if found.live:
        facts.append(say("media.live", language))
    if found.duration:
        facts.append(clock(found.duration))
    if found.width and found.height:
        facts.append(f"{found.width} × {found.height}")
    if found.size:
        facts.append(size(found.size))
    if found.type == "file":
        facts.append(found.content_type)
    return facts


def clock(seconds: float) -> str:
    """Seconds as a player shows them: "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _formats(found: Any, language: str) -> str:
    """A list to choose from, the best first, where there is a choice."""
    if not found.by_site or len(found.formats) < 2:
        return ""
    rows = [("", say("media.best", language)), ("audio", say("media.sound_alone", language))]
    rows += [(one.id, _format(one, language)) for one in reversed(found.formats[-SHOWN:])]
    options = "".join(
        f'<option value="{flat(value)}">{flat(text)}</option>' for value, text in rows
    )
    name = flat(say("media.format", language))
    return f'<select name="format" aria-label="{name}" title="{name}">{options}</select>'


def _format(one: Any, language: str) -> str:
    kind = "" if one.video else say("media.audio", language)
    pixels = f"{one.height}p" if one.height else one.note or kind
    rate = f"{one.bitrate:.0f} kbit/s" if one.bitrate and not one.size else ""
    parts = [pixels, one.ext, size(one.size) if one.size else "", rate]
    return " · ".join(part for part in parts if part)


def _doing(found: Any, language: str) -> str:
    """Taking it, alone or on the way to another tab."""
    if found.live:
        return ""
    kind = "pdf" if found.content_type == "application/pdf" else found.type
    take = button("take", say("media.take", language), "primary")
    sends = ""
    for tab, text in SENDS.get(kind, ()):
        sound = "audio" if tab == "speech" and found.by_site else ""
        sends += button("take", say(text, language), then=tab, tab=tab, format=sound)
    return take + sends


def jobs(rows: Sequence[Job], language: str) -> str:
    """What is being taken, and what was."""
    moving = any(row.ticket.phase in {"queued", "downloading", "running"} for row in rows)
    shown = "".join(_job(row, language) for row in rows)
    return f'<div class="media-jobs" data-moving="{int(moving)}">{shown}</div>'


def _job(row: Job, language: str) -> str:
    ticket, taken = row.ticket, row.taken
    percent = min(100.0, 100 * ticket.done / ticket.total) if ticket.total else 0.0
    over = ticket.phase in {"done", "failed", "cancelled"}
    bar = (
        ""
        if over
        else f'<span class="track{"" if ticket.total else " open"}" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}" aria-label="{flat(ticket.title)}">'
        f'<i style="width:{percent:.1f}%"></i></span>'
    )
    error = flat(_sentence(ticket.error))
    failed = f'<p class="failed">{error}</p>' if ticket.phase == "failed" else ""
    icon = ICONS[_kind(taken)] if taken else "download"
    tools = _taken_tools(taken, language) if taken else ""
    if not over:
        tools = button("cancel", say("media.cancel", language), icon="close", job=ticket.id)
    return (
        f'<div class="media-job {ticket.phase}" data-key="{flat(ticket.id)}"{_sent(row)}>'
        f'<i class="pic-{icon}"></i><span class="who"><b>{flat(ticket.title)}</b>'
        f"<span>{flat(_state(row, language))}</span></span>"
        f'<span class="tools">{tools}</span>{bar}{failed}{_excerpt(taken)}</div>'
    )


def _sent(row: Job) -> str:
    """What the script needs to send it on: once, when it is done."""
    if not row.taken or not row.taken.path:
        return ""
    name = row.taken.path.rpartition("/")[2]
    values = {
        "then": row.then,
        "name": name,
        "url": _link(row.taken),
        "kind": row.taken.content_type,
    }
    return "".join(f' data-{key}="{flat(value)}"' for key, value in values.items() if value)


def _link(taken: Any) -> str:
    return f"v1/files/stream/{quote(taken.path, safe='/')}"


def _kind(taken: Any) -> str:
    """The sort of file that was taken."""
    top = taken.content_type.partition("/")[0]
    if taken.content_type == "application/pdf":
        return "file"
    return {"text": "page"}.get(top, top if top in ICONS else "file")


def _state(row: Job, language: str) -> str:
    ticket, taken = row.ticket, row.taken
    if taken:
        parts = [taken.path, size(taken.size) if taken.size else ""]
        return " · ".join(part for part in parts if part)
    parts = [say(PHASES[ticket.phase], language)]
    if ticket.phase == "downloading" and ticket.done:
        whole = f" / {size(ticket.total)}" if ticket.total else ""
        parts.append(f"{size(ticket.done)}{whole}")
        if ticket.speed:
            parts.append(f"{size(ticket.speed)}/s")
        if ticket.seconds_left:
            parts.append(span(ticket.seconds_left))
    return " · ".join(parts)


def _taken_tools(taken: Any, language: str) -> str:
    """Where it can go now that it is here."""
    if not taken.path:
        return ""
    kind = "pdf" if taken.content_type == "application/pdf" else _kind(taken)
    sends = "".join(
        button("send", say(text, language), "quiet", tab=tab) for tab, text in SENDS.get(kind, ())
    )
    opens = flat(say("media.open", language))
    link = f'<a class="act quiet" href="{flat(_link(taken))}" target="_blank" rel="noopener">{opens}</a>'
    return sends + link


def _excerpt(taken: Any) -> str:
    """The beginning of a page's text; a player for what can be played."""
    if not taken or not taken.path:
        return ""
    kind = _kind(taken)
    if kind in {"audio", "video"}:
        return f'<{kind} controls preload="metadata" src="{flat(_link(taken))}"></{kind}>'
    if not taken.text:
        return ""
    more = "…" if len(taken.text) > EXCERPT else ""
    return f'<p class="excerpt">{flat(taken.text[:EXCERPT] + more)}</p>'


def _sentence(error: str) -> str:
    """An error without the name of its field, which nobody sees on the page."""
    text = error.removeprefix("url: ")
    return text[:1].upper() + text[1:]


def _short(url: str) -> str:
    return url if len(url) <= 120 else f"{url[:119]}…"
