"""What lies at an address, by its first bytes and by what its server says. Knows no connection."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.pictures import media_type

Kind = Literal["video", "audio", "image", "page", "file"]
# Media type to the ending that its files have.
ENDINGS = {
    "video/mp4": "mp4", "video/webm": "webm", "video/x-matroska": "mkv", "video/ogg": "ogv",
    "video/quicktime": "mov", "video/x-msvideo": "avi", "video/x-flv": "flv", "video/mp2t": "ts",
    "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/ogg": "ogg", "audio/flac": "flac", "audio/wav": "wav",
    "audio/aac": "aac", "audio/webm": "weba", "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp",
    "image/gif": "gif", "image/bmp": "bmp", "image/tiff": "tiff", "image/svg+xml": "svg", "image/avif": "avif",
    "image/heic": "heic", "application/pdf": "pdf", "application/zip": "zip", "text/html": "html",
    "text/plain": "txt", "application/json": "json", "text/markdown": "md", "text/csv": "csv",
}  # fmt: skip
PLAYLISTS = frozenset({
    "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl",
    "application/dash+xml",
})  # fmt: skip
SAME = {"audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/x-flac": "audio/flac",
        "audio/x-m4a": "audio/mp4", "audio/mp3": "audio/mpeg", "audio/vnd.wave": "audio/wav"}  # fmt: skip
_HTML = re.compile(
    rb"(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|meta|title|script)\b", re.I | re.S
)


def sniff(data: bytes, claimed: str = "") -> str:
    """The media type: what the first bytes show, else what the server claims, else what they look like.

    Args:
        data: the beginning, some hundred bytes at least.
        claimed: the server's media type, in small letters.
    """
    claimed = SAME.get(claimed, claimed)
    if shown := _shown(data):
        sound = claimed.startswith("audio/") and shown in {"video/mp4", "video/webm", "video/ogg"}
        return claimed if sound else shown
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n\x0c")
    if _HTML.match(head):
        return "text/html"
    if head.startswith(b"#EXTM3U"):
        return "application/vnd.apple.mpegurl"
    false = claimed.startswith(("image/", "video/", "audio/")) and claimed not in PLAYLISTS
    if claimed and claimed != "application/octet-stream" and not (false and _is_text(data)):
        return "text/html" if claimed == "application/xhtml+xml" else claimed
    return "text/plain" if _is_text(data) else "application/octet-stream"


def _shown(data: bytes) -> str:
    """The media type that the first bytes prove; "" none that is known."""
    if data[4:8] == b"ftyp" and not media_type(data):
        brand = data[8:12]
        return {b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime"}.get(
            brand, "video/mp4"
        )
    if kind := media_type(data):
        return kind
    if data[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in data[:64] else "video/x-matroska"
    if data[:4] == b"OggS":
        return "video/ogg" if b"theora" in data[:200] else "audio/ogg"
    if data[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(data[8:12], "")
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] in {b"\xfb", b"\xf3", b"\xf2"}):
        return "audio/mpeg"
    if data[:1] == b"\xff" and data[1:2] in {b"\xf1", b"\xf9"}:
        return "audio/aac"
    starts = {b"fLaC": "audio/flac", b"FLV\x01": "video/x-flv"}
    if found := starts.get(data[:4]):
        return found
    return "video/mp2t" if data[:1] == data[188:189] == data[376:377] == b"G" else ""


def _is_text(data: bytes) -> bool:
    sample = data[:2048]
    return bool(sample) and b"\x00" not in sample and sum(b < 9 for b in sample) == 0


def kind_of(content_type: str) -> Kind:
    """The sort of thing that a media type is."""
    if content_type in {"text/html", "text/plain", "text/markdown"}:
        return "page"
    top = content_type.partition("/")[0]
    return top if top in {"video", "audio", "image"} else "file"  # type: ignore[return-value]


def file_name(title: str, ending: str) -> str:
    """A name for a file, from a title: no path, no unseen letters, short enough for every disk."""
    text = unicodedata.normalize("NFC", title)
    kept = "".join(
        " " if unicodedata.category(c)[0] in "CZ" or c in '\\/:*?"<>|' else c for c in text
    )
    kept = " ".join(kept.split()).strip(". ")
    suffix = f".{ending}" if ending else ""
    stem = kept.removesuffix(suffix) if suffix else kept
    while len(f"{stem}{suffix}".encode()) > 200:
        stem = stem[:-1]
    return f"{stem.strip('. ') or 'untitled'}{suffix}"


@dataclass(frozen=True, slots=True)
class Format:
    """One way in which a film or a sound can be had.

    Args:
        id: what `extract` is told to take it.
        video, audio: what is in it. size: bytes. bitrate: kbit/s.
        url, referer: where it lies; for this server alone.
    """

    id: str
    ext: str
    video: bool
    audio: bool
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    bitrate: float | None = None
    size: int | None = None
    note: str = ""
    protocol: str = ""
    url: str = field(default="", repr=False)
    referer: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at an address.

    Args:
        url: as it was asked. link: where it led to at last.
        duration: seconds. size: bytes. thumbnail: a picture's address.
        by_site: yt-dlp found it, on a page.
    """

    url: str
    link: str
    type: Kind
    content_type: str
    title: str
    duration: float | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    author: str = ""
    date: str = ""
    description: str = ""
    site: str = ""
    thumbnail: str = ""
    live: bool = False
    formats: tuple[Format, ...] = ()
    by_site: bool = False

    def with_site(self, told: dict[str, Any]) -> Found:
        """A page on which yt-dlp found something."""
        formats = tuple(_format(one) for one in told["formats"])
        own = told["extractor"].lower() in {"generic", "html5"}  # it numbers the page's films
        return replace(
            self,
            type="video" if any(one.video for one in formats) else "audio",
            title=(self.title if own and self.title else told["title"]) or self.title,
            duration=told["duration"],
            author=told["author"] or self.author,
            date=_date(told["upload_date"]) or self.date,
            description=told["description"] or self.description,
            thumbnail=told["thumbnail"] or self.thumbnail,
            live=told["live"],
            size=formats[-1].size if formats else None,
            width=formats[-1].width if formats else None,
            height=formats[-1].height if formats else None,
            formats=formats,
            by_site=True,
        )


def _format(one: dict[str, Any]) -> Format:
    whole = {name: int(one[name]) if one[name] else None for name in ("width", "height", "size")}
    names = ("id", "ext", "video", "audio", "fps", "bitrate", "note", "protocol", "url", "referer")
    same: dict[str, Any] = {name: one[name] for name in names}
    return Format(**same | whole)


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdecimal() else ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from an address.

    Args:
        found: what lay there.
        path: of the file, relative to the files root; "" where none was kept.
        text: a page's article, as Markdown.
        size: bytes of the file. codecs: of a film or a sound.
    """

    found: Found
    path: str = ""
    content_type: str = ""
    size: int | None = None
    text: str = ""
    codecs: tuple[str, ...] = ()
