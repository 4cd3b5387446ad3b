"""Models on other servers that speak OpenAI's dialect: vLLM, llama.cpp, LM Studio, Ollama, another Atelier.

A catalog row names the server: `family = "remote"`, `lane = "remote"`,
`options = { base_url = "http://host:8000/v1", model = "its name there" }`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

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
    import openai

    base_url = str(spec.options.get("base_url", ""))
    if not base_url.startswith(("http://", "https://")):
        raise BadValue(f'{spec.id} needs options.base_url, such as "http://127.0.0.1:8000/v1".')
    client = openai.AsyncOpenAI(
        base_url=base_url,
        api_key=str(spec.options.get("api_key") or settings.openai_api_key or "none"),
        max_retries=0,
        timeout=openai.Timeout(settings.openai_timeout, connect=CONNECT_SECONDS),
    )
    return Remote(spec, client, settings.openai_timeout)


class Remote:
    """One model of one server."""

    def __init__(self, spec: ModelSpec, client: Any, patience: float) -> None:
        self._spec = spec
        self._client = client
        self._patience = patience

    async def chat(self, request: ChatRequest, emit: Emit) -> None:
        """Stream an answer from the server.

        Raises:
            Unavailable: it is down or slow. InferenceFailed: it broke off in mid-answer.
        """
        import openai

        create = self._client.chat.completions.with_streaming_response.create
        if request.prompt is not None:
            create = self._client.completions.with_streaming_response.create
        try:
            async with create(**_body(request, self._name)) as response:
                await self._relay(response.iter_bytes(), emit)
        except openai.APIStatusError as error:
            raise _refusal(error, self._spec.id) from error
        except (openai.APIConnectionError, TimeoutError) as error:
            raise Unavailable(
                f"The server of {self._spec.id} does not answer. Is it running?", retry_after=5
            ) from error

    @property
    def _name(self) -> str:
        return str(self._spec.options.get("model") or self._spec.id)

    async def _relay(self, pieces: AsyncIterator[bytes], emit: Emit) -> None:
        finish: Finish = "stop"
        calls: dict[int, dict[str, str]] = {}
        ended = False
        async for data in _lines(self._patient(pieces)):
            if data == b"[DONE]":
                ended = True
                break
            chunk = orjson.loads(data)
            if "error" in chunk:
                raise InferenceFailed(f"The server of {self._spec.id} reported an error in mid-answer.")
            for choice in chunk.get("choices", ()):
                _publish(choice.get("delta") or choice, emit, calls)
                if choice.get("finish_reason"):
                    finish, ended = FINISHES.get(choice["finish_reason"], "stop"), True
            usage = chunk.get("usage")
            if usage:
                emit.count(
                    input=usage.get("prompt_tokens", 0), output=usage.get("completion_tokens", 0)
                )
        if not ended:
            raise InferenceFailed(f"The server of {self._spec.id} broke off in mid-answer. Ask again.")
        for call in calls.values():
            emit(ToolCall(call["id"], call["name"], call["arguments"]))
        emit(Done(finish))

    async def _patient(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces, each within the time limit between two of them."""
        source = aiter(pieces)
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    piece = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise InferenceFailed(
                    f"The server of {self._spec.id} fell silent for {self._patience:.0f} s."
                ) from None
            except Exception as error:  # the HTTP library's own zoo of broken connections
                raise InferenceFailed(
                    f"The connection to the server of {self._spec.id} broke in mid-answer. Ask again."
                ) from error
            yield piece

    async def close(self) -> None:
        await self._client.close()


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
    """The request in OpenAI's words; what OpenAI has no word for goes into extra_body."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        body["messages"] = [_message(message) for message in request.messages]
    named = ("max_tokens", "temperature", "top_p", "seed")
    body |= {name: value for name in named if (value := getattr(request, name)) is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools:
        body["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
    if request.json_schema is True:
        body["response_format"] = {"type": "json_object"}
    elif request.json_schema:
        schema = {"name": "answer", "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    extra = ("top_k", "min_p", "repetition_penalty")
    body["extra_body"] = {
        name: value for name in extra if (value := getattr(request, name)) is not None
    }
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


def _refusal(error: Any, model: str) -> AtelierError:
    """The other server's status as one of ours; its words are passed on."""
    body = error.body if isinstance(error.body, dict) else {}
    words = str(body.get("message") or body.get("detail") or "")[:500]
    said = f" It says: {words}" if words else ""
    status = error.status_code
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
