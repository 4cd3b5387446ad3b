"""The page's calls for programs about files: `/files_list /files_create /files_move /files_delete /files_restore
/files_compress /files_decompress /files_upload` of `gradio_client`.

What is large goes better over REST, where it streams. No `from __future__ import annotations` here: Gradio reads the
annotations as they stand to describe the endpoints.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, FileEntry
from ui.parts import uploads


def add_file_calls(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    for make in (_list, _create, _move, _delete, _restore, _compress, _decompress):
        gr.api(make(engine), api_name=f"files_{make.__name__[1:]}", concurrency_limit=None)
    _add_upload(engine)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except AtelierError as error:
        raise gr.Error(error.message, print_exception=False) from error


def _value(entry: FileEntry) -> dict[str, Any]:
    """An entry; "place" and not "path", for `gradio_client` would take that for a file to fetch."""
    return {
        "name": entry.name, "place": entry.path, "type": entry.type, "size": entry.size,
        "modified": entry.modified.isoformat(),
    }  # fmt: skip


def _list(engine: Engine) -> Callable[..., Any]:
    async def files_list(path: str = "") -> list[dict[str, Any]]:
        """What a folder holds: name, place (its path), type ("file" or "directory"), size in bytes, time of change."""
        with _refusing():
            entries, _ = await engine.files.list(path)
            return [_value(entry) for entry in entries]

    return files_list


def _create(engine: Engine) -> Callable[..., Any]:
    async def files_create(path: str) -> dict[str, Any]:
        """Make a folder, those above it too."""
        with _refusing():
            return _value(await engine.files.create(path))

    return files_create


def _move(engine: Engine) -> Callable[..., Any]:
    async def files_move(source: str, destination: str) -> dict[str, Any]:
        """Move or rename a file or folder; into `destination` where that is a folder."""
        with _refusing():
            kind = (await engine.files.look(source)).type
            return _value(await engine.files.move(source, destination, kind))

    return files_move


def _delete(engine: Engine) -> Callable[..., Any]:
    async def files_delete(path: str) -> str:
        """Move a file or folder to the trash; the id by which `/files_restore` brings it back."""
        with _refusing():
            kind = (await engine.files.look(path)).type
            return str((await engine.files.remove(path, kind)).id)

    return files_delete


def _restore(engine: Engine) -> Callable[..., Any]:
    async def files_restore(id: str) -> dict[str, Any]:
        """Bring something back from the trash."""
        with _refusing():
            return _value(await engine.files.restore(id))

    return files_restore


def _compress(engine: Engine) -> Callable[..., Any]:
    async def files_compress(path: str, zip_name: str) -> dict[str, Any]:
        """Pack a folder's contents, or one file, into a ZIP beside it."""
        with _refusing():
            return _value(await engine.files.compress(path, zip_name))

    return files_compress


def _decompress(engine: Engine) -> Callable[..., Any]:
    async def files_decompress(path: str, extract_path: str | None = None) -> dict[str, Any]:
        """Unpack a ZIP, whole or not at all; without `extract_path` into a new folder called like it."""
        with _refusing():
            entry, _ = await engine.files.decompress(path, extract_path)
            return _value(entry)

    return files_decompress


def _add_upload(engine: Engine) -> None:
    async def files_upload(file: Any, path: str = "") -> AsyncIterator[Any]:
        """Put a file into a folder; where its name is taken it gets a number."""
        with _refusing():
            async with engine.files.upload() as coming:
                async for given in uploads(file):
                    await coming.begin(given.name)
                    await coming.write([given.data])
                    await coming.end()
                if not coming.steps:
                    raise BadValue("No file came. Send one by upload (gradio_client.handle_file).")
                [entry] = await coming.land(path or "", "rename")
            yield _value(entry)

    with gr.Column(visible=False):
        file, path, done = gr.File(label="file"), gr.Textbox("", label="path: a folder"), gr.JSON()
        gr.Button().click(
            files_upload, [file, path], done, api_name="files_upload", api_visibility="public",
            preprocess=False, concurrency_limit=None, show_progress="hidden",
        )  # fmt: skip
