"""What a file looks like in the Files tab: by its kind, from its first bytes. Values in, HTML out."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from engine import AtelierError, Engine, FileEntry
from engine.previews import pages
from ui.conversations import flat
from ui.header import size
from ui.parts import explain
from ui.words import say

Look = Literal[
    "picture", "drawn", "pdf", "audio", "video", "table", "markdown", "text", "archive", "other"
]
ENDINGS: dict[str, Look] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp"), "picture"),
    **dict.fromkeys(("tif", "tiff"), "drawn"),
    **dict.fromkeys(("mp3", "wav", "ogg", "oga", "opus", "flac", "m4a", "aac", "weba"), "audio"),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v", "mkv", "ogv"), "video"),
    **dict.fromkeys(("csv", "tsv"), "table"),
    **dict.fromkeys(("md", "markdown"), "markdown"),
    "pdf": "pdf",
    "zip": "archive",
}
PICTURE = re.compile(r"!\[(?P<alt>[^\]\n]{0,500})\]\((?P<target>[^()\s]{1,1000})[^()\n]{0,300}\)")
READ = 200_000  # bytes of a text that are shown
ROWS, COLUMNS, CELL = 200, 40, 300
PAGES = 40
# Which tabs take which kinds; the page's script leaves out those that are not there.
TAKERS: dict[Look, tuple[str, ...]] = {
    "picture": ("vision", "ocr"), "drawn": ("vision", "ocr"), "pdf": ("ocr",), "audio": ("speech",),
    "video": ("speech",), "table": ("chat", "translate"), "markdown": ("chat", "translate"),
    "text": ("chat", "translate"), "archive": (), "other": (),
}  # fmt: skip
TABS = {
    "vision": "vision.tab", "ocr": "ocr.tab", "speech": "files.to_speech",
    "translate": "files.to_translate", "chat": "chat.tab",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peek:
    """What is shown of a file: HTML, and Markdown where it is some; what it turned out to be."""

    html: str
    look: Look
    markdown: str = ""


def look_of(name: str) -> Look:
    """What a file is by its name; "text" stands for whatever may turn out to be text."""
    return ENDINGS.get(name.rpartition(".")[2].lower(), "text")


def address(entry: FileEntry, call: str = "stream") -> str:
    """Where a file is, seen from the page; another address once it has changed."""
    path = quote(entry.path, safe="/")
    return f"v1/files/{call}/{path}?v={int(entry.modified.timestamp() * 1000):x}-{entry.size:x}"


def drawn(entry: FileEntry, width: int, page: int = 1) -> str:
    """Where a picture of a file's page is."""
    return f"{address(entry, 'picture')}&page={page}&width={width}"


async def peek(engine: Engine, entry: FileEntry, language: str) -> Peek:
    """Look into a file. What cannot be shown says so."""
    look = look_of(entry.name)
    try:
        match look:
            case "picture":
                return Peek(_image(address(entry), entry.name), look)
            case "drawn" | "pdf":
                return Peek(_pages(entry, await pages(engine.files, entry.path), language), look)
            case "audio" | "video":
                return Peek(_player(entry, look), look)
            case "archive":
                return Peek(_nothing(entry, "files.archive", language), look)
        data = await engine.files.read(entry.path, READ + 4)
    except AtelierError as error:
        return Peek(f'<p class="failed" role="alert">{flat(explain(error, language))}</p>', "other")
    return _words(entry, data, look, language)


def _words(entry: FileEntry, data: bytes, look: Look, language: str) -> Peek:
    text = decoded(data)
    if text is None:
        return Peek(_nothing(entry, "files.unseen", language), "other")
    more = ""
    if entry.size > READ:
        more = f'<p class="more">{flat(say("files.begins", language, size=size(READ)))}</p>'
    if look == "markdown":
        return Peek(more, look, _pictured(text, entry))
    if look == "table":
        return Peek(_table(text, entry.name, language) + more, look)
    if entry.name.lower().endswith(".json") and entry.size <= READ:
        text = _laid_out(text)
    return Peek(f'<pre class="text" tabindex="0">{flat(text)}</pre>{more}', "text")


def _pictured(text: str, entry: FileEntry) -> str:
    """Markdown whose pictures are those beside it; others become links, as no page of ours loads them."""
    above = entry.path.rpartition("/")[0]

    def linked(found: re.Match[str]) -> str:
        alt, target = found["alt"], found["target"]
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.I):
            return f"[{alt or target}]({target})"
        path = posixpath.normpath(posixpath.join(above, unquote(target)))
        return f"![{alt}](v1/files/stream/{quote(path, safe='/')})"

    return PICTURE.sub(linked, text)


def decoded(data: bytes) -> str | None:
    """The first bytes of a text as such; None where they are none."""
    cut = data[:READ]
    if b"\0" in cut and not cut.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    if cut.startswith((b"\xff\xfe", b"\xfe\xff")):
        return cut.decode("utf-16", "replace")
    text = cut.decode("utf-8-sig", "replace")
    odd = sum(
        letter == "\ufffd" or (letter < " " and letter not in "\t\n\r\f\x1b") for letter in text
    )
    return None if odd > max(2, len(text) // 20) else text


def _laid_out(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)[: 2 * READ]
    except (ValueError, RecursionError):
        return text


def _image(url: str, name: str) -> str:
    return f'<figure class="shown"><img src="{flat(url)}" alt="{flat(name)}"></figure>'


def _pages(entry: FileEntry, count: int, language: str) -> str:
    shown = "".join(
        f'<img src="{flat(drawn(entry, 1100, n))}" alt="{flat(say("ocr.page", language, n=n))}" loading="lazy">'
        for n in range(1, min(count, PAGES) + 1)
    )
    more = f'<p class="more">+{count - PAGES}</p>' if count > PAGES else ""
    return f'<figure class="shown sheets" tabindex="0">{shown}</figure>{more}'


def _player(entry: FileEntry, look: Look) -> str:
    url, name = flat(address(entry)), flat(entry.name)
    given = f'controls playsinline preload="metadata" src="{url}" aria-label="{name}"'
    return f'<figure class="shown"><{look} {given}></{look}></figure>'


def _nothing(entry: FileEntry, key: str, language: str) -> str:
    return f'<p class="nothing pic-{icon_of(entry)}">{flat(say(key, language))}</p>'


def icon_of(entry: FileEntry) -> str:
    """The icon that stands for a file or folder."""
    if entry.type == "directory":
        return "folder"
    icons = {
        "picture": "picture",
        "drawn": "picture",
        "audio": "sound",
        "video": "film",
        "archive": "zip",
        "table": "table",
    }
    return icons.get(look_of(entry.name), "paper")


def _table(text: str, name: str, language: str) -> str:
    """The first rows of a CSV. What separates its columns is guessed."""
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:20_000], ",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if name.lower().endswith(".tsv") else csv.excel
    rows = []
    try:
        for row in csv.reader(io.StringIO(text), dialect):
            rows.append([cell[:CELL] for cell in row[:COLUMNS]])
            if len(rows) > ROWS:
                break
    except csv.Error:
        return f'<pre class="text" tabindex="0">{flat(text)}</pre>'
    if not rows:
        return f'<p class="nothing">{flat(say("files.empty_file", language))}</p>'
    head = "".join(f"<th scope='col'>{flat(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{flat(c)}</td>' for c in row)}</tr>" for row in rows[1:ROWS]
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="sheet-of" tabindex="0">{table}</div>'
