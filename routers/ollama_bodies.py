"""The bodies of the Ollama dialect, and the engine's requests they ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field

from engine import BadValue, Call, ChatRequest, EmbedRequest, Message
from routers.bodies import (
    Body,
    Declared,
    Lenient,
    Strict,
    build,
    parts_of,
    seconds_of,
    shown,
    tool_of,
)

Think = bool | Literal["low", "medium", "high"] | None
Role = Literal["system", "user", "assistant", "tool"]
ROLES = {"developer": "system"}
# Options whose words differ from ours; what is not in `Options` is ignored and named.
WORDS = {
    "num_predict": "max_tokens",
    "num_ctx": "context",
    "repeat_penalty": "repetition_penalty",
}


def _plain(role: Any) -> Any:
    """A role as Ollama reads it: in any case."""
    return ROLES.get(role.lower(), role.lower()) if isinstance(role, str) else role


class _Function(Lenient):
    name: str
    arguments: dict[str, Any] | str | None = None


class _Calling(Lenient):
    id: str | None = None
    function: _Function


class _Turn(Lenient):
    role: Annotated[Role, BeforeValidator(_plain)]
    content: str | None = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Calling] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    name: str | None = None


class _Offered(Lenient):
    type: str | None = "function"
    function: Declared


class Options(Strict):
    """Ollama's `options`, as far as something reads them."""

    model_config = ConfigDict(extra="allow")

    num_predict: int | None = None
    num_ctx: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def sampling(self) -> dict[str, Any]:
        """The fields of a `ChatRequest` that were given; Ollama's numbers for "no limit" are left out."""
        given = {
            WORDS.get(name, name): value
            for name in type(self).model_fields
            if name != "stop" and (value := getattr(self, name)) is not None
        }
        for name in ("max_tokens", "context"):
            if given.get(name, 1) < 1:
                del given[name]
        if given.get("seed") == -1:
            del given["seed"]
        if "top_k" in given:
            given["top_k"] = max(0, given["top_k"])
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return given | {"stop": stop}


class _Asking(Body):
    """What every inference body holds."""

    model: str = Field("", description="A model's name; empty: the default.")
    options: Options | None = None
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )

    def unread(self) -> tuple[str, ...]:
        """Fields and options that nothing reads."""
        extra = self.options.model_extra or {} if self.options else {}
        return self.ignored("ollama", *(f"options.{name}" for name in list(extra)[:20]))


class _Completing(_Asking):
    """What both completion bodies hold."""

    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    def common(self) -> dict[str, Any]:
        """The fields of a `ChatRequest` that do not depend on where the text comes from."""
        sampling = self.options.sampling() if self.options else {}
        told = self.top_logprobs or 0 if self.logprobs else None
        return sampling | {
            "keep_alive": seconds_of(self.keep_alive),
            "json_schema": _schema(self.format),
            "think": self.think,
            "logprobs": told,
        }


class ChatBody(_Completing):
    """The body of `/api/chat`."""

    model_config = shown(
        {
            "model": "starter-chat",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": False,
        }
    )

    messages: list[_Turn] | None = None
    tools: list[_Offered] | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is asked: it only loads or unloads the model."""
        return not self.messages


class GenerateBody(_Completing):
    """The body of `/api/generate`."""

    model_config = shown(
        {"model": "starter-chat", "prompt": "Hello", "stream": False, "options": {"seed": 1}}
    )

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is asked: it only loads or unloads the model."""
        return not self.prompt


class EmbedBody(_Asking):
    """The body of `/api/embed`."""

    model_config = shown({"model": "starter-embed", "input": ["Why is the sky blue?"]})

    input: str | list[str] | None = None
    dimensions: int | None = None
    truncate: bool = True


class OldEmbedBody(_Asking):
    """The body of `/api/embeddings`, which `/api/embed` replaced."""

    model_config = shown({"model": "starter-embed", "prompt": "Why is the sky blue?"})

    prompt: str | None = None


# Parsing ------------------------------------------------------------------------------------------


def parse_chat(body: ChatBody, model: str | None) -> ChatRequest:
    """The request a chat body asks for, of the model with this id. Raises BadValue."""
    turns = body.messages or []
    ids = _call_ids(turns)
    return build(
        ChatRequest,
        model=model,
        messages=tuple(_message(turn, n, ids[n]) for n, turn in enumerate(turns)),
        tools=tuple(tool_of(offered.function) for offered in body.tools or ()),
        **body.common(),
    )


def parse_generate(body: GenerateBody, model: str | None) -> ChatRequest:
    """The request a generate body asks for.

    Raises:
        BadValue: it asks for what cannot be given: a template of its own, a suffix, token ids.
    """
    _refuse(body)
    common = body.common()
    if body.raw:
        return build(ChatRequest, model=model, prompt=body.prompt, **common)
    system = [Message.of("system", body.system)] if body.system else []
    message = build(Message, role="user", parts=parts_of(body.prompt, body.images))
    return build(ChatRequest, model=model, messages=(*system, message), **common)


def _refuse(body: GenerateBody) -> None:
    if body.raw and (body.template or body.system or body.context):
        raise BadValue("raw mode does not support template, system, or context", param="raw")
    if body.raw and body.images:
        raise BadValue("raw mode does not support images. Use /api/chat.", param="images")
    if body.template:
        raise BadValue(
            "template: a model keeps its own chat template here. Leave it out, or write the whole "
            "prompt yourself and send it with raw: true.",
            param="template",
        )
    if body.suffix:
        raise BadValue(
            "suffix: models here do not support insert. Leave it out, or write the model's own "
            "fill-in-the-middle marks into the prompt and send it with raw: true.",
            param="suffix",
        )
    if body.context:
        raise BadValue(
            "context: token ids of an earlier answer are not kept here. Use /api/chat and send the "
            "earlier messages.",
            param="context",
        )


def parse_embed(body: EmbedBody | OldEmbedBody, model: str | None) -> EmbedRequest | None:
    """The request an embedding body asks for; None: it holds no text and only loads the model."""
    given = body.input if isinstance(body, EmbedBody) else body.prompt
    texts = [given] if isinstance(given, str) else given or []
    if not texts or given == "":
        return None
    size = body.dimensions if isinstance(body, EmbedBody) else None
    return build(
        EmbedRequest,
        model=model,
        texts=tuple(texts),
        keep_alive=seconds_of(body.keep_alive),
        truncate=body.truncate if isinstance(body, EmbedBody) else True,
        **({"dimensions": size} if size else {}),
    )


def _schema(form: str | dict[str, Any] | None) -> dict[str, Any] | Literal[True] | None:
    """What `format` asks for: nothing, any JSON, or JSON of a schema."""
    if not form:
        return None
    if isinstance(form, dict):
        return form
    if form == "json":
        return True
    raise BadValue(
        f"invalid format: '{form[:100]}'; expected \"json\" or a JSON schema", param="format"
    )


def _call_ids(turns: list[_Turn]) -> list[list[str]]:
    """For each turn the ids of its calls, or of the call it answers.

    Ollama's calls need no ids: an answer names the tool, or simply follows in order.
    """
    ids: list[list[str]] = []
    waiting: list[tuple[str, str]] = []  # (id, tool) of calls without an answer yet
    for n, turn in enumerate(turns):
        own: list[str] = []
        if turn.role == "assistant":
            own = [call.id or f"call_{n}_{m}" for m, call in enumerate(turn.tool_calls or ())]
            waiting += [
                (call_id, call.function.name)
                for call_id, call in zip(own, turn.tool_calls or (), strict=True)
            ]
        elif turn.role == "tool":
            own = [turn.tool_call_id or _answered(turn.tool_name or turn.name, waiting, n)]
            waiting = [pair for pair in waiting if pair[0] != own[0]]
        ids.append(own)
    return ids


def _answered(tool: str | None, waiting: list[tuple[str, str]], turn: int) -> str:
    """The id of the call that a tool's turn answers: the first of that tool, else the first of all."""
    named = [call_id for call_id, name in waiting if name == tool]
    return next(iter([*named, *(call_id for call_id, _ in waiting)]), f"call_{turn}")


def _message(turn: _Turn, index: int, ids: list[str]) -> Message:
    calls = zip(ids, turn.tool_calls or (), strict=False) if turn.role == "assistant" else ()
    return build(
        Message,
        role=turn.role,
        parts=parts_of(turn.content, turn.images, f"messages.{index}."),
        calls=tuple(
            Call(id=call_id, name=call.function.name, arguments=_arguments(call.function.arguments))
            for call_id, call in calls
        ),
        call_id=ids[0] if turn.role == "tool" else None,
        reasoning=turn.thinking or "",
    )


def _arguments(given: dict[str, Any] | str | None) -> str:
    return given if isinstance(given, str) else orjson.dumps(given or {}).decode()
