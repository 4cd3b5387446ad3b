"""The files area against a model of it: generated names, trees, moves, archives. No escape, and nothing half-done."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import posixpath
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine import AtelierError, Settings
from engine.files import Files
from engine.names import HIDDEN, parts_of

CHANGES = itertools.count()
EXAMPLES = int(os.environ.get("FILES_EXAMPLES", "40"))
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # syncing costs nothing there
NAMES = st.sampled_from(["a", "b", "c.txt", "d.zip", "é", "e\u0301", "наж", "x y", "名"])
ODD = st.one_of(
    st.sampled_from(
        ["..", ".", "", "con", "AUX.txt", HIDDEN, ".Atelier", "a\0b", "a\nb", "a\u202eb", "\u200b", "\ud800",
         "x" * 256, "é" * 128, "a\\b", " a", "a ", "a.", "~", "*", "%2e%2e", "..%2f"]
    ),
    st.text(max_size=8),
)  # fmt: skip
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
WILD = st.lists(st.one_of(NAMES, ODD), min_size=1, max_size=4).map("/".join)
ANY = st.one_of(PATHS, PATHS, PATHS, WILD)


def wanted(path: str) -> str:
    """The path as the model knows it."""
    return unicodedata.normalize("NFC", posixpath.normpath("/" + path).strip("/"))


class Area(RuleBasedStateMachine):
    """Each rule does one thing to the area and to the model, a dict of path to bytes or None (a folder)."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.place = tempfile.TemporaryDirectory(dir=MEMORY)
        top = Path(self.place.name)
        (top / "secret").write_text("secret")
        self.files = Files(Settings(data_dir=top, files_spare=0, _env_file=None))
        self.model: dict[str, bytes | None] = {}
        self.gone: dict[str, dict[str, bytes | None]] = {}

    def teardown(self) -> None:
        if hasattr(self, "files"):
            self.loop.run_until_complete(self.files.close())
            self.loop.close()
            self.place.cleanup()

    def do(self, work: Any, allowed: bool, change: Any = lambda: None) -> Any:
        """Run it: it may only fail where the model says so, and then with one of our own refusals."""
        next(CHANGES)
        try:
            found = self.loop.run_until_complete(work)
        except AtelierError as error:
            assert error.status in {400, 404, 409, 413, 415}, error
            assert not allowed, error
            assert str(self.place.name) not in error.message
            return None
        assert allowed, found
        change()
        return found

    # What the model knows

    def fine(self, *paths: str) -> bool:
        try:
            return all(parts_of(path) is not None for path in paths)
        except AtelierError:
            return False

    def kind(self, path: str) -> str | None:
        path = wanted(path)
        if not path:
            return "directory"
        if path not in self.model:
            return None
        return "directory" if self.model[path] is None else "file"

    def can_hold(self, path: str) -> bool:
        """Nothing on the way to it is a file."""
        above = wanted(path)
        while above := above.rpartition("/")[0]:
            if self.kind(above) == "file":
                return False
        return True

    def add(self, path: str, data: bytes | None) -> None:
        path = wanted(path)
        above = path
        while above := above.rpartition("/")[0]:
            self.model[above] = None
        self.model[path] = data

    def take(self, path: str) -> dict[str, bytes | None]:
        """Take a path and all below out of the model, by what follows it."""
        path = wanted(path)
        below = [p for p in self.model if p == path or p.startswith(path + "/")]
        return {p[len(path) :]: self.model.pop(p) for p in below}

    def put(self, path: str, taken: dict[str, bytes | None]) -> None:
        for rest, data in taken.items():
            self.add(wanted(path) + rest, data)

    # What is done

    @rule(path=ANY)
    def create(self, path: str) -> None:
        free = self.fine(path) and self.can_hold(path) and self.kind(path) is None
        self.do(self.files.create(path), free, lambda: self.add(path, None))

    @rule(
        folder=ANY,
        name=st.one_of(NAMES, WILD),
        data=st.binary(max_size=40),
        existing=st.sampled_from(["refuse", "replace", "rename"]),
    )
    def upload(self, folder: str, name: str, data: bytes, existing: Any) -> None:
        async def send() -> Any:
            async with self.files.upload() as coming:
                await coming.begin(name)
                await coming.write([data[:20], data[20:]])
                await coming.end()
                return await coming.land(folder, existing)

        whole = f"{folder}/{name}"
        free = self.fine(folder, name) and wanted(name) != "" and self.can_hold(whole)
        there = self.kind(whole) if free else None
        allowed = free and (
            there is None or existing == "rename" or (existing == "replace" and there == "file")
        )
        found = self.do(send(), allowed)
        if found:
            if existing != "rename" or there is None:
                assert found[0].path == wanted(whole)
            self.add(found[0].path, data)

    @rule(source=ANY, destination=ANY, kind=st.sampled_from(["file", "directory"]))
    def move(self, source: str, destination: str, kind: Any) -> None:
        allowed = (
            self.fine(source, destination) and wanted(source) != "" and self.kind(source) == kind
        )
        target = wanted(destination) if allowed else ""
        if allowed:
            old = wanted(source)
            if self.kind(destination) == "directory" and target != old:
                target = f"{target}/{old.rpartition('/')[2]}".strip("/")
            above = target.rpartition("/")[0]
            allowed = target != old and not target.startswith(old + "/")
            allowed = allowed and self.kind(target) is None and self.kind(above) == "directory"
        self.do(
            self.files.move(source, destination, kind),
            allowed,
            lambda: self.put(target, self.take(source)),
        )

    @rule(path=ANY, kind=st.sampled_from(["file", "directory"]))
    def remove(self, path: str, kind: Any) -> None:
        allowed = self.fine(path) and wanted(path) != "" and self.kind(path) == kind
        found = self.do(self.files.remove(path, kind), allowed)
        if found:
            self.gone[found.id] = {
                wanted(path) + rest: data for rest, data in self.take(path).items()
            }

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from([*sorted(self.gone), "0" * 24, "../staging"]))
        things = self.gone.get(gone, {})
        top = min(things, default="")
        allowed = bool(things) and self.kind(top) is None and self.can_hold(top)
        if self.do(self.files.restore(gone), allowed):
            for path, value in self.gone.pop(gone).items():
                self.add(path, value)

    @rule(path=ANY, name=st.one_of(NAMES, ODD))
    def compress(self, path: str, name: str) -> None:
        name = name if name.lower().endswith(".zip") else name + ".zip"
        whole = f"{wanted(path).rpartition('/')[0]}/{name}" if self.fine(path) else ""
        allowed = (
            self.fine(path, name)
            and "/" not in name
            and name not in {".", ".."}
            and wanted(path) != ""
        )
        allowed = (
            allowed and bool(self.kind(path)) and wanted(name) != "" and self.kind(whole) is None
        )
        expected = {}
        if allowed and self.kind(path) == "directory":
            prefix = wanted(path) + "/"
            expected = {p[len(prefix) :]: d for p, d in self.model.items() if p.startswith(prefix)}
        elif allowed:
            expected = {wanted(path).rpartition("/")[2]: self.model[wanted(path)]}
        found = self.do(self.files.compress(path, name), allowed)
        if found:
            data = (self.files.jail.root / found.path).read_bytes()
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                held = {
                    n.rstrip("/"): None if n.endswith("/") else packed.read(n)
                    for n in packed.namelist()
                }
            assert held == expected
            self.add(found.path, data)

    @rule(
        entries=st.lists(
            st.tuples(ANY, st.binary(max_size=30), st.sampled_from(["", "/", "link", "abs"])),
            max_size=4,
        ),
        folder=ANY,
        cut=st.sampled_from([0, 0, 0, 5, 30]),
    )
    def decompress(self, entries: Any, folder: str, cut: int) -> None:
        """An archive made of these entries, well-formed or not: all of it is there afterwards, or nothing."""
        data, expected = archive_of(entries, cut)
        self.loop.run_until_complete(self._bring("arch.zip", data))
        self.add("arch.zip", data)
        allowed = expected is not None and self.fine(folder)
        if allowed and expected is not None:
            there = self.kind(folder)
            base = (wanted(folder) + "/").lstrip("/")
            tops = {path.partition("/")[0] for path in expected}
            if there == "directory":
                allowed = all(self.kind(base + top) is None for top in tops)
            else:
                allowed = there is None and self.can_hold(folder)
        found = self.do(self.files.decompress("arch.zip", folder), allowed)
        if found and expected is not None:
            if wanted(folder):
                self.add(folder, None)
            for path, value in expected.items():
                self.add(f"{folder}/{path}", value)

    async def _bring(self, name: str, data: bytes) -> None:
        async with self.files.upload() as coming:
            await coming.begin(name)
            await coming.write([data])
            await coming.end()
            await coming.land("", "replace")

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if not hasattr(self, "files"):
            return
        root = self.files.jail.root
        held: dict[str, bytes | None] = {}
        for above, folders, names in os.walk(root):
            if Path(above) == root and HIDDEN in folders:
                folders.remove(HIDDEN)
            for name in (*folders, *names):
                path = Path(above, name)
                held[str(path.relative_to(root))] = None if path.is_dir() else path.read_bytes()
        assert held == self.model
        top = Path(self.place.name)
        assert sorted(p.name for p in top.iterdir()) in (["files", "secret"], ["secret"])
        assert (top / "secret").read_text() == "secret"
        hidden = root / HIDDEN / "staging"
        assert not hidden.exists() or list(hidden.iterdir()) == []


def archive_of(entries: Any, cut: int) -> tuple[bytes, dict[str, bytes | None] | None]:
    """A ZIP, and what it should unpack to; None where it should be refused."""
    target = io.BytesIO()
    expected: dict[str, bytes | None] | None = {}
    seen: set[str] = set()
    with zipfile.ZipFile(target, "w") as packed:
        for path, data, kind in entries:
            name = "/" + path if kind == "abs" else path + "/" if kind == "/" else path
            try:
                name.encode()
                info = zipfile.ZipInfo(name.replace("\0", "_") or "_")
            except UnicodeEncodeError:
                continue
            name = info.filename
            info.external_attr = 0o120777 << 16 if kind == "link" else 0
            if name in packed.NameToInfo:
                continue
            packed.writestr(info, b"" if name.endswith("/") else data)
            expected = _expect(expected, seen, name, data, kind)
    raw = target.getvalue()
    if cut and entries:
        return raw[: max(1, len(raw) - cut)], None
    return raw, expected


def _expect(
    expected: dict[str, bytes | None] | None, seen: set[str], name: str, data: bytes, kind: str
) -> dict[str, bytes | None] | None:
    if expected is None or kind in {"link", "abs"} or name.startswith("/"):
        return None
    if "\\" in name or ".." in name.split("/") or name[1:2] == ":":
        return None
    try:
        path = "/".join(parts_of(name))
    except AtelierError:
        return None
    if not path:
        return expected
    folder = name.endswith("/")
    above = path
    while above := above.rpartition("/")[0]:
        if expected.get(above, None) is not None:
            return None
        expected.setdefault(above, None)
    if path in expected and not (folder and expected[path] is None):
        return None
    expected[path] = None if folder else data
    return expected


Area.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=12, deadline=None, derandomize=EXAMPLES <= 40,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestArea = Area.TestCase


@pytest.fixture(scope="module", autouse=True)
def _told(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    """How many changes were tried."""
    yield
    record_testsuite_property("changes", next(CHANGES))
