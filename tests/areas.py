"""A files area for tests, and what goes into it: uploads and archives; over HTTP a server of its own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import Settings
from engine.files import Files
from engine.names import HIDDEN
from tests.serving import Served, serve

DATA = bytes(range(256)) * 40  # 10,240 bytes


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    made = Files(Settings(data_dir=tmp_path, files_spare=0))
    yield made
    await made.close()


async def put(files: Files, path: str, data: bytes = b"x", existing: Any = "refuse") -> str:
    async with files.upload() as coming:
        await coming.begin(path)
        await coming.write([data])
        await coming.end()
        return (await coming.land("", existing))[0].path


def root_of(files: Files) -> Path:
    files.jail.root.mkdir(parents=True, exist_ok=True)
    return files.jail.root


def left(files: Files) -> list[str]:
    rooms = root_of(files) / HIDDEN / "staging"
    return [path.name for path in rooms.iterdir()] if rooms.exists() else []


def zipped(entries: dict[str, bytes], **fields: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            for key, value in {"compress_type": zipfile.ZIP_DEFLATED, **fields}.items():
                setattr(info, key, value)
            packed.writestr(info, data)
    return target.getvalue()


# Over HTTP


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("files")
    settings = Settings(
        data_dir=folder,
        device="cpu",
        body_limit=300_000,
        upload_limit=30_000_000,
        files_spare=0,
        _env_file=None,
    )  # type: ignore[call-arg]
    with serve(settings) as running:
        with running.client() as client:
            send(client, "a.bin", DATA)
        yield running


def send(client: httpx.Client, name: str, data: Any, **fields: str) -> httpx.Response:
    return client.post("/v1/files/upload", files={"files": (name, data)}, data=fields)
