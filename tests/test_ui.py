"""The page's values: texts, code snippets, pacing, and what conversations look like as HTML and messages."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import string
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import (
    Conversation,
    EngineStatus,
    Entry,
    Event,
    LaneStatus,
    Loading,
    Queued,
    ResidentModel,
    Result,
    Text,
    Usage,
)
from ui import conversations, find_tabs, header, parts, snippets, words
from ui.translate_views import SAYS

ROOT = Path(__file__).resolve().parent.parent
USED = re.compile(r"""(?:say|label|knows|_head)\(\s*f?["']([a-z]+\.[a-zA-Z_]+)["']""")


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", words.table())
def test_every_text_is_there_in_every_language(key: str) -> None:
    row = words.table()[key]
    assert set(row) == set(words.LANGUAGES) and all(text.strip() for text in row.values())
    assert len({frozenset(fields_of(text)) for text in row.values()}) == 1, "other {names}"


def test_used_texts_exist_and_no_text_is_unused() -> None:
    sources = "".join(file.read_text("utf-8") for file in (ROOT / "ui").rglob("*.py"))
    used = set(USED.findall(sources))
    assert used <= set(words.table()) and len(used) > 30
    quoted = set(re.findall(r"[\"']([a-z]+\.[a-zA-Z_]+)[\"']", sources))
    told = [f"translate.{name}" for name in SAYS]  # the tab's script says these by itself
    built = ("error.", "chat.sample_", *(f"chat.{name}" for name in parameters()), *told)
    assert [k for k in words.table() if k not in quoted and not k.startswith(built)] == []


def parameters() -> tuple[str, ...]:
    from ui.talk import OPTIONS

    return OPTIONS


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("de,ru;q=0.7,en;q=0.3", "ru"),
        ("en;q=0.1, pt-BR;q=0.9", "pt"),
        ("de-DE", "en"),
        ("", "en"),
        (None, "en"),
        ("fr;q=what", "fr"),
        (",".join(["xx"] * 500), "en"),
    ],
)
def test_language(header: str | None, language: str) -> None:
    assert words.language_of(header) == language


NASTY = "it's \"quoted\" $HOME `x` \\n\n'''\n</code><script>é😀 \u2028 {braces}"
CALL = snippets.Call(
    base="http://127.0.0.1:7860",
    model="starter-chat",
    messages=(
        {"role": "system", "content": "be 'brief'"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": NASTY},
    ),
    options={"temperature": 0.5, "top_k": 4, "stop": ["\n", "'"]},
)


def test_curl_says_what_was_said() -> None:
    found = shlex.split(snippets.curl(CALL).replace("\\\n", " "))
    body = json.loads(found[found.index("-d") + 1])
    assert found[:3] == ["curl", "-N", "http://127.0.0.1:7860/v1/chat/completions"]
    assert body == {
        "model": "starter-chat",
        "messages": list(CALL.messages),
        **CALL.options,
        "stream": True,
    }


def arguments(code: str, call: str) -> dict[str, Any]:
    """The keyword arguments of the first call of a method in Python source."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == call:
            return {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
    raise AssertionError(f"no {call}() in the code")


def test_python_says_what_was_said() -> None:
    sent = arguments(snippets.openai(CALL), "create")
    assert sent["messages"] == list(CALL.messages) and sent["model"] == "starter-chat"
    assert sent["temperature"] == 0.5 and sent["extra_body"] == {"top_k": 4}
    sent = arguments(snippets.gradio(CALL), "predict")
    assert (
        sent["message"] == NASTY and sent["system"] == "be 'brief'" and sent["api_name"] == "/chat"
    )
    assert [row["content"] for row in sent["history"]] == ["hi", "hello"]


def test_a_token_is_read_from_the_environment() -> None:
    call = snippets.Call("http://x", "m", CALL.messages, token=True)
    for code in (snippets.curl(call), snippets.openai(call), snippets.gradio(call)):
        assert "ATELIER_TOKEN" in code
    assert 'base_url="http://x/v1", api_key=os.environ["ATELIER_TOKEN"]' in snippets.openai(call)


NOW = datetime(2030, 5, 5, 12, tzinfo=UTC)


def chat(id: str, title: str, days: float = 0) -> Conversation:
    then = NOW - timedelta(days=days)
    return Conversation(id, title, "", "", {}, then, then, 2)


def test_the_list_escapes_and_groups() -> None:
    rows = [chat("a", "<img src=x onerror=alert(1)>\n\n# not a heading"), chat("b", "", 40)]
    html = conversations.listing(
        rows, opened="a", answering={"b"}, query="", language="en", now=NOW
    )
    assert "<img" not in html and "\n" not in html and "Untitled" in html
    assert html.count("aria-current") == 1 and html.count("<h3>") == 2 and "Earlier" in html
    assert 'data-open-conversation="a"' in html and html.count('class="dot"') == 1
    found = conversations.listing([], opened="", answering=(), query="<b>", language="en", now=NOW)
    assert "<b>" not in found and "&lt;b&gt;" in found


def test_messages_know_their_entries() -> None:
    entries = [
        Entry("user", "one"),
        Entry("assistant", "1", reasoning="hm"),
        Entry("tool", "not shown"),
        Entry("user", "two"),
    ]
    messages, places = conversations.shown(entries, "en")
    assert [m["content"] for m in messages] == ["one", "hm", "1", "two"] and places == [0, 1, 1, 3]
    many = [Entry("user", str(n)) for n in range(conversations.SHOWN + 7)]
    messages, places = conversations.shown(many, "en")
    assert len(messages) == conversations.SHOWN and places[0] == 7
    assert conversations.hidden(many) == 7


def test_the_line_under_an_answer() -> None:
    usage = {"output_tokens": 11, "run_s": 2.0, "first_s": 1.0}
    line = conversations.footer(Entry("assistant", "x", finish="length", usage=usage), "M<", "en")
    assert "M&lt; · 11 tokens · 10 tokens/s · first word after 1.00 s · cut" in line
    assert "failed" in conversations.footer(Entry("assistant", "", error="<no>"), "", "en")
    assert conversations.footer(Entry("user", "x"), "", "en") == ""
    for state, word in ((Queued(2), "2 ahead"), (Queued(0), "next"), (Loading("m", 0.4), "40 %")):
        assert word in conversations.progress(Result(), state, "m", "en")


def test_a_file_has_a_harmless_name() -> None:
    html = conversations.file_of(chat("a", '../"><b>\u202e name'), "a\nb<", "markdown", "1")
    assert 'data-file="b---name.md"' in html and "a&#10;b&lt;" in html


async def test_pace() -> None:
    async def quick() -> AsyncIterator[Event]:
        for n in range(200):
            yield Text(f"{n} ")
            await asyncio.sleep(0.001)

    batches = [batch async for batch in parts.paced(quick(), every=0.05, beat=0.2)]
    assert sum(len(batch) for batch in batches) == 200 and len(batches) < 40


async def test_pace_beats_while_nothing_comes_and_closes_what_it_reads() -> None:
    closed = asyncio.Event()

    async def silent() -> AsyncIterator[Event]:
        try:
            yield Text("a")
            await asyncio.sleep(60)
        finally:
            closed.set()

    stream = parts.paced(silent(), every=0.001, beat=0.01)
    assert [len(await anext(stream)) for _ in range(3)] == [1, 0, 0]
    await stream.aclose()
    assert closed.is_set()


async def test_pace_passes_an_error_on_after_what_came_before() -> None:
    async def broken() -> AsyncIterator[Event]:
        yield Text("a")
        raise ValueError("x")

    seen: list[Event] = []
    with pytest.raises(ValueError, match="x"):
        async for batch in parts.paced(broken(), every=0.001):
            seen += batch
    assert seen == [Text("a")]


def someone(**headers: str) -> Any:
    return SimpleNamespace(
        headers=headers, cookies={}, session_hash="abc", username=None, query_params={}
    )


def test_who_asks() -> None:
    request = someone()
    caller = parts.caller_of(request)
    assert (caller.name, caller.dialect, caller.session) == ("local", "ui", "abc")
    request.cookies[parts.SESSION_COOKIE] = "0123456789abcdef"
    assert parts.caller_of(request).session == "0123456789abcdef"
    request.cookies[parts.SESSION_COOKIE] = "x' OR 1"
    assert parts.caller_of(request).session == "abc"


def test_the_address_is_the_browsers() -> None:
    assert parts.address(someone(referer="https://h/wb/?c=1", origin="https://h")) == "https://h/wb"
    assert parts.address(someone(origin="https://h:1")) == "https://h:1"
    assert parts.address(someone(referer="javascript:1", host="h:2")) == "http://h:2"


def test_a_view_is_history_once_another_began() -> None:
    views = parts.Views(limit=1)
    first = views.begin(someone(), "a")
    second = views.begin(someone(), "b")
    assert not views.current(first) and views.current(second) and views.opened(someone()) == "b"
    other = someone()
    other.session_hash = "other"
    views.begin(other, "c")
    assert views.newest(someone()) is None


def test_the_header_tells_of_devices_and_models() -> None:
    model = ResidentModel("<m>", 2_500_000_000, 0, 90, None, True, 1.0)
    busy = LaneStatus("cpu", "CPU <2>", 100, 50, 80, 25, 3, 1, (model,))
    idle = LaneStatus("remote", "Others", 0, 0, 0, 0, 0, 0, ())
    html = header.live(EngineStatus("1", 1, (busy, idle)), "en")
    assert "CPU &lt;2&gt;" in html and "&lt;m&gt;" in html and "Others" not in html
    assert "1 running · 3 waiting" in html and "2.5 GB · idle 2 min · pinned" in html


def test_tabs_hide_when_no_model_can() -> None:
    able: Any = SimpleNamespace(models=lambda capability: ["m"])
    unable: Any = SimpleNamespace(models=lambda capability: [])
    assert [tab.TITLE for tab in find_tabs(able)][:1] == ["chat.tab"]
    assert [tab for tab in find_tabs(unable) if tab.NEEDS] == []


def test_usage_is_what_the_footer_reads() -> None:
    assert {"output_tokens", "run_s", "first_s"} <= set(Usage.__dataclass_fields__)
