"""What the Models tab asks before it does something: the sheets of its dialog. Values in, HTML out.

The page's script shows a sheet as a dialog; submitting it tells the server its `act` and its fields.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine import ModelSpec, Ticket
from ui.cards import DOES, listed
from ui.conversations import flat
from ui.header import name_of, size
from ui.words import say

FORMS = {
    "auto": "models.form_auto",
    "none": "models.form_none",
    "int8": "models.form_eight",
    "int4": "models.form_four",
}


def sheet(
    title: str,
    body: str,
    language: str,
    *,
    act: str = "",
    submit: str = "",
    style: str = "primary",
    error: str = "",
    **data: str,
) -> str:
    """A dialog's contents.

    Args:
        body: HTML; everything else is text.
        act: what submitting it does; empty: it can only be closed.
        error: why it did not work; read out at once.
    """
    given = "".join(f' data-{name}="{flat(value)}"' for name, value in data.items())
    close = say("page.cancel" if act else "page.close", language)
    go = f'<button class="act {style}">{flat(submit)}</button>' if act else ""
    wrong = f'<p class="failed" role="alert">{flat(error)}</p>' if error else ""
    return (
        f'<form class="sheet" data-stamp="{time.time_ns()}" data-act="{act}"{given}>'
        f"<h2>{flat(title)}</h2>{body}{wrong}"
        f'<div class="row"><button type="button" class="act closes-sheet">{flat(close)}</button>{go}'
        "</div></form>"
    )


def waiting(title: str, language: str) -> str:
    """While the hub or a server is asked."""
    dots = '<i class="dots"><b></b><b></b><b></b></i>'
    text = flat(say("models.asking", language))
    return sheet(title, f'<p role="status">{dots}{text}</p>', language)


def download(offer: Any, title: str, language: str, error: str = "") -> str:
    """What fetching a model means, with its licence to accept."""
    rows = [("models.licence", _licence(offer.licence, language))]
    amount = say("models.to_fetch", language, size=size(offer.missing), free=size(offer.free))
    rows.append(("models.size", flat(amount)))
    rows.append(("models.from", _link(f"https://huggingface.co/{offer.repo}", offer.repo)))
    return sheet(
        say("models.download_title", language, name=title),
        _table(rows, language),
        language,
        act="download",
        submit=say("models.accept", language),
        error=error,
        model=offer.model,
    )


def _licence(licence: Any, language: str) -> str:
    if not licence.name:
        return flat(say("models.licence_none", language))
    return f"{flat(licence.name)} · {_link(licence.link, say('models.licence_read', language))}"


def gated(title: str, repo: str, language: str) -> str:
    """A repository whose owners ask for something first."""
    page = _link(f"https://huggingface.co/{repo}", say("models.open_page", language))
    text = flat(say("models.gated", language))
    heading = say("models.gated_title", language, name=title)
    return sheet(heading, f"<p>{text}</p><p>{page}</p>", language)


def load(
    spec: ModelSpec, line: str, gone: Sequence[str], stays: Sequence[str], language: str
) -> str:
    """What loading a model does to the others."""
    rows = "".join(f"<li>{flat(name)}</li>" for name in gone)
    body = f"<p>{flat(line)}</p><p>{flat(say('models.load_unloads', language))}</p><ul>{rows}</ul>"
    if stays:
        body += f"<p>{flat(say('models.load_stays', language, names=listed(stays)))}</p>"
    return sheet(
        say("models.load_title", language, name=name_of(spec)), body, language,
        act="load", submit=say("models.load", language), model=spec.id,
    )  # fmt: skip


def form(spec: ModelSpec, plans: Mapping[str, tuple[str, bool]], chosen: str, language: str) -> str:
    """In how many bits a model is to be held; `plans` has each form's plan and whether it can be had."""
    rows = "".join(
        f'<label class="choice"><input type="radio" name="form" value="{name}"'
        f"{' checked' if name == chosen else ''}{'' if possible else ' disabled'}>"
        f"<span><b>{flat(say(FORMS[name], language))}</b><small>{flat(line)}</small></span></label>"
        for name, (line, possible) in plans.items()
    )
    return sheet(
        say("models.form_title", language, name=name_of(spec)), rows, language,
        act="load", submit=say("models.load", language), model=spec.id,
    )  # fmt: skip


def remove(spec: ModelSpec, language: str) -> str:
    """Whether a model of the user's own may go."""
    key = "models.remove_folder" if spec.path else "models.remove_files"
    return sheet(
        say("models.remove_title", language, name=name_of(spec)),
        f"<p>{flat(say(key, language))}</p>", language,
        act="remove", submit=say("models.remove", language), style="stop", model=spec.id,
    )  # fmt: skip


def forget(server: Any, language: str) -> str:
    """Whether another server may leave the list."""
    text = say("models.forget_text", language, n=len(server.models))
    return sheet(
        say("models.forget_title", language, name=server.name), f"<p>{flat(text)}</p>", language,
        act="forget", submit=say("models.remove_server", language), style="stop",
        server=server.name,
    )  # fmt: skip


def cancel(ticket: Ticket, title: str, language: str) -> str:
    """Whether a download is to be thrown away."""
    text = say("models.cancel_text", language, size=size(ticket.done))
    return sheet(
        say("models.cancel_title", language, name=title), f"<p>{flat(text)}</p>", language,
        act="cancel", submit=say("models.cancel_yes", language), style="stop", job=ticket.id,
    )  # fmt: skip


def add(language: str, what: str = "", error: str = "") -> str:
    """Asks for a hub id, a folder or an address; shows what was given when it was wrong."""
    hint = flat(say("models.add_hint", language))
    body = (
        f'<p id="add-hint">{hint}</p>'
        + _field(
            "what", say("models.add_what", language), what, 'required aria-describedby="add-hint"'
        )
        + '<div class="only-server">'
        + _field("key", say("models.add_key", language), "", 'type="password"')
        + "</div>"
    )
    return sheet(
        say("models.add", language), body, language,
        act="add", submit=say("models.add_find", language), error=error,
    )  # fmt: skip


def pull(language: str, what: str = "", error: str = "") -> str:
    """Asks which model an Ollama server is to fetch."""
    hint = f"<p>{flat(say('models.pull_hint', language))}</p>"
    field = _field("model", say("models.pull_what", language), what, "required")
    return sheet(
        say("models.pull", language), hint + field, language,
        act="pull", submit=say("models.download", language), error=error,
    )  # fmt: skip


def added(specs: Sequence[ModelSpec], present: bool, language: str) -> str:
    """What was found; one model that is not here yet can be fetched from here."""
    rows = "".join(
        f"<li><b>{flat(name_of(spec))}</b> {flat(_what(spec, language))}</li>"
        for spec in specs[:12]
    )
    if len(specs) > 12:
        rows += f"<li>+{len(specs) - 12}</li>"
    none = flat(say("models.add_nothing", language))
    body = f'<ul class="found">{rows}</ul>' if specs else f"<p>{none}</p>"
    if len(specs) == 1 and not present:
        return sheet(
            say("models.added", language), body, language, act="ask_download",
            submit=say("models.download", language), model=specs[0].id,
        )  # fmt: skip
    return sheet(say("models.added", language), body, language)


def _what(spec: ModelSpec, language: str) -> str:
    does = listed([say(DOES[name], language) for name in DOES if name in spec.does])
    return " · ".join(part for part in (does, size(spec.size) if spec.size else "") if part)


def _field(name: str, text: str, value: str, more: str) -> str:
    kept = 'autocomplete="off" autocapitalize="off" spellcheck="false"'
    return (
        f'<label class="field"><span>{flat(text)}</span>'
        f'<input name="{name}" value="{flat(value)}" maxlength="2000" {kept} {more}></label>'
    )


def _table(rows: Sequence[tuple[str, str]], language: str) -> str:
    cells = "".join(f"<dt>{flat(say(key, language))}</dt><dd>{value}</dd>" for key, value in rows)
    return f"<dl>{cells}</dl>"


def _link(url: str, text: str) -> str:
    safe = url if url.startswith("https://") else ""
    return f'<a href="{flat(safe)}" target="_blank" rel="noopener noreferrer">{flat(text)}</a>'
