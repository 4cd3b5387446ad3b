"""What happens in the Files tab: looking into folders and files, and changing them. Uploads go straight to REST.

Nothing is kept here: where a page stands, its script tells with each look. What it looks like is `ui/files_views.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import AtelierError, Engine, FileEntry, Unknown
from ui import files_views as views
from ui.files_peek import Peek, peek
from ui.parts import Seen, acted, explain, reader, told_by
from ui.words import say

Updates = dict[Any, Any]
Steps = AsyncGenerator[Updates]
SHOWN = frozenset(
    {"at", "open", "find", "trash"}
)  # where a page stands; `path` is what an action is about
FOLDERS = 400  # that can be chosen from when something is moved
KINDS = {"file", "directory"}


@dataclass(frozen=True, slots=True)
class Places:
    """The hidden places from which the page's script takes what the server painted; `words` is Markdown that shows."""

    list: gr.Markdown
    file: gr.Markdown
    words: gr.Markdown
    sheet: gr.Markdown
    outcome: gr.Markdown

    @property
    def looked(self) -> Any:
        return [self.list, self.file, self.words]

    @property
    def all(self) -> Any:
        return [self.list, self.file, self.words, self.sheet, self.outcome]


@dataclass(slots=True)
class Desk:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Places
    seen: Seen = field(default_factory=Seen)
    _peeks: dict[tuple[str, int, float, str], Peek] = field(default_factory=dict)

    async def look(self, told: str, request: gr.Request) -> Updates:
        """The page looks: at which folder and file; `all` when it has just come."""
        given = told_by(told)
        return await self.view(given, request, "all" in given)

    async def view(
        self, given: dict[str, str], request: gr.Request, everything: bool = False
    ) -> Updates:
        """What changed since this page looked last."""
        language = reader(request)
        path = given.get("at", "")
        if given.get("trash"):
            things = await self.engine.files.trash()
            listed = views.trash(things, self.engine.settings.trash_days, language)
        else:
            path, entries, hidden = await self._listed(path)
            opened = given.get("open", "")
            listed = views.listing(path, entries, hidden, opened, given.get("find", ""), language)
        file, words = await self._shown(path, given.get("open", ""), language)
        texts = (listed, file, words)
        new = self.seen.news(str(request.session_hash), texts, everything)
        return {
            place: text if is_new else gr.skip()
            for place, text, is_new in zip(self.w.looked, texts, new, strict=True)
        }

    async def _listed(self, path: str) -> tuple[str, Sequence[FileEntry], int]:
        """The folder, or the nearest above it that is there."""
        while True:
            try:
                return path, *(await self.engine.files.list(path))
            except AtelierError:
                if not path:
                    raise
                path = path.rpartition("/")[0]

    async def _shown(self, path: str, opened: str, language: str) -> tuple[str, str]:
        """What is painted of the open file, and its text where that is Markdown."""
        if opened:
            try:
                entry = await self.engine.files.look(opened)
            except AtelierError:
                return views.nothing(path, language), ""
            if entry.type == "file":
                found = await self._peek(entry, language)
                return views.shown(entry, found, language), found.markdown
        return views.nothing(path, language), ""

    async def _peek(self, entry: FileEntry, language: str) -> Peek:
        """What a file looks like, remembered while it stays as it is."""
        key = (entry.path, entry.size, entry.modified.timestamp(), language)
        if key not in self._peeks:
            found = await peek(self.engine, entry, language)
            while len(self._peeks) >= 32:
                self._peeks.pop(next(iter(self._peeks)))
            self._peeks[key] = found
        return self._peeks[key]

    # Acting

    async def act(self, told: str, request: gr.Request) -> Steps:
        """A button was pressed or a sheet submitted: its `act`, what it is about, and where the page stands."""
        given = told_by(told)
        steps = acted(self._steps(), given, request, self.w.outcome, self.w.sheet)
        async with aclosing(steps) as updates:
            async for update in updates:
                yield update
        if given.get("act") in self._steps():
            yield await self.view({k: v for k, v in given.items() if k in SHOWN}, request)

    def _steps(self) -> dict[str, Callable[[dict[str, str], gr.Request], Steps]]:
        steps = (
            self.close, self.ask_create, self.create, self.ask_rename, self.rename, self.ask_move, self.move,
            self.ask_zip, self.zip, self.unzip, self.remove, self.restore, self.ask_empty, self.empty,
        )  # fmt: skip
        return {step.__name__: step for step in steps}

    async def close(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: ""}

    async def ask_create(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: views.ask_folder(given.get("at", ""), reader(request))}

    async def create(self, given: dict[str, str], request: gr.Request) -> Steps:
        folder, name, language = given.get("at", ""), given.get("name", ""), reader(request)
        try:
            await self.engine.files.create(f"{folder}/{_plain(name)}")
        except AtelierError as error:
            yield {self.w.sheet: views.ask_folder(folder, language, explain(error, language), name)}
            return
        yield {self.w.sheet: ""}

    async def ask_rename(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: views.ask_name(*_what(given), reader(request))}

    async def rename(self, given: dict[str, str], request: gr.Request) -> Steps:
        (path, kind), name, language = _what(given), given.get("name", ""), reader(request)
        new = f"{path.rpartition('/')[0]}/{_plain(name)}"
        try:
            entry = await self.engine.files.move(path, new, kind, into=False)
        except AtelierError as error:
            yield {
                self.w.sheet: views.ask_name(path, kind, language, explain(error, language), name)
            }
            return
        yield self._moved(given, path, entry)

    def _moved(self, given: dict[str, str], path: str, entry: FileEntry) -> Updates:
        """The page follows what it shows to its new path."""
        for name in ("at", "open"):
            held = given.get(name, "")
            inside = held == path or held.startswith(path + "/")
            given[name] = entry.path + held[len(path) :] if inside else held
        return {self.w.sheet: "", self.w.outcome: views.go(given["at"], given["open"])}

    async def ask_move(self, given: dict[str, str], request: gr.Request) -> Steps:
        folders = await self.engine.files.folders(FOLDERS)
        yield {self.w.sheet: views.ask_place(*_what(given), folders, reader(request))}

    async def move(self, given: dict[str, str], request: gr.Request) -> Steps:
        path, kind = _what(given)
        entry = await self.engine.files.move(path, given.get("folder", ""), kind)
        yield self._moved(given, path, entry)

    async def ask_zip(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: views.ask_zip(*_what(given), reader(request))}

    async def zip(self, given: dict[str, str], request: gr.Request) -> Steps:
        (path, kind), name, language = _what(given), given.get("name", ""), reader(request)
        try:
            await self.engine.files.compress(path, name)
        except AtelierError as error:
            yield {
                self.w.sheet: views.ask_zip(path, kind, language, explain(error, language), name)
            }
            return
        yield {self.w.sheet: ""}

    async def unzip(self, given: dict[str, str], request: gr.Request) -> Steps:
        entry, _ = await self.engine.files.decompress(given.get("path", ""))
        given |= {"at": entry.path, "open": ""}
        yield {self.w.outcome: views.go(entry.path, "")}

    async def remove(self, given: dict[str, str], request: gr.Request) -> Steps:
        """Into the trash at once; where there is none, it is asked first."""
        (path, kind), language = _what(given), reader(request)
        if not self.engine.settings.trash_days and not given.get("sure"):
            yield {self.w.sheet: views.ask_remove(path, kind, language)}
            return
        gone = await self.engine.files.remove(path, kind)
        at = given.get("at", "")
        if at == path or at.startswith(path + "/"):
            given["at"] = path.rpartition("/")[0]
        news = views.undone(gone, language) if self.engine.settings.trash_days else ""
        yield {self.w.sheet: "", self.w.outcome: news}

    async def restore(self, given: dict[str, str], request: gr.Request) -> Steps:
        entry = await self.engine.files.restore(given.get("id", ""))
        yield {self.w.outcome: views.news(say("files.restored", reader(request), name=entry.name))}

    async def ask_empty(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: views.ask_empty(reader(request))}

    async def empty(self, given: dict[str, str], request: gr.Request) -> Steps:
        await self.engine.files.empty_trash()
        yield {self.w.sheet: ""}


def _what(given: dict[str, str]) -> tuple[str, Any]:
    """Which file or folder is meant."""
    kind = given.get("type", "")
    if kind not in KINDS or not given.get("path"):
        raise Unknown("This is no longer there. Look at the folder again.", param="path")
    return given["path"], kind


def _plain(name: str) -> str:
    """A name as it was typed; a slash in it is refused with the name, instead of meaning a folder."""
    return name.replace("/", "\\")
