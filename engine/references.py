"""Which names of a voice are meant as recordings among the user's files, and how large such a recording may be."""

from __future__ import annotations

from pathlib import PurePosixPath

SOUNDS = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".webm", ".mp4"})
LARGEST = 50_000_000  # bytes


def is_recording(name: str) -> bool:
    """Whether a voice's name is meant as a recording among the files: it has a folder or a sound's ending."""
    return "/" in name or "\\" in name or PurePosixPath(name).suffix.lower() in SOUNDS
