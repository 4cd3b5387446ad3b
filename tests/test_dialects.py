"""One conversation through every chat dialect: the same text, the same usage, one ledger row each.

And the exact bytes of each dialect, in `tests/golden/`; `GOLDEN=write` writes them anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.serving import Served

GOLDEN = Path(__file__).parent / "golden"
SYSTEM, ASKED = "be short", "one two three"


@dataclass(frozen=True)
class Said:
    """An answer: its text, and (tokens in, tokens out) where the dialect tells."""

    text: str
    usage: tuple[int, int] | None


Speak = Callable[[Served, str, bool], Said]


def by_openai(server: Served, session: str, stream: bool) -> Said:
    client = openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="x", default_headers={"X-Session-ID": session}
    )
    messages: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    if not stream:
        whole = client.chat.completions.create(model="echo", messages=messages)
        assert whole.usage
        usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
        return Said(whole.choices[0].message.content or "", usage)
    text, told = "", None
    for chunk in client.chat.completions.create(
        model="echo", messages=messages, stream=True, stream_options={"include_usage": True}
    ):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        told = chunk.usage
    assert told
    return Said(text, (told.prompt_tokens, told.completion_tokens))


def by_host(server: Served, session: str, stream: bool) -> Said:
    path = "ask_async" if stream else "ask_sync"
    body = {"agent": "echo", "template": SYSTEM, "content": ASKED}
    answer = httpx.post(
        f"{server.url}/api/v1/ai/{path}", json=body, headers={"X-Session-ID": session}
    )
    return Said(answer.text, None)


def by_brenda(server: Served, session: str, stream: bool) -> Said:
    body = {
        "model": "echo",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}],
        "stream": stream,
    }
    answer = httpx.post(
        f"{server.url}/v1/ai/generate", json=body, headers={"X-Session-ID": session}
    )
    if not stream:
        told = answer.json()["usage"]
        return Said(
            answer.json()["message"]["content"], (told["input_tokens"], told["output_tokens"])
        )
    frames = re.findall(r"^data: (\{.*)$", answer.text, re.M)
    return Said("".join(json.loads(frame)["content"] for frame in frames), None)


def by_ollama(server: Served, session: str, stream: bool) -> Said:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    with ollama.Client(host=server.url, headers={"X-Session-ID": session}) as client:
        answer: Any = client.chat("echo", messages, stream=stream)
        pieces = list(answer) if stream else [answer]
    text = "".join(piece.message.content or "" for piece in pieces)
    return Said(text, (pieces[-1].prompt_eval_count or 0, pieces[-1].eval_count or 0))


def by_ollama_generate(server: Served, session: str, stream: bool) -> Said:
    with ollama.Client(host=server.url, headers={"X-Session-ID": session}) as client:
        answer: Any = client.generate("echo", ASKED, system=SYSTEM, stream=stream)
        pieces = list(answer) if stream else [answer]
    text = "".join(piece.response or "" for piece in pieces)
    return Said(text, (pieces[-1].prompt_eval_count or 0, pieces[-1].eval_count or 0))


DIALECTS: dict[str, Speak] = {
    "openai": by_openai,
    "host": by_host,
    "brenda": by_brenda,
    "ollama": by_ollama,
    "ollama-generate": by_ollama_generate,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_says_the_same(server: Served, dialect: str, stream: bool):
    session = f"{dialect}-{stream}"
    said = DIALECTS[dialect](server, session, stream)
    assert said.text == "echo: one two three"
    assert said.usage in {(5, 4), None}
    [row] = server.rows(session=session)
    spoken = dialect.partition("-")[0]
    assert (row.dialect, row.model, row.task, row.status) == (spoken, "echo", "chat", "ok")
    assert (row.input_tokens, row.output_tokens) == (5, 4)
    assert row.output == said.text
    assert row.input == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": ASKED},
    ]


# Golden transcripts -------------------------------------------------------------------------------

HI = [{"role": "user", "content": "hi"}]
ONE: dict[str, Any] = {
    "model": "echo",
    "max_tokens": 1,
}  # one token is one piece, whatever the speed
PREDICT = {"options": {"num_predict": 1}}
TRANSCRIPTS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "openai_models": ("GET", "/v1/models", None),
    "openai_model": ("GET", "/v1/models/echo", None),
    "openai_chat": ("POST", "/v1/chat/completions", {**ONE, "messages": HI}),
    "openai_chat_stream": ("POST", "/v1/chat/completions", {**ONE, "messages": HI, "stream": True}),
    "openai_chat_stream_usage": (
        "POST",
        "/v1/chat/completions",
        {**ONE, "messages": HI, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "openai_completion": ("POST", "/v1/completions", {**ONE, "prompt": "hi"}),
    "openai_completion_stream": (
        "POST",
        "/v1/completions",
        {**ONE, "prompt": "hi", "stream": True},
    ),
    "openai_unknown_model": ("POST", "/v1/chat/completions", {"model": "x", "messages": HI}),
    "openai_bad_body": ("POST", "/v1/chat/completions", {"model": "echo", "messages": "hi"}),
    "host_models": ("GET", "/api/v1/ai/models", None),
    "host_ask_sync": ("POST", "/api/v1/ai/ask_sync", {"agent": "echo", "content": "hi"}),
    "host_ask_async": ("POST", "/api/v1/ai/ask_async", {"agent": "echo", "content": "hi"}),
    "host_unknown_model": ("POST", "/api/v1/ai/ask_sync", {"agent": "x", "content": "hi"}),
    "ollama_chat": ("POST", "/api/chat", {"model": "echo", "messages": HI, "stream": False}),
    "ollama_chat_stream": ("POST", "/api/chat", {"model": "echo", "messages": HI, **PREDICT}),
    "ollama_generate": (
        "POST",
        "/api/generate",
        {"model": "echo", "prompt": "hi", "stream": False},
    ),
    "ollama_generate_stream": (
        "POST",
        "/api/generate",
        {"model": "echo", "prompt": "hi", **PREDICT},
    ),
    "ollama_load": ("POST", "/api/generate", {"model": "echo"}),
    "ollama_tags": ("GET", "/api/tags", None),
    "ollama_ps": ("GET", "/api/ps", None),
    "ollama_show": ("POST", "/api/show", {"model": "echo"}),
    "ollama_version": ("GET", "/api/version", None),
    "ollama_unknown_model": ("POST", "/api/chat", {"model": "x", "messages": HI}),
    "ollama_bad_body": ("POST", "/api/chat", {"model": "echo", "messages": "hi"}),
    "ollama_no_copy": ("POST", "/api/copy", {"source": "echo", "destination": "x"}),
    "brenda_models": ("GET", "/v1/ai/models", None),
    "brenda_load": ("POST", "/v1/ai/load_model", {"model_name": "echo"}),
    "brenda_generate": ("POST", "/v1/ai/generate", {**ONE, "messages": HI}),
    "brenda_generate_stream": ("POST", "/v1/ai/generate", {**ONE, "messages": HI, "stream": True}),
    "brenda_session": ("GET", "/v1/ai/session", None),
    "brenda_stop": ("POST", "/v1/ai/stop", None),
    "brenda_bad_body": ("POST", "/v1/ai/generate", {"model": "echo"}),
    "chatvlm_root": ("GET", "/", None),
    "chatvlm_health": ("GET", "/health", None),
    "chatvlm_models": ("GET", "/models", None),
    "chatvlm_unload_unknown": ("DELETE", "/models/x", None),
    "not_found": ("GET", "/v1/nothing", None),
    "wrong_method": ("GET", "/v1/ai/generate", None),
}
SHOWN = ("content-type", "transfer-encoding", "retry-after", "x-session-id", "allow")
CHANGING = [
    (r'"id":"(chatcmpl|cmpl)-[0-9a-f]+"', r'"id":"\1-ID"'),
    (r'"created":\d{6,}', '"created":TIME'),
    (r'"(processing_time|load_time)":[\d.e-]+', r'"\1":SECONDS'),
    (r'"time":"[^"]+"', '"time":"TIME"'),
    (r'"(version|atelier)":"[^"]+"', r'"\1":"VERSION"'),
    (r'"(created_at|expires_at)":"[^"]+"', r'"\1":"TIME"'),
    (r'"(\w+_duration)":\d+', r'"\1":NANOSECONDS'),
    (r'("model":"echo:latest","size":)\d+', r"\1BYTES"),
    (r"fp_atelier_[\d.]+", "fp_atelier_VERSION"),
]


def transcript(answer: httpx.Response) -> str:
    """An answer as text, without what differs from run to run."""
    head = [f"{answer.status_code}"]
    head += [f"{name}: {answer.headers[name]}" for name in SHOWN if name in answer.headers]
    body = answer.content.decode()
    for pattern, plain in CHANGING:
        body = re.sub(pattern, plain, body)
    return "\n".join(head) + "\n\n" + body


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_golden(server: Served, name: str):
    httpx.post(f"{server.url}/v1/ai/load_model", json={"model_name": "echo"})
    httpx.delete(f"{server.url}/models/echo-batch")
    method, path, body = TRANSCRIPTS[name]
    url = f"{server.url}{path}"
    got = transcript(httpx.request(method, url, json=body, headers={"X-Session-ID": "golden"}))
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(got, encoding="utf-8")
    assert got == file.read_text(encoding="utf-8")


def test_no_golden_is_left_over():
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(TRANSCRIPTS)
