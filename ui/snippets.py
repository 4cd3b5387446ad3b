"""The last call as code: curl, the `openai` package and `gradio_client`. Knows no component."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPENAI_OWN = frozenset({"temperature", "top_p", "max_tokens", "seed", "stop"})


@dataclass(frozen=True, slots=True)
class Call:
    """A chat call as its caller would write it.

    Args:
        base: the page's address without a slash at its end.
        messages: `{"role", "content"}` each, oldest first, the system prompt among them.
        options: the parameters that were set, by their field names in `ChatRequest`.
        token: True when the server wants a bearer token; the code then reads ATELIER_TOKEN.
    """

    base: str
    model: str
    messages: Sequence[Mapping[str, str]]
    options: Mapping[str, Any] = field(default_factory=dict)
    token: bool = False


def curl(call: Call) -> str:
    """A shell command that streams the answer from the OpenAI dialect."""
    body = {
        "model": call.model,
        "messages": [dict(m) for m in call.messages],
        **call.options,
        "stream": True,
    }
    text = json.dumps(body, ensure_ascii=False, indent=2)
    lines = [f"curl -N {shlex.quote(call.base + '/v1/chat/completions')}"]
    if call.token:
        lines.append('-H "Authorization: Bearer $ATELIER_TOKEN"')
    lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(text)}"]
    return " \\\n  ".join(lines)


def openai(call: Call) -> str:
    """A Python script on the `openai` package."""
    own = {k: v for k, v in call.options.items() if k in OPENAI_OWN}
    extra = {k: v for k, v in call.options.items() if k not in OPENAI_OWN}
    key = 'os.environ["ATELIER_TOKEN"]' if call.token else '"none"'
    arguments = [
        _argument("model", call.model),
        _argument("messages", [dict(m) for m in call.messages]),
        *(_argument(name, value) for name, value in own.items()),
        *([_argument("extra_body", extra)] if extra else []),
        _argument("stream", True),
    ]
    return "\n".join(
        [
            *(["import os", ""] if call.token else []),
            "from openai import OpenAI",
            "",
            f"client = OpenAI(base_url={_literal(call.base + '/v1', 0)}, api_key={key})",
            "stream = client.chat.completions.create(",
            *arguments,
            ")",
            "for chunk in stream:",
            "    if chunk.choices:",
            '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
        ]
    )


def gradio(call: Call) -> str:
    """A Python script on `gradio_client`."""
    system = [m["content"] for m in call.messages if m["role"] == "system"]
    turns = [dict(m) for m in call.messages if m["role"] != "system"]
    headers = (
        ', headers={"Authorization": "Bearer " + os.environ["ATELIER_TOKEN"]}' if call.token else ""
    )
    arguments = [
        _argument("message", turns[-1]["content"] if turns else ""),
        *([_argument("history", turns[:-1])] if turns[:-1] else []),
        _argument("model", call.model),
        *([_argument("system", system[0])] if system else []),
        *(_argument(name, value) for name, value in call.options.items()),
        _argument("api_name", "/chat"),
    ]
    return "\n".join(
        [
            *(["import os", ""] if call.token else []),
            "from gradio_client import Client",
            "",
            f"client = Client({_literal(call.base + '/', 0)}{headers})",
            "answer = client.predict(",
            *arguments,
            ")",
            "print(answer)",
        ]
    )


def _argument(name: str, value: Any) -> str:
    """One keyword argument on its own lines."""
    return f"    {name}={_literal(value, 1)},"


def _literal(value: Any, depth: int) -> str:
    """A value as Python source, a message a line. JSON's strings are Python's as well."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = (f"{_literal(k, depth)}: {_literal(v, depth)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return "[" + ", ".join(_literal(item, depth) for item in value) + "]"
        pad = "    " * (depth + 1)
        rows = "".join(f"{pad}{_literal(item, depth + 1)},\n" for item in value)
        return f"[\n{rows}{'    ' * depth}]"
    return repr(value)
