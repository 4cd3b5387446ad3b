"""Files of films and sounds: what is in them, and putting picture and sound into one. Nothing is coded anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .confining import Failed

# File names' endings that are taken, with the one demuxer each may be read by: a playlist in
# disguise would name other files.
KINDS = {
    "mp4": "mov", "m4v": "mov", "mov": "mov", "m4a": "mov", "3gp": "mov", "webm": "matroska",
    "weba": "matroska", "mkv": "matroska", "mka": "matroska", "ogg": "ogg", "oga": "ogg", "ogv": "ogg",
    "opus": "ogg", "mp3": "mp3", "aac": "aac", "flac": "flac", "wav": "wav", "flv": "flv", "avi": "avi",
    "ts": "mpegts",
}  # fmt: skip


def probe(order: dict[str, Any]) -> dict[str, Any]:
    """Duration, size of the picture and codecs of a file; empty values where it is no sound and no film."""
    import av

    path = Path(order["file"])
    kind = demuxer(path) if path.suffix[1:].lower() in KINDS else None
    found: dict[str, Any] = {
        "video": False,
        "audio": False,
        "codecs": [],
        "bytes": path.stat().st_size,
    }
    if kind is None:
        return found
    try:
        with path.open("rb") as file, av.open(file, format=kind) as media:
            if media.duration:
                found["duration"] = media.duration / av.time_base
            for stream in media.streams:
                if stream.type in {"video", "audio"}:
                    found[stream.type] = True
                    found["codecs"].append(stream.codec_context.name)
                if stream.type == "video":
                    found["width"], found["height"] = stream.width, stream.height
    except (av.FFmpegError, ValueError, OSError, EOFError, IndexError) as error:
        raise Failed("strange", str(error)) from error
    return found


def demuxer(file: Path) -> str:
    """What a file is really made of: segments of a stream come under the name of what they are meant to be."""
    with file.open("rb") as opened:
        head = opened.read(400)
    if head[:1] == head[188:189] == head[376:377] == b"G":
        return "mpegts"
    shown = {b"\x1aE\xdf\xa3": "matroska", b"OggS": "ogg", b"fLaC": "flac", b"RIFF": "wav"}
    return "mov" if head[4:8] == b"ftyp" else shown.get(head[:4], KINDS[file.suffix[1:]])


def join(files: list[Path], folder: Path) -> Path:
    """Picture and sound in one file, nothing coded anew."""
    import av

    kinds = [demuxer(file) for file in files]
    plain = set(kinds) <= {"mov", "mpegts"}
    made = folder / ("joined.mp4" if plain else "joined.mkv")
    try:
        with (
            made.open("wb+") as out,
            av.open(out, "w", format="mp4" if plain else "matroska") as media,
        ):
            opened = [
                av.open(f.open("rb"), format=kind) for f, kind in zip(files, kinds, strict=True)
            ]
            firsts = _streams(opened)
            outs = [media.add_stream_from_template(first) for _, first in firsts]
            packets = [one.demux(first) for one, first in firsts]
            heads: list[Any] = [next(each, None) for each in packets]
            while any(head is not None for head in heads):
                n = min(
                    (n for n, h in enumerate(heads) if h is not None), key=lambda n: _when(heads[n])
                )
                if heads[n].dts is not None:
                    heads[n].stream = outs[n]
                    media.mux(heads[n])
                heads[n] = next(packets[n], None)
    except (av.FFmpegError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise Failed("broke", str(error)) from error
    return made


def _streams(opened: list[Any]) -> list[tuple[Any, Any]]:
    """The picture and the sound of one or two files, each with the file it is read from."""
    found = []
    for kind, one in zip(("video", "audio"), (opened * 2)[:2], strict=True):
        stream = one.streams.best(kind)
        if stream is not None:
            found.append((one, stream))
    return found


def _when(packet: Any) -> float:
    return float(packet.dts * packet.time_base) if packet.dts is not None else float("inf")
