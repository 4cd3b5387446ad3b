"""A worker that changes files until it is killed: `python -m tests.filing FOLDER`. Its lines are acknowledgements.

`wrongs` then compares what was acknowledged with what is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import secrets
import sys
import zipfile
from pathlib import Path

from engine import Settings
from engine.files import Files
from engine.names import HIDDEN

SIZE = 300_000


def body(name: str) -> bytes:
    """What a file of this name holds: its own digest, many times."""
    return hashlib.sha256(name.encode()).digest() * (SIZE // 32)


def packed(name: str) -> bytes:
    """An archive of three folders with a file each."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for part in ("x", "y", "z"):
            archive.writestr(f"{name}-{part}/{name}-{part}.bin", body(f"{name}-{part}"))
    return target.getvalue()


async def put(files: Files, folder: str, *bodies: tuple[str, bytes]) -> None:
    async with files.upload() as coming:
        for name, data in bodies:
            await coming.begin(name)
            for at in range(0, len(data), 65536):
                await coming.write([data[at : at + 65536]])
            await coming.end()
        await coming.land(folder)


async def one(files: Files, name: str, kind: str) -> None:
    """One thing of a kind; a line once it was acknowledged."""
    if kind == "upload":
        await put(files, "up", (f"{name}.bin", body(name)))
    elif kind == "several":
        await put(files, "several", *((f"{name}-{n}.bin", body(f"{name}-{n}")) for n in range(3)))
    elif kind == "move":
        await put(files, "from", (f"{name}.bin", body(name)))
        await files.create(f"to/{name}")
        await files.move(f"from/{name}.bin", f"to/{name}", "file")
    elif kind == "unpack":
        await put(files, "zips", (f"{name}.zip", packed(name)))
        await files.decompress(f"zips/{name}.zip", "out")
    else:
        await put(files, "gone", (f"{name}.bin", body(name)))
        await files.remove(f"gone/{name}.bin", "file")
    print(f"{kind} {name}.", flush=True)


async def work(folder: Path) -> None:
    files = Files(Settings(data_dir=folder, files_spare=0, _env_file=None))
    files.start()
    await files.list("")
    print("ready", flush=True)
    kinds = ["upload", "several", "move", "unpack", "remove"]
    while True:
        await one(files, secrets.token_hex(6), random.choice(kinds))


def wrongs(folder: Path) -> list[str]:
    """What is lost or half there, after a last start that tidies up."""

    async def tidy() -> None:
        files = Files(Settings(data_dir=folder, _env_file=None))
        files.start()
        await asyncio.sleep(0.3)
        await files.close()

    asyncio.run(tidy())
    root = folder / "files"
    found = [f"half: {path}" for path in root.rglob("*.bin") if not whole(path, root)]
    for line in (folder / "told").read_text().splitlines():
        kind, name = line.removesuffix(".").split()
        found += [f"{line} {path}" for path in missing(root, kind, name)]
    for top in (root / "out", root / "several"):
        names = (
            {path.name.partition(".")[0].rpartition("-")[0] for path in top.iterdir()}
            if top.exists()
            else set()
        )
        found += [
            f"not all of {n} in {top.name}" for n in names if len(list(top.glob(f"{n}-*"))) != 3
        ]
    left = root / HIDDEN / "staging"
    return found + [f"left: {path.name}" for path in (left.iterdir() if left.exists() else ())]


def whole(path: Path, root: Path) -> bool:
    if HIDDEN in path.relative_to(root).parts:
        return True
    return path.read_bytes() == body(path.name.removesuffix(".bin"))


def missing(root: Path, kind: str, name: str) -> list[Path]:
    """What should be there and is not, or the other way round."""
    there = {
        "upload": [root / "up" / f"{name}.bin"],
        "several": [root / "several" / f"{name}-{n}.bin" for n in range(3)],
        "move": [root / "to" / name / f"{name}.bin"],
        "unpack": [root / "out" / f"{name}-{part}" / f"{name}-{part}.bin" for part in "xyz"],
        "remove": [],
    }[kind]
    gone = {"move": [root / "from" / f"{name}.bin"], "remove": [root / "gone" / f"{name}.bin"]}.get(
        kind, []
    )
    return [path for path in there if not path.exists()] + [path for path in gone if path.exists()]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    asyncio.run(work(Path(sys.argv[1])))
