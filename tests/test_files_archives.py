"""Archives: hostile ones leave nothing, broken ones say so, and what nobody waits for ends."""

from __future__ import annotations

import asyncio
import random
import struct
import zipfile
from pathlib import Path

import pytest

from engine import AtelierError, BadFormat, BadValue, Conflict, Settings, TooLarge, archives
from engine.files import Files
from tests.areas import left, put, zipped


def overlapping() -> bytes:
    """Two entries that share the same bytes."""
    raw = bytearray(zipped({"a": b"x" * 500, "b": b"x" * 500}))
    second = raw.rindex(b"PK\1\2")
    struct.pack_into("<I", raw, second + 42, 0)
    return bytes(raw)


def lying() -> bytes:
    """An entry that says it is smaller than it is."""
    raw = bytearray(zipped({"a": bytes(5000)}))
    struct.pack_into("<I", raw, raw.rindex(b"PK\1\2") + 24, 10)
    return bytes(raw)


def crowded() -> bytes:
    """An end that announces more entries than are taken."""
    raw = bytearray(zipped({"a": b"1"}))
    struct.pack_into("<H", raw, raw.rindex(b"PK\5\6") + 10, 0xFFFF)
    extra = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, 46, 0)
    at = raw.rindex(b"PK\5\6")
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    return bytes(raw[:at]) + extra + locator + bytes(raw[at:])


HOSTILE = {
    "a slip": (zipped({"../evil": b"1"}), BadValue),
    "a slip further in": (zipped({"a/../../evil": b"1"}), BadValue),
    "an absolute path": (zipped({"/etc/evil": b"1"}), BadValue),
    "a drive": (zipped({"C:evil": b"1"}), BadValue),
    "a backslash": (zipped({"..\\evil": b"1"}), BadValue),
    "a link": (zipped({"a": b"/etc/passwd"}, external_attr=0o120777 << 16), BadValue),
    "a device": (zipped({"a": b""}, external_attr=0o020666 << 16), BadValue),
    "our own folder": (zipped({".atelier/trash/x": b"1"}), BadValue),
    "a name turned around": (zipped({"a\u202etxt.exe": b"1"}), BadValue),
    "a file that is a folder": (zipped({"a": b"1", "a/b": b"1"}), BadValue),
    "the same name twice": (zipped({"e\u0301": b"1", "é": b"2"}), BadValue),
    "entries that overlap": (overlapping(), BadValue),
    "a lie about a size": (lying(), BadFormat),
    "too many entries": (crowded(), TooLarge),
    "too deep": (zipped({"/".join("a" * 70): b"1"}), BadValue),
    "a bomb": (zipped({"a": bytes(3_000_000)}), TooLarge),
    "a bomb in many": (zipped({str(n): bytes(300_000) for n in range(10)}), TooLarge),
    "a way of packing that eats memory": (zipped({"a": b"1"}, compress_type=zipfile.ZIP_LZMA), BadFormat),
    "no archive": (b"PK no archive at all", BadFormat),
    "nothing": (b"", BadFormat),
    "cut off": (zipped({"a": b"1" * 100})[:-30], BadFormat),
    "a wrong sum": (zipped({"a": b"1" * 100}, compress_type=0).replace(b"1" * 50, b"2" * 50, 1), BadFormat),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_archive_leaves_nothing(case: str, tmp_path: Path) -> None:
    data, error = HOSTILE[case]
    files = Files(Settings(data_dir=tmp_path, files_spare=0, unpack_limit=1_000_000))
    await put(files, "in/a.zip", data)
    with pytest.raises(error) as raised:
        await files.decompress("in/a.zip", "in/out")
    assert str(tmp_path) not in raised.value.message
    assert [e.path for e in (await files.list("in"))[0]] == ["in/a.zip"] and left(files) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]
    await files.close()


async def test_mutated_archives(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is changed in one: it is unpacked, or refused with a reason, and nothing stays."""
    seeded = random.Random(5)
    good = zipped({"a/b.txt": b"hello" * 50, "c": bytes(3000), "d/": b""})
    for _ in range(150):
        raw = bytearray(good)
        for _ in range(seeded.choice([1, 1, 2, 8])):
            raw[seeded.randrange(len(raw))] = seeded.randrange(256)
        await put(files, "m.zip", bytes(raw), "replace")
        try:
            entry, _ = await files.decompress("m.zip", "out")
            await files.remove(entry.path, "directory")
        except AtelierError as error:
            assert error.status in {400, 413, 415}, error
        assert [e.path for e in (await files.list(""))[0]] == ["m.zip"] and left(files) == []


async def test_unpacking_beside_what_is_there(files: Files) -> None:
    await put(files, "a.zip", zipped({"one/x": b"1", "two": b"2"}))
    await put(files, "out/two", b"mine")
    with pytest.raises(Conflict):
        await files.decompress("a.zip", "out")
    assert [e.path for e in (await files.list("out"))[0]] == ["out/two"], "all or nothing"
    entry, found = await files.decompress("a.zip", "")
    assert found.files == 2 and await files.read("one/x", 9) == b"1" and entry.path == ""
    entry, _ = await files.decompress("a.zip")
    again, _ = await files.decompress("a.zip")
    assert (entry.path, again.path) == ("a", "a (2)")


async def test_nobody_waits_any_more(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that hangs up ends the work, and what was made is gone."""
    monkeypatch.setattr(archives, "PIECE", 1024)
    await put(files, "d/big", bytes(3_000_000))
    task = asyncio.create_task(files.compress("d", "d.zip"))
    while not left(files):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(1500):
        if not left(files):
            break
        await asyncio.sleep(0.02)
    assert left(files) == [] and [e.path for e in (await files.list(""))[0]] == ["d"]
