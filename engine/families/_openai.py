"""OpenAI's dialect spoken to another server: vLLM, llama.cpp, LM Studio, a cloud, another Atelier."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.errors import InferenceFailed
from engine.events import Done, Finish, Reasoning, Text, TokenLogprob, ToolCall, Vector
from engine.families._media import sound_type
from engine.families._upstream import Upstream, words_of
from engine.pictures import media_type, portable
from engine.registry import Emit, ModelSpec, RemoteEmit
from engine.requests import ChatRequest, EmbedRequest, ImagePart, Message, TextPart

FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
SAMPLING = (
    "temperature", "top_p", "seed", "top_k", "min_p", "repetition_penalty",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip


class OpenAI:
    """One model of one server that speaks OpenAI's dialect."""

    def __init__(self, spec: ModelSpec, upstream: Upstream) -> None:
        self._upstream = upstream
        self._model = str(spec.options.get("model") or spec.id)

    async def chat(self, request: ChatRequest, emit: RemoteEmit) -> None:
        """Stream an answer from the server. Errors are those of `Upstream.stream`."""
        path = "/completions" if request.prompt is not None else "/chat/completions"
        body = body_of(await portable(request), self._model)
        if "api.openai.com" in self._upstream.url and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        await self._upstream.stream(path, body, Answer(emit, self._upstream))

    async def embed(self, request: EmbedRequest, emit: Emit) -> None:
        """One vector for each text. Errors are those of `Upstream.ask`."""
        body: dict[str, Any] = {"model": self._model, "input": list(request.texts)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        answer = await self._upstream.ask("/embeddings", body) or {}
        rows = sorted(answer.get("data") or (), key=lambda row: row.get("index", 0))
        vectors = [row.get("embedding") for row in rows]
        usage = answer.get("usage") or {}
        emit.count(input=usage.get("prompt_tokens") or 0)
        publish_vectors(vectors, request, emit, self._upstream.title)

    async def warm(self, keep_alive: float | None = None) -> None:
        """Nothing: these servers load at their own start."""

    async def unload(self) -> bool:
        """False: this dialect has no word for it."""
        return False

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()


def publish_vectors(vectors: list[Any], request: EmbedRequest, emit: Emit, title: str) -> None:
    """Emit the vectors and the end. InferenceFailed where there is not one for each text."""
    if len(vectors) != len(request.texts) or not all(isinstance(v, list) and v for v in vectors):
        raise InferenceFailed(f"{title} did not give a vector for each text. Ask again.")
    for index, values in enumerate(vectors):
        emit(Vector(index, tuple(map(float, values))))
    emit(Done())


@dataclass(slots=True)
class Answer:
    """A streamed answer being read: server-sent events in, our events out."""

    emit: RemoteEmit
    upstream: Upstream
    begun: bool = False
    over: bool = False
    _end: Finish | None = None
    _counted: int = 0
    _calls: list[dict[str, Any]] = field(default_factory=list)

    def take(self, line: bytes) -> None:
        """Read one line; anything but data is a comment or an event's name."""
        if line.startswith(b"data:"):
            data = line[5:].strip()
        elif line.startswith(b"{"):  # a whole answer in place of a stream, or a bare error
            data = line
        else:
            return
        if data == b"[DONE]":
            self._finish()
            return
        chunk = orjson.loads(data)
        if not isinstance(chunk, dict) or chunk.get("error") or chunk.get("object") == "error":
            raise self.upstream.failed(words_of(data))
        for choice in chunk.get("choices") or ():
            self._choice(choice)
        if usage := chunk.get("usage"):
            self._count(usage)

    def end(self) -> bool:
        """Some servers send no [DONE]; their last choice says how it ended."""
        if self._end is not None:
            self._finish()
        return self.over

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message") or choice
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            self._tick()
            self.emit(Reasoning(thought))
        text = delta.get("content") or delta.get("text")
        if text:
            told = choice.get("logprobs")
            self._tick()
            self.emit(Text(text, _logprobs(told)) if told else Text(text))
        for piece in delta.get("tool_calls") or ():
            self._tick()
            self._gather(piece)
        if choice.get("finish_reason"):
            self._end = FINISHES.get(choice["finish_reason"], "stop")

    def _tick(self) -> None:
        """A piece is a token until the server says how many there were, so a stopped one is billed."""
        self.begun = True
        self._counted += 1
        self.emit.count(output=1)

    def _count(self, usage: dict[str, Any]) -> None:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        made = usage.get("completion_tokens") or 0
        self.emit.count(
            input=usage.get("prompt_tokens") or 0,
            output=made - self._counted,
            cached=cached,
            reasoning=thought,
        )
        self._counted = made

    def _gather(self, piece: dict[str, Any]) -> None:
        """Tool calls arrive in pieces; some servers number them all 0, some not at all."""
        index, name = piece.get("index"), piece.get("id") or ""
        known = [c for c in self._calls if index is None or c["index"] == index][-1:]
        if not known or (name and known[0]["id"] and name != known[0]["id"]):
            known = [{"index": index, "id": name, "name": "", "arguments": ""}]
            self._calls += known
        call, function = known[0], piece.get("function") or {}
        arguments = function.get("arguments") or ""
        call["id"] = call["id"] or name
        call["name"] += function.get("name") or ""
        call["arguments"] += arguments if isinstance(arguments, str) else text_of(arguments)

    def _finish(self) -> None:
        """Emit the gathered calls and the end; a call that the token limit cut off is left out."""
        self.over = True
        end = self._end or "stop"
        whole = [c for c in self._calls if end != "length" or is_json(c["arguments"])]
        for number, call in enumerate(whole):
            self.emit(ToolCall(call["id"] or f"call_{number}", call["name"], call["arguments"]))
        self.emit(Done("tool_calls" if whole and end == "stop" else end))


def text_of(value: Any) -> str:
    """JSON text."""
    return orjson.dumps(value).decode()


def is_json(text: str) -> bool:
    """True for a whole JSON text."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def logprob_of(row: dict[str, Any]) -> TokenLogprob:
    """A token as OpenAI's and Ollama's dialects both tell it."""
    token = str(row.get("token", ""))
    raw = row.get("bytes")
    return TokenLogprob(
        token,
        float(row.get("logprob") or 0.0),
        bytes(raw) if raw is not None else token.encode(),
        tuple(logprob_of(one) for one in row.get("top_logprobs") or ()),
    )


def _logprobs(told: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    """Of chat (`content`) and of completions (parallel lists)."""
    if told.get("content"):
        return tuple(logprob_of(row) for row in told["content"])
    tops = told.get("top_logprobs") or [None] * len(told.get("tokens") or ())
    return tuple(
        TokenLogprob(
            token, value or 0.0, token.encode(),
            tuple(TokenLogprob(t, v, t.encode()) for t, v in (top or {}).items()),
        )
        for token, value, top in zip(
            told.get("tokens") or (), told.get("token_logprobs") or (), tops, strict=False
        )
    )  # fmt: skip


def body_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """The request in OpenAI's words, and those that other servers added."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chat = request.prompt is None
    if chat:
        body["messages"] = [_message(message) for message in request.messages]
    else:
        body["prompt"] = request.prompt
    named = ("max_tokens", *SAMPLING)
    body |= {name: value for name in named if (value := getattr(request, name)) is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    if request.logprobs is not None:
        counts = {"logprobs": True, "top_logprobs": request.logprobs}
        body |= counts if chat else {"logprobs": request.logprobs}
    return body | _tools(request) | _format(request) | _thinking(request)


def tools_of(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools as both dialects write them."""
    return [{"type": "function", "function": tool.model_dump()} for tool in request.tools]


def _tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    body: dict[str, Any] = {"tools": tools_of(request)}
    if request.tool_choice != "auto":
        body["tool_choice"] = request.tool_choice
    if not request.parallel_tool_calls:
        body["parallel_tool_calls"] = False
    return body


def _format(request: ChatRequest) -> dict[str, Any]:
    if request.json_schema is True:
        return {"response_format": {"type": "json_object"}}
    if request.json_schema:
        schema = {"name": "answer", "schema": request.json_schema}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {}


def _thinking(request: ChatRequest) -> dict[str, Any]:
    """How hard is OpenAI's word; whether at all is vLLM's and llama.cpp's."""
    if isinstance(request.think, str):
        return {"reasoning_effort": request.think}
    if request.think is not None:
        return {"chat_template_kwargs": {"enable_thinking": request.think}}
    return {}


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
        if message.reasoning:  # some servers refuse it where no call follows
            body["reasoning_content"] = message.reasoning
    if message.call_id is not None:
        body["tool_call_id"] = message.call_id
    return body


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(part.data).decode()
    if isinstance(part, ImagePart):
        url = f"data:{media_type(part.data)};base64,{data}"
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "input_audio", "input_audio": {"data": data, "format": sound_type(part.data)}}
