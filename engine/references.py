"""Recordings of a voice that lie among the user's files. Knows the files' root, which nothing leads out of."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.errors import BadValue, Forbidden, TooLarge, Unknown

FOLDER = "files"
SOUNDS = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".webm", ".mp4"})
LARGEST = 50_000_000


def is_recording(name: str) -> bool:
    """Whether a voice's name is meant as a recording among the files: it has a folder or a sound's ending."""
    return "/" in name or "\\" in name or PurePosixPath(name).suffix.lower() in SOUNDS


def read_reference(data_dir: Path, name: str) -> bytes:
    """The recording of a path under the files' root.

    Raises:
        Forbidden: it leads out of the root. Unknown: there is no such file. TooLarge: over 50 MB.
        BadValue: it is no path.
    """
    if "\0" in name or len(name) > 1000:
        raise BadValue("voice_path is no path. Give the path of a recording.", param="voice_path")
    root = (data_dir / FOLDER).resolve()
    outside = Forbidden(
        "voice_path leads out of the files. Give the path of a recording among them, or a voice's name.",
        param="voice_path",
    )
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or name.startswith("~"):
        raise outside
    file = (root / pure).resolve()
    if not file.is_relative_to(root):
        raise outside
    if not file.is_file():
        raise Unknown(
            "There is no such recording among the files. Upload it first.", param="voice_path"
        )
    if file.stat().st_size > LARGEST:
        raise TooLarge("The recording is over 50 MB. Ten seconds of a voice are enough.")
    return file.read_bytes()
