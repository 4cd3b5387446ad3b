"""The files area's edges: links, names, full disks, hostile archives, what dead processes leave, the trash by age."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import (
    AtelierError,
    BadValue,
    Conflict,
    Forbidden,
    NoRoom,
    Settings,
    Unknown,
    landing,
    syscalls,
    trash,
)
from engine.files import Files
from engine.landing import Step, staging
from engine.names import HIDDEN, another, parts_of
from engine.uploads import _after
from tests import filing
from tests.areas import left, put, root_of, zipped


async def test_no_link_is_followed(files: Files, tmp_path: Path) -> None:
    root, outside = root_of(files), tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "dir").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    for path in ("dir/secret", "file", "up/outside/secret", "pipe", "dir"):
        with pytest.raises(Unknown):
            await files.open(path)
        with pytest.raises((Unknown, Conflict, BadValue)):
            await files.move(path, "moved", "file")
    for work in (
        files.list("dir"), files.create("dir/new"), put(files, "dir/new.txt"), files.remove("dir", "directory"),
        files.compress("dir", "d"), files.create("up/new"),
    ):  # fmt: skip
        with pytest.raises(AtelierError):
            await work
    assert await files.list("") == ([], 4) and sorted(p.name for p in outside.iterdir()) == [
        "secret"
    ]
    assert [len(piece) async for piece in files.packed("")] == [22], "links are not packed"


async def test_a_folder_that_becomes_a_link_meanwhile(files: Files, tmp_path: Path) -> None:
    """A race: names are swapped for links while paths are walked; nothing outside is ever seen."""
    root, outside = root_of(files), tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("secret")
    await put(files, "a/f", b"fine")
    (tmp_path / "link").symlink_to(outside)
    stop = time.monotonic() + 0.5

    def swap() -> None:
        while time.monotonic() < stop:
            os.rename(root / "a", tmp_path / "b")
            os.rename(tmp_path / "link", root / "a")
            os.rename(root / "a", tmp_path / "link")
            os.rename(tmp_path / "b", root / "a")

    task = asyncio.create_task(asyncio.to_thread(swap))
    seen = set()
    while not task.done():
        with contextlib.suppress(AtelierError):
            seen.add(await files.read("a/f", 100))
    await task
    assert seen <= {b"fine"}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../a", "go up"), ("a/../../b", "go up"), ("a\0b", "control"), ("a\x7f", "control"), ("\u202etxt", "seen"),
        ("a\u200b", "seen"), ("con", "reserved"), ("Lpt1.txt", "reserved"), (".ATELIER/x", "reserved"),
        ("a\\b", "slash"),
        ("x" * 300, "255 bytes"), ("é" * 128, "255 bytes"), ("a /b", "space"), ("a.", "dot"), ("\ud800", "control"),
        ("a/" * 2500, "deep"), ("/".join(["x" * 200] * 25), "4,096 bytes"),
    ],
)  # fmt: skip
def test_names_that_are_refused(path: str, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        parts_of(path)


def test_names_that_are_fine() -> None:
    assert parts_of("/a//./b/") == ("a", "b") and parts_of("") == ()
    assert parts_of("e\u0301") == ("é",) and parts_of('👩\u200d💻 ~ %2e.. it\'s "q"') != ()
    assert another("a.txt", 2) == "a (2).txt" and another("a", 3) == "a (3)"
    assert len(another("é" * 125 + ".txt", 2).encode()) <= 255


async def test_a_full_disk(tmp_path: Path) -> None:
    """On a small disk of its own: 507, and nothing stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        files = Files(Settings(data_dir=disk, files_spare=0))
        with pytest.raises(NoRoom):
            async with files.upload(10_000_000):
                raise AssertionError("what is announced is too much")
        with pytest.raises(NoRoom):
            await put(files, "big", bytes(5_000_000))
        await put(files, "packed.zip", zipped({"a": bytes(4_000_000)}))
        with pytest.raises(NoRoom):
            await files.decompress("packed.zip", "out")
        await put(files, "half", random.randbytes(1_200_000))
        with pytest.raises(NoRoom):
            await files.compress("half", "more.zip")
        assert [e.path for e in (await files.list())[0]] == ["half", "packed.zip"] and left(
            files
        ) == []
        await files.remove("half", "file")  # what is in the trash goes for what is new
        await put(files, "other", random.randbytes(100))
        async with files.upload(1_500_000) as coming:
            await coming.begin("late")
            await coming.write([random.randbytes(1_500_000)])
            await coming.end()
            await coming.land("")
        assert await files.trash() == []
        await files.close()
    finally:
        subprocess.run(["umount", disk], check=True)


async def test_a_quota(tmp_path: Path) -> None:
    files = Files(Settings(data_dir=tmp_path, files_spare=0, files_quota=1000))
    await put(files, "a", bytes(600))
    with pytest.raises(NoRoom, match="QUOTA"):
        async with files.upload(600):
            raise AssertionError
    await files.remove("a", "file")
    async with files.upload(600):
        assert await files.trash() == [], "the trash goes first"
    await files.close()


async def test_what_is_replaced_can_be_brought_back(files: Files) -> None:
    await put(files, "a.txt", b"old")
    assert await put(files, "a.txt", b"new", "rename") == "a (2).txt"
    with pytest.raises(Conflict):
        await put(files, "a.txt", b"new")
    await put(files, "a.txt", b"new", "replace")
    [old] = await files.trash()
    assert await files.read("a.txt", 9) == b"new" and old.path == "a.txt"
    with pytest.raises(Conflict, match="Move that first"):
        await files.restore(old.id)
    await files.move("a.txt", "b.txt", "file")
    await files.restore(old.id)
    assert await files.read("a.txt", 9) == b"old"
    with pytest.raises(Unknown, match="trash"):
        await files.restore(old.id)


async def test_the_trash_empties_by_age(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(files, "d/a", b"1")
    await put(files, "b", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(trash.time, "time_ns", lambda real=time.time_ns: real() - 3600 * 10**9)
        await files.remove("d", "directory")
    second = await files.remove("b", "file")
    assert [gone.path for gone in await files.trash()] == ["b", "d"]
    assert trash.empty(files.jail, older=1800) == 1
    assert [gone.id for gone in await files.trash()] == [second.id]
    assert await files.empty_trash() == 1 and await files.trash() == [] and left(files) == []


async def test_no_trash(tmp_path: Path) -> None:
    files = Files(Settings(data_dir=tmp_path, files_spare=0, trash_days=0))
    await put(files, "a")
    await files.remove("a", "file")
    assert await files.trash() == []
    await files.close()


async def test_an_open_server_removes_nothing(tmp_path: Path) -> None:
    files = Files(Settings(data_dir=tmp_path, files_spare=0, host="0.0.0.0"))
    await put(files, "a")
    for work in (files.remove("a", "file"), files.empty_trash()):
        with pytest.raises(Forbidden, match="ATELIER_TOKEN"):
            await work
    await files.close()
    safe = Settings(host="0.0.0.0", token="x")
    assert not safe.is_exposed and Settings(share=True).is_exposed and not Settings().is_exposed


async def test_others_files_are_never_in_the_way(files: Files) -> None:
    """What somebody else put there under names that are refused is not listed, and goes with its folder."""
    root = root_of(files)
    (root / "d").mkdir()
    (root / "d" / "con").write_text("")
    Path(os.fsdecode(bytes(root / "d") + b"/\xff")).write_text("")
    (root / "d" / "e\u0301").write_text("")
    assert await files.list("d") == ([], 3)
    await files.remove("d", "directory")
    assert await files.empty_trash() == 1 and list((root / HIDDEN / "trash").iterdir()) == []


async def test_too_deep(files: Files) -> None:
    half = "/".join("a" * 40)
    await files.create(half)
    await files.create("b/" * 30 + "c")
    with pytest.raises(BadValue, match="deep"):
        await files.move("a", "b/" * 30 + "c", "directory")
    with pytest.raises(BadValue, match="itself"):
        await files.move("a", "a/a/x", "directory")


@pytest.mark.parametrize("flag", ["renameat2", "no such call"])
async def test_renames_never_replace(
    files: Files, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flag != "renameat2":
        monkeypatch.setattr(syscalls, "_libc", lambda: None)
    await put(files, "a", b"a")
    await put(files, "b", b"b")
    await files.create("d/e")
    await files.create("f")
    for one, other, kind in (("a", "b", "file"), ("d", "f", "directory")):
        with pytest.raises(Conflict):
            await files.move(one, other, kind, into=False)  # type: ignore[arg-type]
    await files.move("d", "f/d", "directory")
    await files.move("a", "f/d/e/a", "file")
    assert await files.read("f/d/e/a", 5) == b"a" and await files.read("b", 5) == b"b"


# Dead processes


def test_a_plan_is_brought_to_its_end(tmp_path: Path) -> None:
    """Killed between two of three files: the next start puts the others beside them."""
    files = Files(Settings(data_dir=tmp_path, files_spare=0))
    root_of(files)
    program = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from pathlib import Path\nfrom engine import landing\nfrom engine.jail import Jail\n"
        f"jail = Jail(Path({str(files.jail.root)!r}))\n"
        "with landing.staging(jail) as place:\n"
        "    for n in range(3): os.close(place.create(f'{n}.part'))\n"
        "    real, count = landing.rename_new, [0]\n"
        "    def dying(*given):\n"
        "        count[0] += 1\n"
        "        os._exit(9) if count[0] == 2 else real(*given)\n"
        "    landing.rename_new = dying\n"
        "    place.land([landing.Step(f'{n}.part', ('d', f'{n}')) for n in range(3)])\n"
    )
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 9
    assert sorted(p.name for p in (files.jail.root / "d").iterdir()) == ["0"]
    with staging(files.jail) as live:
        os.close(live.create("mine"))
        assert landing.sweep(files.jail) == 1
        assert sorted(p.name for p in (files.jail.root / "d").iterdir()) == ["0", "1", "2"]
        live.land([Step("mine", ("kept",))])
    assert left(files) == [] and (files.jail.root / "kept").exists()


@pytest.mark.slow
def test_killed_at_random(tmp_path: Path) -> None:
    from bench.files import one_kill

    random.seed(3)
    kills = int(os.environ.get("TEST_KILLS", "5"))
    assert sum(one_kill(tmp_path) for _ in range(kills)) > 0
    assert filing.wrongs(tmp_path) == []


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """No open file stays behind."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    yield
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 4


@pytest.mark.parametrize(
    ("count", "left"),
    [(0, [b"abc", b"de"]), (2, [b"c", b"de"]), (3, [b"de"]), (4, [b"e"]), (5, [])],
)
def test_what_a_short_write_leaves(count: int, left: list[bytes]):
    assert list(_after([b"abc", b"de"], count)) == left
