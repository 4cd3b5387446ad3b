"""Paths of the files area as text: taken apart, normalised, refused where they could mislead. Knows no disk."""

from __future__ import annotations

import re
import unicodedata

from engine.errors import BadValue

HIDDEN = ".atelier"  # our own folder in the root: never listed, never addressed
NAME_BYTES = 255
PATH_BYTES = 4096
DEPTH = 64
# Letters that change the order of others, or cannot be seen at all: a name must be what it looks like.
_UNSEEN = re.compile(
    "[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.I)
_ID = re.compile(r"[0-9a-f]{16,64}")


def parts_of(path: str, param: str = "path") -> tuple[str, ...]:
    """The names of a path below the root, in NFC; empty for the root itself. Outer and double slashes fall away.

    Raises:
        BadValue: it goes up, is too long or too deep, or holds a name that is refused.
    """
    parts = tuple(name_of(part, param) for part in path.split("/") if part not in {"", "."})
    if len(parts) > DEPTH:
        raise BadValue(f"{param}: at most {DEPTH} folders deep. Use a shorter path.", param=param)
    if len("/".join(parts).encode()) > PATH_BYTES:
        raise BadValue(
            f"{param}: a path has at most {PATH_BYTES:,} bytes. Use a shorter one.", param=param
        )
    return parts


def name_of(name: str, param: str = "name") -> str:
    """The name of one file or folder, in NFC.

    Raises:
        BadValue: empty, a dot name, too long, or with letters that are refused.
    """
    name = unicodedata.normalize("NFC", name)
    why = _wrong(name)
    if why:
        raise BadValue(f"{param}: {why} Use another name.", param=param)
    return name


def _wrong(name: str) -> str:
    """What is wrong with a name; empty when nothing is."""
    if not name:
        return "a name is empty."
    if name in {".", ".."}:
        return 'a path may not go up or stay ("..", ".").'
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name):
        return "a name holds a control character."
    if _UNSEEN.search(name):
        return "a name holds a letter that cannot be seen or turns the text around."
    if "/" in name or "\\" in name:
        return "a name holds a slash."
    if len(name.encode()) > NAME_BYTES:
        return f"a name is longer than {NAME_BYTES} bytes."
    if name != name.strip() or name.endswith("."):
        return "a name begins or ends with a space, or ends with a dot."
    if _DEVICE.fullmatch(name) or name.casefold() == HIDDEN:
        return "this name is reserved."
    return ""


def is_id(text: str) -> bool:
    """Whether this can be the id of something in the trash."""
    return _ID.fullmatch(text) is not None


def another(name: str, number: int) -> str:
    """The name with a number before its ending ("a (2).txt"), within the length that names may have."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = name, "", ""
    tail = f" ({number}){dot}{ending}"
    while len((stem + tail).encode()) > NAME_BYTES:
        stem = stem[:-1]
    return unicodedata.normalize("NFC", stem.rstrip() + tail)
