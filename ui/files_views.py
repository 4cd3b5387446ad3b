"""The Files tab's painted parts: a folder's list, the trash, a file, the sheets. Values in, HTML out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from engine import FileEntry
from engine.files import Removed
from ui.cards import button
from ui.conversations import flat
from ui.dialogs import sheet
from ui.files_peek import TABS, TAKERS, Peek, address, drawn, icon_of, look_of
from ui.header import size
from ui.words import say

SHOWN = 500  # entries of a folder that are painted; the rest is found by its name
THUMB = 20_000_000  # bytes of a picture that is drawn small


def listing(
    path: str, entries: Sequence[FileEntry], hidden: int, opened: str, find: str, language: str
) -> str:
    """A folder: its place, then what it holds."""
    found = [entry for entry in entries if find.casefold() in entry.name.casefold()]
    rows = "".join(_row(entry, entry.path == opened, language) for entry in found[:SHOWN])
    name = flat(path or say("files.root", language))
    notes = []
    if len(found) > SHOWN:
        notes.append(say("files.not_shown", language, n=len(found) - SHOWN))
    if hidden:
        notes.append(say("files.hidden", language, n=hidden))
    below = "".join(f'<p class="more">{flat(note)}</p>' for note in notes)
    if not rows:
        below = _empty(bool(find), language) + below
    return (
        f'<div class="folder" data-path="{flat(path)}">{_crumbs(path, language)}'
        f'<ul class="rows" aria-label="{name}">{rows}</ul>{below}</div>'
    )


def _empty(sought: bool, language: str) -> str:
    if sought:
        return f'<p class="none">{flat(say("files.not_found", language))}</p>'
    choose = button("choose", say("files.upload", language), "primary")
    return (
        f'<div class="drop"><i class="pic-folder"></i><h2>{flat(say("files.hello", language))}</h2>'
        f'<p>{flat(say("files.bring", language))}</p><p class="row">{choose}</p></div>'
    )


def _crumbs(path: str, language: str) -> str:
    parts = path.split("/") if path else []
    names = [(say("files.root", language), "")]
    names += [(part, "/".join(parts[: n + 1])) for n, part in enumerate(parts)]
    crumbs = "".join(
        f'<li><button type="button" data-into="{flat(place)}"{" aria-current=page" if place == path else ""}>'
        f"{flat(name)}</button></li>"
        for name, place in names
    )
    return f'<nav class="crumbs" aria-label="{flat(say("files.place", language))}"><ol>{crumbs}</ol></nav>'


def _row(entry: FileEntry, opened: bool, language: str) -> str:
    name = flat(entry.name)
    current = ' aria-current="true"' if opened else ""
    target = "into" if entry.type == "directory" else "open"
    about = moment(entry.modified)
    if entry.type == "file":
        about = f"{size(entry.size)} · {about}"
    look = look_of(entry.name) if entry.type == "file" else "other"
    if (
        look in {"picture", "drawn"}
        and entry.size <= THUMB
        and not entry.name.lower().endswith(".svg")
    ):
        icon = f'<img src="{flat(drawn(entry, 96))}" alt="" loading="lazy">'
    else:
        icon = f'<i class="pic-{icon_of(entry)} {entry.type}"></i>'
    tools = _tools(entry, language)
    return (
        f'<li class="file" data-key="{flat(entry.path)}" data-type="{entry.type}"{current} draggable="true">'
        f'<button type="button" class="opens-file" data-{target}="{flat(entry.path)}" title="{name}">'
        f'<span class="icon-of">{icon}</span><span class="about"><b>{name}</b><small>{flat(about)}</small></span>'
        f'</button><span class="tools">{tools}</span></li>'
    )


def _tools(entry: FileEntry, language: str) -> str:
    given = (entry.path, entry.type)
    tools = _tool("ask_rename", say("files.rename", language), "rename", *given)
    return tools + _tool("remove", say("files.delete", language), "delete", *given)


def moment(when: datetime) -> str:
    """A time as all languages here read it."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


# A file


def shown(entry: FileEntry, peek: Peek, language: str) -> str:
    """A file that is open: what can be done with it, then what it looks like."""
    name = flat(entry.name)
    about = f"{size(entry.size)} · {moment(entry.modified)}"
    close = button("close_file", say("page.close", language), icon="close")
    return (
        f'<article class="opened-file" data-open="{flat(entry.path)}" data-look="{peek.look}" aria-label="{name}">'
        f'<header><div class="title"><b title="{name}">{name}</b><small>{flat(about)}</small></div>{close}</header>'
        f'<div class="doings">{_doings(entry, peek, language)}</div>'
        f'<div class="look" data-key="{flat(address(entry))}">{peek.html}</div></article>'
    )


def _doings(entry: FileEntry, peek: Peek, language: str) -> str:
    given = (entry.path, entry.type)
    doings = _save(address(entry, "download"), say("files.download", language))
    doings += _tool("ask_rename", say("files.rename", language), "rename", *given)
    doings += _tool("ask_move", say("files.move", language), "move", *given)
    if peek.look == "archive":
        doings += _tool("unzip", say("files.unzip", language), "unzip", *given)
    else:
        doings += _tool("ask_zip", say("files.zip", language), "zip", *given)
    doings += _tool("remove", say("files.delete", language), "delete", *given)
    return doings + _sending(entry, peek, language)


def _tool(act: str, text: str, icon: str, path: str, kind: str) -> str:
    """An icon that does something with a file or folder."""
    return button(act, text, icon=icon, path=path, type=kind)


def _save(link: str, text: str) -> str:
    said = f'title="{flat(text)}" aria-label="{flat(text)}"'
    return f'<a class="icon pic-export" href="{flat(link)}" download {said}></a>'


def _sending(entry: FileEntry, peek: Peek, language: str) -> str:
    """Which tabs could take it."""
    rows = "".join(
        f'<button type="button" data-act="send" data-tab="{tab}" data-url="{flat(address(entry))}"'
        f' data-name="{flat(entry.name)}">{flat(say(TABS[tab], language))}</button>'
        for tab in TAKERS[peek.look]
    )
    if not rows:
        return ""
    text = flat(say("files.send", language))
    return f'<details class="menu sends"><summary class="act pic-send-to">{text}</summary><div>{rows}</div></details>'


def nothing(path: str, language: str) -> str:
    """No file is open: what can be done with the folder."""
    doings = ""
    if path:
        given = (path, "directory")
        doings = _tool("ask_rename", say("files.rename", language), "rename", *given)
        doings += _tool("ask_move", say("files.move", language), "move", *given)
        doings += _tool("ask_zip", say("files.zip", language), "zip", *given)
        doings += _tool("remove", say("files.delete", language), "delete", *given)
    name = path.rpartition("/")[2] or say("files.root", language)
    link = f"v1/files/download/{quote(path, safe='/')}"
    save = _save(link, say("files.download_folder", language))
    return (
        f'<article class="opened-file idle"><header><div class="title"><b>{flat(name)}</b>'
        f'<small>{flat(say("files.folder", language))}</small></div></header><div class="doings">'
        f"{save}{doings}</div>"
        f'<p class="nothing pic-paper">{flat(say("files.choose_one", language))}</p></article>'
    )


# The trash


def trash(things: Sequence[Removed], days: float, language: str) -> str:
    """What can be brought back."""
    rows = "".join(_gone(gone, language) for gone in things[:SHOWN])
    keeps = flat(say("files.trash_keeps", language, days=f"{days:g}"))
    back = button("leave_trash", say("files.back", language), icon="before")
    empty = button("ask_empty", say("files.empty_trash", language), "quiet") if rows else ""
    none = "" if rows else f'<p class="none">{flat(say("files.trash_none", language))}</p>'
    title = flat(say("files.trash", language))
    return (
        f'<div class="folder trash" data-path=""><header class="trash-head">{back}<h3>{title}</h3>{empty}</header>'
        f'<p class="more">{keeps}</p><ul class="rows" aria-label="{title}">{rows}</ul>{none}</div>'
    )


def _gone(gone: Removed, language: str) -> str:
    icon = "folder" if gone.type == "directory" else "paper"
    about = (
        f"{gone.path.rpartition('/')[0] or say('files.root', language)} · {moment(gone.removed)}"
    )
    if gone.type == "file":
        about = f"{size(gone.size)} · {about}"
    back = button("restore", say("files.restore", language), id=gone.id)
    return (
        f'<li class="file gone" data-key="{gone.id}"><span class="opens-file"><span class="icon-of">'
        f'<i class="pic-{icon} {gone.type}"></i></span><span class="about"><b>{flat(gone.path.rpartition("/")[2])}</b>'
        f"<small>{flat(about)}</small></span></span>{back}</li>"
    )


def undone(gone: Removed, language: str) -> str:
    """What was just deleted, and the way back."""
    text = flat(say("files.deleted", language, name=gone.path.rpartition("/")[2]))
    back = button("restore", say("files.undo", language), id=gone.id)
    return f'<div class="news" data-stamp="{time.time_ns()}"><span role="status">{text}</span>{back}</div>'


def news(text: str) -> str:
    """What was just done."""
    return f'<div class="news" data-stamp="{time.time_ns()}"><span role="status">{flat(text)}</span></div>'


def go(at: str, opened: str) -> str:
    """Where the page is to stand now."""
    return f'<i class="go" data-at="{flat(at)}" data-opened="{flat(opened)}" data-stamp="{time.time_ns()}"></i>'


# Sheets


def _field(text: str, value: str, hint: str = "") -> str:
    note = f"<p>{flat(hint)}</p>" if hint else ""
    return (
        f'{note}<label class="field"><span>{flat(text)}</span><input name="name" value="{flat(value)}"'
        f' autocomplete="off" maxlength="255" required></label>'
    )


def ask_folder(path: str, language: str, error: str = "", name: str = "") -> str:
    field = _field(say("files.name", language), name)
    return sheet(
        say("files.new_folder", language), field, language, act="create",
        submit=say("files.create", language), error=error, path=path,
    )  # fmt: skip


def ask_name(path: str, kind: str, language: str, error: str = "", name: str = "") -> str:
    field = _field(say("files.name", language), name or path.rpartition("/")[2])
    return sheet(
        say("files.rename", language), field, language, act="rename",
        submit=say("files.rename", language), error=error, path=path, type=kind,
    )  # fmt: skip


def ask_zip(path: str, kind: str, language: str, error: str = "", name: str = "") -> str:
    field = _field(say("files.zip_name", language), name or f"{path.rpartition('/')[2]}.zip")
    return sheet(
        say("files.zip", language), field, language, act="zip",
        submit=say("files.zip", language), error=error, path=path, type=kind,
    )  # fmt: skip


def ask_place(path: str, kind: str, folders: Sequence[str], language: str, error: str = "") -> str:
    """Into which folder something is moved."""
    above = path.rpartition("/")[0]
    places = [f for f in folders if f != above and f != path and not f.startswith(path + "/")]
    rows = "".join(
        f'<label class="choice"><input type="radio" name="folder" value="{flat(f)}" required>'
        f"<span><b>{flat(f or say('files.root', language))}</b></span></label>"
        for f in places
    )
    name = path.rpartition("/")[2]
    title = say("files.move_title", language, name=name)
    if not rows:
        return sheet(title, f"<p>{flat(say('files.no_folder', language))}</p>", language)
    return sheet(
        title, f'<div class="places">{rows}</div>', language, act="move",
        submit=say("files.move", language), error=error, path=path, type=kind,
    )  # fmt: skip


def ask_empty(language: str) -> str:
    text = f"<p>{flat(say('files.empty_text', language))}</p>"
    return sheet(
        say("files.empty_trash", language), text, language, act="empty",
        submit=say("files.empty_trash", language), style="stop",
    )  # fmt: skip


def ask_remove(path: str, kind: str, language: str) -> str:
    """Only where there is no trash to bring it back from."""
    name = path.rpartition("/")[2]
    text = f"<p>{flat(say('files.for_good', language))}</p>"
    return sheet(
        say("files.delete_title", language, name=name), text, language, act="remove",
        submit=say("files.delete", language), style="stop", path=path, type=kind, sure="1",
    )  # fmt: skip
