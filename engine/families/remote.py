"""Models on other servers that speak OpenAI's dialect: vLLM, llama.cpp, LM Studio, Ollama, another Atelier.

A catalog row names the server: `family = "remote"`, `lane = "remote"`,
`options = { base_url = "http://host:8000/v1", model = "its name there" }`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import getproxies

import orjson

from engine.errors import (
    AtelierError,
    BadValue,
    InferenceFailed,
    Limited,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.events import Done, Finish, Reasoning, Text, ToolCall
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest, ImagePart, Message, TextPart
from engine.settings import Settings

SPECS: tuple[ModelSpec, ...] = ()
CONNECT_SECONDS = 5.0
FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


def load(spec: ModelSpec, settings: Settings) -> Remote:
    """A client for the row's server; nothing is sent yet.

    Raises:
        BadValue: the row names no server.
    """
    base_url = str(spec.options.get("base_url", ""))
    if not base_url.startswith(("http://", "https://")):
        raise BadValue(f'{spec.id} needs options.base_url, such as "http://127.0.0.1:8000/v1".')
    key = str(spec.options.get("api_key") or settings.openai_api_key or "none")
    return Remote(spec, base_url.rstrip("/"), key, settings.openai_timeout)


class Remote:
    """One model of one server. Its session lives on the event loop that asks first."""

    def __init__(self, spec: ModelSpec, base_url: str, key: str, patience: float) -> None:
        import aiohttp

        self._spec = spec
        self._base_url = base_url
        self._patience = patience
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=patience),
            connector=aiohttp.TCPConnector(limit=0),
            trust_env=bool(getproxies()),  # proxies only: it also reads ~/.netrc at every request
        )

    async def chat(self, request: ChatRequest, emit: Emit) -> None:
        """Stream an answer from the server.

        Raises:
            Unavailable: it is down or refuses us. InferenceFailed: it broke off in mid-answer.
        """
        import aiohttp

        path = "/completions" if request.prompt is not None else "/chat/completions"
        body = orjson.dumps(_body(request, str(self._spec.options.get("model") or self._spec.id)))
        answering = False
        try:
            async with self._session.post(self._base_url + path, data=body) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read(), self._spec.id)
                answering = True
                await self._relay(response.content.iter_any(), emit)
        except TimeoutError as error:
            raise self._lost(answering, f"fell silent for {self._patience:.0f} s") from error
        except aiohttp.ClientError as error:
            raise self._lost(answering, "broke off in mid-answer") from error

    def _lost(self, answering: bool, how: str) -> AtelierError:
        if answering:
            return InferenceFailed(f"The server of {self._spec.id} {how}. Ask again.")
        return Unavailable(
            f"The server of {self._spec.id} does not answer. Is it running?", retry_after=5
        )

    async def _relay(self, pieces: AsyncIterator[bytes], emit: Emit) -> None:
        finish: Finish | None = None
        calls: dict[int, dict[str, str]] = {}
        async for data in _lines(pieces):
            if data == b"[DONE]":
                finish = finish or "stop"
                break
            chunk = orjson.loads(data)
            if "error" in chunk:
                raise InferenceFailed(f"The server of {self._spec.id} failed in mid-answer.")
            for choice in chunk.get("choices", ()):
                _publish(choice.get("delta") or choice, emit, calls)
                if choice.get("finish_reason"):
                    finish = FINISHES.get(choice["finish_reason"], "stop")
            usage = chunk.get("usage")
            if usage:
                emit.count(
                    input=usage.get("prompt_tokens", 0), output=usage.get("completion_tokens", 0)
                )
        if finish is None:
            raise self._lost(True, "broke off in mid-answer")
        for call in calls.values():
            emit(ToolCall(call["id"], call["name"], call["arguments"]))
        emit(Done(finish))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _publish(delta: dict[str, Any], emit: Emit, calls: dict[int, dict[str, str]]) -> None:
    """Publish one delta; tool calls arrive in pieces and are gathered."""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought:
        emit(Reasoning(thought))
    text = delta.get("content") or delta.get("text")
    if text:
        emit(Text(text))
    for piece in delta.get("tool_calls") or ():
        call = calls.setdefault(piece.get("index", 0), {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = call["id"] or piece.get("id") or ""
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""


def _body(request: ChatRequest, model: str) -> dict[str, Any]:
    """The request in OpenAI's words, and those that other servers added."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        body["messages"] = [_message(message) for message in request.messages]
    named = ("max_tokens", "temperature", "top_p", "seed", "top_k", "min_p", "repetition_penalty")
    body |= {name: value for name in named if (value := getattr(request, name)) is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": tool.model_dump()} for tool in request.tools
        ]
    if request.json_schema is True:
        body["response_format"] = {"type": "json_object"}
    elif request.json_schema:
        schema = {"name": "answer", "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _message(message: Message) -> dict[str, Any]:
    plain = all(isinstance(part, TextPart) for part in message.parts)
    body: dict[str, Any] = {
        "role": message.role,
        "content": message.text if plain else [_part(part) for part in message.parts],
    }
    if message.calls:
        body["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.calls
        ]
    if message.call_id is not None:
        body["tool_call_id"] = message.call_id
    return body


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(part.data).decode()
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def _refusal(status: int, answer: bytes, model: str) -> AtelierError:
    """The other server's status as one of ours; its words are passed on."""
    said = _words(answer)
    if status in {401, 403}:
        return Unavailable(f"The server of {model} refuses our key. Set OPENAI_API_KEY.{said}")
    if status == 404:
        return Unknown(f"The server of {model} does not know it.{said}")
    if status == 413:
        return TooLarge(f"The request is too large for the server of {model}.{said}")
    if status == 429:
        return Limited(f"The server of {model} is busy.{said}", retry_after=5)
    if status < 500:
        return BadValue(f"The server of {model} refuses the request.{said}")
    return Unavailable(f"The server of {model} failed ({status}).{said}", retry_after=5)


def _words(answer: bytes) -> str:
    """What an error body says, in whichever of the usual shapes."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return ""
    error = body.get("error", body) if isinstance(body, dict) else body
    words = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return f" It says: {str(words)[:500]}" if words else ""
