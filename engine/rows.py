"""The user's own catalog file, `models.toml` in the data folder: rows are added and taken out, all else stays.

Edited as text, so that comments, order and spacing are the user's; every edit is read back before it is kept.
Knows TOML and files; nothing of what a row means.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import BadValue, Unavailable

HEAD = "[[model]]"
BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
INTRODUCTION = (
    "# Models of your own; they win over the ones that come with Atelier. One [[model]] per row.\n"
)
UNREADABLE = (
    "The models.toml in the data folder is not valid TOML ({why}). Correct it and try again."
)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of the file; none where there is no file.

    Raises:
        BadValue: it is not valid TOML.
    """
    return _parsed(_text(file))


def add_row(file: Path, row: Mapping[str, Any]) -> None:
    """Write a row at the end of the file, which is made when it is missing.

    Raises:
        BadValue: the file is not valid TOML. Unavailable: it cannot be written.
    """
    text = _text(file)
    before = _parsed(text)
    lines = [HEAD, *(f"{_key(key)} = {_value(value)}" for key, value in row.items()), ""]
    joined = text or INTRODUCTION
    joined = joined.rstrip("\n") + "\n\n" + "\n".join(lines)
    if _parsed(joined) != [*before, dict(row)]:
        raise BadValue("This model cannot be written as a row. Add it to models.toml by hand.")
    _write(file, joined)


def remove_row(file: Path, id: str) -> bool:
    """Take the row with this id out; False when there is none. Comments around it stay.

    Raises:
        BadValue: the file is not valid TOML, or the row cannot be told apart. Unavailable: it cannot be written.
    """
    text = _text(file)
    before = _parsed(text)
    if not any(row.get("id") == id for row in before):
        return False
    lines = text.splitlines(keepends=True)
    for begin, end in _blocks(lines):
        try:
            rows = _parsed("".join(lines[begin:end]))
        except BadValue:  # a heading inside a text of several lines
            continue
        if [row.get("id") for row in rows] == [id]:
            left = "".join([*lines[:begin], *lines[end:]])
            if _parsed(left) == [row for row in before if row.get("id") != id]:
                _write(file, left)
                return True
    raise BadValue(
        f"The row of '{id[:200]}' cannot be told apart. Take it out of models.toml by hand."
    )


def _blocks(lines: list[str]) -> list[tuple[int, int]]:
    """Where rows begin and end, without the comments and blank lines that follow them."""
    heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[(?!\[?\s*model\s*\.)", line)]
    found = []
    for place, begin in enumerate(heads):
        if lines[begin].split("#")[0].strip().replace(" ", "") != HEAD:
            continue
        end = heads[place + 1] if place + 1 < len(heads) else len(lines)
        while end > begin + 1 and lines[end - 1].strip()[:1] in {"", "#"}:
            end -= 1
        found.append((begin, end))
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError) as error:
        raise Unavailable("The models.toml in the data folder cannot be read.") from error


def _parsed(text: str) -> list[dict[str, Any]]:
    try:
        rows = tomllib.loads(text).get("model", [])
    except tomllib.TOMLDecodeError as error:
        raise BadValue(UNREADABLE.format(why=error)) from None
    return list(rows) if isinstance(rows, list) else []


def _write(file: Path, text: str) -> None:
    """All of it or nothing: a file that is read meanwhile is whole."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Unavailable(
            "The models.toml in the data folder cannot be written. Correct the folder's permissions, "
            "or name another with ATELIER_DATA_DIR."
        ) from error


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(_value(one) for one in value) + "]"
