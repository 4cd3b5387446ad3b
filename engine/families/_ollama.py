"""Ollama's own dialect spoken to another server: /api/chat, /api/generate, /api/embed, loading and unloading."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.errors import BadValue
from engine.events import Done, Finish, Reasoning, Text, ToolCall
from engine.families._media import sounds
from engine.families._openai import logprob_of, publish_vectors, text_of, tools_of
from engine.families._upstream import Upstream
from engine.pictures import portable
from engine.registry import Emit, ModelSpec, RemoteEmit
from engine.requests import ChatRequest, EmbedRequest, ImagePart, Message, Request

# ours: theirs
OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "max_tokens": "num_predict",
    "context": "num_ctx",
    "repetition_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
UNLOAD_PAUSE, UNLOAD_LOOKS = 0.05, 200  # seconds between two looks whether it is gone; how many
ANSWER_SECONDS = 10.0  # for calls that only ask what is there


class Ollama:
    """One model of one Ollama server.

    Its dialect has no words for `tool_choice`, `parallel_tool_calls` and `logit_bias`; they are not sent.
    """

    def __init__(self, spec: ModelSpec, upstream: Upstream) -> None:
        self._upstream = upstream
        self._model = str(spec.options.get("model") or spec.id)
        self._embeds = "chat" not in spec.does
        # the row's own, such as num_ctx; what a request says goes before them
        self._options: Mapping[str, Any] = spec.options.get("options") or {}

    async def chat(self, request: ChatRequest, emit: RemoteEmit) -> None:
        """Stream an answer from the server. Errors are those of `Upstream.stream`."""
        path = "/api/generate" if request.prompt is not None else "/api/chat"
        body = body_of(await portable(request), self._model, self._options)
        await self._upstream.stream(path, body, Answer(emit, self._upstream))

    async def embed(self, request: EmbedRequest, emit: Emit) -> None:
        """One vector for each text. Errors are those of `Upstream.ask`."""
        body = {"model": self._model, "input": list(request.texts), **_keep(request)}
        body["truncate"] = request.truncate
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if self._options:
            body["options"] = dict(self._options)
        answer = await self._upstream.ask("/api/embed", body) or {}
        emit.count(input=answer.get("prompt_eval_count") or 0)
        publish_vectors(answer.get("embeddings") or [], request, emit, self._upstream.title)

    async def warm(self, keep_alive: float | None = None) -> None:
        """Have the server load the model now, for `keep_alive` seconds after its last use."""
        body: dict[str, Any] = {"model": self._model, "stream": False}
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        if self._embeds:  # a model without text has no other way in
            await self._upstream.ask("/api/embed", body | {"input": "."})
            return
        if self._options:
            body["options"] = dict(self._options)
        await self._upstream.ask("/api/generate", body)

    async def unload(self) -> bool:
        """Have the server unload the model, and wait until it has. False: it was not loaded there."""
        if not await self._is_held():
            return False
        body = {"model": self._model, "keep_alive": 0, "stream": False}
        await self._upstream.ask("/api/generate", body, seconds=ANSWER_SECONDS)
        for _ in range(UNLOAD_LOOKS):
            if not await self._is_held():
                break
            await asyncio.sleep(UNLOAD_PAUSE)
        return True

    async def _is_held(self) -> bool:
        running = await self._upstream.ask("/api/ps", seconds=ANSWER_SECONDS) or {}
        names = {row.get(key) for row in running.get("models") or () for key in ("name", "model")}
        return bool(names & {self._model, f"{self._model}:latest"})

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()


@dataclass(slots=True)
class Answer:
    """A streamed answer being read: lines of JSON in, our events out."""

    emit: RemoteEmit
    upstream: Upstream
    begun: bool = False
    over: bool = False
    _counted: int = 0
    _calls: int = 0

    def take(self, line: bytes) -> None:
        """Read one line, a JSON object."""
        if not line.strip():
            return
        chunk = orjson.loads(line)
        if not isinstance(chunk, dict) or "error" in chunk:
            raise self.upstream.failed(str(chunk["error"] if isinstance(chunk, dict) else chunk))
        self._said(chunk.get("message") or chunk, chunk.get("logprobs"))
        if chunk.get("done"):
            self._finish(chunk)

    def end(self) -> bool:
        """False: the last line says that it is the last."""
        return False

    def _said(self, said: dict[str, Any], told: Any) -> None:
        if thought := said.get("thinking"):
            self._tick()
            self.emit(Reasoning(thought))
        if text := said.get("content") or said.get("response"):
            self._tick()
            self.emit(Text(text, tuple(map(logprob_of, told))) if told else Text(text))
        for call in said.get("tool_calls") or ():
            self._tick()
            self._call(call)

    def _tick(self) -> None:
        """A piece is a token until the server says how many there were, so a stopped one is billed."""
        self.begun = True
        self._counted += 1
        self.emit.count(output=1)

    def _call(self, call: dict[str, Any]) -> None:
        function = call.get("function") or {}
        arguments = function.get("arguments") or {}
        name = call.get("id") or f"call_{self._calls}"
        self._calls += 1
        self.emit(
            ToolCall(
                name,
                str(function.get("name") or ""),
                arguments if isinstance(arguments, str) else text_of(arguments),
            )
        )

    def _finish(self, chunk: dict[str, Any]) -> None:
        self.over = True
        made = chunk.get("eval_count") or 0
        self.emit.count(input=chunk.get("prompt_eval_count") or 0, output=made - self._counted)
        end: Finish = "length" if chunk.get("done_reason") == "length" else "stop"
        self.emit(Done("tool_calls" if self._calls and end == "stop" else end))


def body_of(request: ChatRequest, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request in Ollama's words.

    `truncate` is off: a conversation that is too long is refused, as it is by our own models; Ollama
    would drop its oldest messages and not say so.

    Raises:
        BadValue: a message holds a recording, which this dialect cannot carry.
    """
    chosen = dict(options) | {
        theirs: value
        for ours, theirs in OPTIONS.items()
        if (value := getattr(request, ours)) is not None
    }
    if request.stop:
        chosen["stop"] = list(request.stop)
    body: dict[str, Any] = {"model": model, "stream": True, "truncate": False, **_keep(request)}
    if request.prompt is not None:
        body |= {"prompt": request.prompt, "raw": True}
    else:
        body["messages"] = _messages(request.messages)
    if chosen:
        body["options"] = chosen
    if request.json_schema is not None:
        body["format"] = "json" if request.json_schema is True else request.json_schema
    if request.tools:
        body["tools"] = tools_of(request)
    if request.think is not None:
        body["think"] = request.think
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    return body


def _keep(request: Request) -> dict[str, Any]:
    """Seconds, as a number; without it the server's own habit holds."""
    return {} if request.keep_alive is None else {"keep_alive": request.keep_alive}


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    names = {call.id: call.name for message in messages for call in message.calls}
    return [_message(message, names) for message in messages]


def _message(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    if sounds(message):
        raise BadValue(
            "Ollama's dialect carries no sound. Leave the recording out or choose another model.",
            param="messages",
        )
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    pictures = [part.data for part in message.parts if isinstance(part, ImagePart)]
    if pictures:
        body["images"] = [base64.b64encode(data).decode() for data in pictures]
    if message.reasoning:
        body["thinking"] = message.reasoning
    if message.calls:
        body["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": _object(call.arguments)}}
            for call in message.calls
        ]
    if message.call_id is not None:
        body["tool_call_id"] = message.call_id
        if message.call_id in names:
            body["tool_name"] = names[message.call_id]
    return body


def _object(arguments: str) -> dict[str, Any]:
    """A call's arguments as Ollama wants them. BadValue where they are no JSON object."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise BadValue("A tool call's arguments must be a JSON object.", param="messages")
    return value
