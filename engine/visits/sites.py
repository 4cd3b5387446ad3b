"""What yt-dlp finds at an address, and fetches: through our proxy, with no program's help."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .confining import Failed
from .packing import KINDS, demuxer, join, probe

TELL = 0.25  # seconds between two reports
SHOWN = 200  # formats that are told
SOUNDS = frozenset({"m4a", "weba", "mka", "ogg", "oga", "opus", "mp3", "aac", "flac", "wav"})
Order = dict[str, Any]


class Quiet:
    """yt-dlp's log, of which only the last error is kept."""

    last = ""

    def debug(self, text: str) -> None:
        pass

    info = warning = debug

    def error(self, text: str) -> None:
        self.last = text


def options(order: Order, **more: Any) -> dict[str, Any]:
    """How yt-dlp works here: our proxy, our folder, no programs, no settings of anybody, one thing at a time."""
    return {
        "proxy": order["proxy"],
        "allowed_extractors": order["sites"],
        "paths": {"home": order["folder"], "temp": order["folder"]},
        "restrictfilenames": True,
        "windowsfilenames": True,
        "noplaylist": True,
        "playlist_items": "1",
        "cachedir": False,
        "usenetrc": False,
        "updatetime": False,
        "overwrites": True,
        "hls_prefer_native": True,
        "external_downloader": {"default": "native"},
        "fixup": "never",
        "postprocessors": [],
        "geo_bypass": False,
        "socket_timeout": 15,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "max_filesize": order["most"],
        "color": "no_color",
        "quiet": True,
        "noprogress": True,
        "no_warnings": True,
        **more,
    }


def look(order: Order) -> dict[str, Any]:
    """What yt-dlp finds at an address: title, duration, picture, formats. Raises Failed("nothing")."""
    return shortened(found_at(order))


def found_at(order: Order) -> dict[str, Any]:
    """The same in yt-dlp's own words; of a list its first entry."""
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    log = Quiet()
    more = {"logger": log, "ignore_no_formats_error": True, "skip_download": True, "format": "all"}
    with YoutubeDL(options(order, **more)) as loader:
        try:
            info = loader.sanitize_info(loader.extract_info(order["url"], download=False))
        except (YoutubeDLError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failed("nothing", log.last or str(error)) from error
    entries = info.get("entries") if info else None
    if entries is not None:
        info = next((entry for entry in entries if entry), None)
    if not info or not (info.get("formats") or info.get("url")):
        raise Failed("nothing")
    return dict(info)


def shortened(info: dict[str, Any]) -> dict[str, Any]:
    """The few fields that are told, of bounded length."""
    texts = ("title", "thumbnail", "webpage_url", "extractor", "upload_date", "language", "ext")
    found: dict[str, Any] = {name: str(info.get(name) or "")[:2000] for name in texts}
    found["author"] = str(info.get("uploader") or info.get("channel") or "")[:500]
    found["description"] = str(info.get("description") or "")[:2000]
    found["duration"] = _number(info.get("duration"))
    found["live"] = bool(info.get("is_live"))
    formats = [one for one in info.get("formats") or [info] if not one.get("has_drm")]
    found["formats"] = [_format(one) for one in formats[-SHOWN:]]
    return found


def _format(one: dict[str, Any]) -> dict[str, Any]:
    video, audio = (str(one.get(name) or "") for name in ("vcodec", "acodec"))
    ext = str(one.get("ext") or "")
    if not video and not audio:  # a plain file: its name is all that tells
        video, audio = ("none", "") if ext in SOUNDS else ("", "")
    headers = one.get("http_headers") or {}
    return {
        "id": str(one.get("format_id") or "0")[:100],
        "ext": ext[:10],
        "video": video != "none" and ext not in {"mhtml", "jpg", "png", "webp"},
        "audio": audio != "none" and ext not in {"mhtml", "jpg", "png", "webp"},
        "codecs": [name for name in (video[:40], audio[:40]) if name and name != "none"],
        "width": _number(one.get("width")),
        "height": _number(one.get("height")),
        "fps": _number(one.get("fps")),
        "bitrate": _number(one.get("tbr")),
        "size": _number(one.get("filesize") or one.get("filesize_approx")),
        "note": str(one.get("format_note") or "")[:100],
        "protocol": str(one.get("protocol") or "")[:40],
        "url": str(one.get("url") or "")[:8000],
        "referer": str(headers.get("Referer") or "")[:2000],
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else None


def take(order: Order, say: Callable[[Order], None]) -> dict[str, Any]:
    """Fetch the best (or the asked) format into the folder; `file` is its name there."""
    info = found_at(order)
    found = shortened(info)
    wanted = choose(found["formats"], order["format"])
    files = [_load(order, info, wanted, number, say) for number in range(len(wanted))]
    repacked = len(files) > 1 or demuxer(files[0]) != KINDS[files[0].suffix[1:]]
    file = join(files, Path(order["folder"])) if repacked else files[0]
    del found["formats"]
    return {**found, "file": file.name, **probe({"file": str(file)})}


def choose(formats: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """The format to fetch, or picture and sound apart where that is better. Best are last, as yt-dlp sorts them."""
    usable = [one for one in formats if one["ext"] in KINDS and (one["video"] or one["audio"])]
    both = [one for one in usable if one["video"] and one["audio"]]
    sounds = [one for one in usable if one["audio"] and not one["video"]]
    films = [one for one in usable if one["video"] and not one["audio"]]
    if wanted == "audio":
        return (sounds or both)[-1:] or _none()
    if wanted:
        chosen = [one for one in usable if one["id"] == wanted]
        if not chosen:
            raise Failed("no_format")
        mates = [one for one in sounds if family(one) == family(chosen[-1])] or sounds
        return [chosen[-1], *(mates[-1:] if chosen[-1] in films else [])]
    best = both[-1:]
    if films and sounds and (not best or (films[-1]["height"] or 0) > (best[0]["height"] or 0)):
        mates = [one for one in sounds if family(one) == family(films[-1])] or sounds
        return [films[-1], mates[-1]]
    return best or films[-1:] or sounds[-1:] or _none()


def family(one: dict[str, Any]) -> str:
    """The container that a format lies in."""
    return KINDS[one["ext"]]


def _none() -> list[dict[str, Any]]:
    raise Failed("nothing")


def _load(
    order: Order, info: Order, wanted: list[Order], number: int, say: Callable[[Order], None]
) -> Path:
    """The file of one of the wanted formats."""
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    last, one = [0.0], wanted[number]

    def report(state: dict[str, Any]) -> None:
        done = int(state.get("downloaded_bytes") or 0)
        if done > order["most"]:
            raise Failed("too_large")
        if time.monotonic() - last[0] >= TELL:
            last[0] = time.monotonic()
            total = state.get("total_bytes") or state.get("total_bytes_estimate") or 0
            whole = total if len(wanted) == 1 else total + (wanted[1 - number]["size"] or 0)
            before = (wanted[0]["size"] or 0) if number else 0
            speed = float(state.get("speed") or 0)
            say({"done": int(done + before), "total": int(whole), "speed": speed})

    log = Quiet()
    name = f"part-{number}"
    more = {
        "logger": log, "format": one["id"], "outtmpl": {"default": f"{name}.%(ext)s"},
        "progress_hooks": [report],
    }  # fmt: skip
    with YoutubeDL(options(order, **more)) as loader:
        try:
            loader.process_ie_result(json.loads(json.dumps(info)), download=True)
        except (YoutubeDLError, OSError, ValueError, KeyError, TypeError) as error:
            full = "space left" in str(error) or "too large" in str(error)
            raise Failed("disk" if full else "broke", log.last or str(error)) from error
    made = [file for file in Path(order["folder"]).glob(f"{name}.*") if file.suffix[1:] in KINDS]
    if not made:
        raise Failed("too_large" if (one["size"] or 0) > order["most"] else "broke", log.last)
    return made[0]
