"""The Files tab without a browser: lists, previews, the trash and sheets through its handlers; nothing foreign runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine, Settings
from tests import echo
from ui import files_desk, files_peek, files_views, samples
from ui.words import LANGUAGES

BAD = "\"'><img src=x onerror=alert(1)>"
PLACES = ("list", "file", "words", "sheet", "outcome")


def someone(language: str = "en") -> Any:
    return SimpleNamespace(
        headers={"accept-language": language},
        cookies={},
        session_hash="abc",
        username=None,
        query_params={},
    )


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[files_desk.Desk]:
    engine = Engine.build(settings, families={"echo": echo}, specs=echo.SPECS)
    yield files_desk.Desk(engine, files_desk.Places(*PLACES))  # type: ignore[arg-type]
    await engine.files.close()


async def put(desk: files_desk.Desk, path: str, data: bytes = b"x") -> None:
    async with desk.engine.files.upload() as coming:
        await coming.begin(path)
        await coming.write([data])
        await coming.end()
        await coming.land("", "replace")


async def press(desk: files_desk.Desk, **given: str) -> dict[Any, Any]:
    """Everything an action painted, the newest of each place."""
    painted: dict[Any, Any] = {}
    async for updates in desk.act(json.dumps(given) + "#1", someone()):
        painted |= {k: v for k, v in updates.items() if isinstance(v, str)}
    return painted


async def view(desk: files_desk.Desk, language: str = "en", **given: str) -> dict[Any, Any]:
    return await desk.view(given, someone(language), everything=True)


async def test_a_folder_is_shown_and_changed(desk: files_desk.Desk) -> None:
    empty = await view(desk)
    assert "This folder is empty" in empty["list"] and "Choose a file" in empty["file"]
    painted = await press(desk, act="create", name="a", at="")
    assert 'data-into="a"' in painted["list"] and painted["sheet"] == ""
    await put(desk, "a/x.txt", b"hello")
    shown = await view(desk, at="a", open="a/x.txt")
    assert shown["list"].count("data-into") == 2 and 'aria-current="true"' in shown["list"]
    assert '<pre class="text" tabindex="0">hello</pre>' in shown["file"]
    again = await desk.look(json.dumps({"at": "a", "open": "a/x.txt"}) + "#2", someone())
    assert not any(isinstance(v, str) for v in again.values()), "nothing is sent twice"
    painted = await press(
        desk, act="rename", path="a", type="directory", name="b", at="a", open="a/x.txt"
    )
    assert (
        'data-at="b" data-opened="b/x.txt"' in painted["outcome"]
        and 'data-path="b"' in painted["list"]
    )
    await press(desk, act="create", name="c", at="")
    painted = await press(desk, act="ask_move", path="b", type="directory", at="")
    assert 'value="c"' in painted["sheet"] and 'value="b"' not in painted["sheet"]
    painted = await press(desk, act="move", path="b", type="directory", folder="c", at="b", open="")
    assert 'data-at="c/b"' in painted["outcome"]
    gone = await view(desk, at="no/such/folder", open="no/such/file")
    assert 'data-path=""' in gone["list"] and "Choose a file" in gone["file"]
    found = await view(desk, at="", find="C")
    assert 'data-into="c"' in found["list"]
    assert "Nothing here" in (await view(desk, at="", find="zzz"))["list"]


@pytest.mark.parametrize("name", ["a/b", "..", "", "con"])
async def test_a_wrong_name_stays_in_its_sheet(desk: files_desk.Desk, name: str) -> None:
    await put(desk, "x")
    for act in ({"act": "create"}, {"act": "rename", "path": "x", "type": "file"}):
        painted = await press(desk, **act, name=name, at="")
        assert 'role="alert"' in painted["sheet"], painted
    assert [e.name for e in (await desk.engine.files.list())[0]] == ["x"]


async def test_deleting_can_be_undone(desk: files_desk.Desk) -> None:
    await put(desk, "a/x")
    painted = await press(desk, act="remove", path="a", type="directory", at="a")
    assert "“a” was deleted." in painted["outcome"] and 'data-path=""' in painted["list"]
    gone = painted["outcome"].split('data-id="')[1].split('"')[0]
    trash = await view(desk, trash="1")
    assert f'data-id="{gone}"' in trash["list"] and "7 days" in trash["list"]
    painted = await press(desk, act="restore", id=gone, at="")
    assert 'data-into="a"' in painted["list"] and "is back" in painted["outcome"]
    await press(desk, act="remove", path="a", type="directory", at="")
    assert "gone for good" in (await press(desk, act="ask_empty"))["sheet"]
    await press(desk, act="empty", trash="1")
    assert "The trash is empty" in (await view(desk, trash="1"))["list"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_without_a_trash_it_is_asked_first(settings: Settings) -> None:
    own = settings.model_copy(update={"trash_days": 0})
    desk = files_desk.Desk(Engine.build(own, families={}, specs=()), files_desk.Places(*PLACES))  # type: ignore[arg-type]
    await put(desk, "a")
    painted = await press(desk, act="remove", path="a", type="file")
    assert 'data-sure="1"' in painted["sheet"] and (await desk.engine.files.list())[0]
    await press(desk, act="remove", path="a", type="file", sure="1")
    assert not (await desk.engine.files.list())[0]
    await press(desk, act="remove", path="a", type="nonsense")
    await desk.engine.files.close()


async def test_zip_and_unzip(desk: files_desk.Desk) -> None:
    await put(desk, "a/x")
    assert (
        'value="a.zip"' in (await press(desk, act="ask_zip", path="a", type="directory"))["sheet"]
    )
    await press(desk, act="zip", path="a", type="directory", name="a.zip", at="")
    painted = await press(desk, act="zip", path="a", type="directory", name="a.zip", at="")
    assert 'role="alert"' in painted["sheet"]
    painted = await press(desk, act="unzip", path="a.zip", type="file", at="")
    assert 'data-at="a (2)"' in painted["outcome"] and "a (2)/x" in painted["list"]


PEEKS = {
    "a.png": (samples.sample("shapes.png"), "picture", '<img src="v1/files/stream/a.png?v='),
    "a.pdf": (samples.sample("booklet-en.pdf"), "pdf", "page=3"),
    "a.mp3": (b"ID3", "audio", "<audio "),
    "a.webm": (b"\x1a\x45", "video", "<video "),
    "a.csv": (b"a;b\n1;'x, y'\n<i>;2", "table", "<td>&lt;i&gt;</td><td>2</td>"),
    "a.tsv": (b"a\tb\n1\t2", "table", "<th scope='col'>b</th>"),
    "a.json": (b'{"b":[1]}', "text", "&#10;  &quot;b&quot;"),
    "a.py": (b"print('<b>')", "text", "print(&#x27;&lt;b&gt;&#x27;)"),
    "utf16.txt": ("привет".encode("utf-16"), "text", "привет"),
    "a.bin": (bytes(range(256)), "other", "cannot be shown"),
    "b.pdf": (b"%PDF-1.4 broken", "other", 'role="alert"'),
    "a.zip": (b"PK", "archive", "Unzip it"),
    "empty.csv": (b"", "table", "empty"),
    "long.txt": (b"x" * 300_000, "text", "the first 200 KB"),
}  # fmt: skip


@pytest.mark.parametrize("name", PEEKS)
async def test_a_preview(desk: files_desk.Desk, name: str) -> None:
    data, look, holds = PEEKS[name]
    await put(desk, name, data)
    entry = await desk.engine.files.look(name)
    found = await files_peek.peek(desk.engine, entry, "en")
    assert found.look == look and holds in found.html
    for language in LANGUAGES:
        assert files_views.shown(entry, found, language)


async def test_markdown_shows_its_own_pictures_alone(desk: files_desk.Desk) -> None:
    text = "# Hi ![a](pic%20.png) ![b](../c.png) ![](https://example.org/x.png) ![d](data:image/png;base64,AA)"
    await put(desk, "d/n.md", text.encode())
    shown = await view(desk, at="d", open="d/n.md")
    assert "![a](v1/files/stream/d/pic%20.png) ![b](v1/files/stream/c.png)" in shown["words"]
    assert (
        "![](" not in shown["words"]
        and "[https://example.org/x.png](https://example.org/x.png)" in shown["words"]
    )
    assert 'data-look="markdown"' in shown["file"]


async def test_nothing_foreign_becomes_html(desk: files_desk.Desk) -> None:
    name = BAD.replace("/", "")
    for path in (
        f"{name}/{name}.csv",
        f"{name}/{name}.txt",
        f"{name}/{name}.png",
        f"{name}/{name}.mp3",
    ):
        await put(desk, path, f"{BAD},{BAD}\n{BAD},1".encode())
        for act in ("ask_rename", "ask_zip", "ask_move", "remove"):
            for text in (
                await press(desk, act=act, path=path, type="file", at=name, open=path)
            ).values():
                assert "<img src=x" not in text
        await put(desk, path, f"{BAD},{BAD}".encode())
        for text in (await view(desk, at=name, open=path)).values():
            assert "<img src=x" not in text
    assert "<img src=x" not in (await view(desk, trash="1"))["list"]
