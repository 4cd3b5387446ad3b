"""The bodies of the OpenAI dialect, and the engine's requests they ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine import (
    AudioPart,
    BadValue,
    Call,
    ChatRequest,
    EmbedRequest,
    ImagePart,
    Message,
    TextPart,
    Tool,
)
from routers.bodies import Body, Declared, Lenient, Sampling, build, bytes_of, shown, tool_of

CHOICES = 128
EFFORTS: dict[str, bool | Literal["low", "medium", "high"]] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
    "max": "high",
}  # fmt: skip


class _Url(Lenient):
    url: str


class _Sound(Lenient):
    data: str
    format: str = "wav"


class _Text(Lenient):
    type: Literal["text", "input_text", "refusal"]
    text: str = ""
    refusal: str = ""


class _Picture(Lenient):
    type: Literal["image_url"]
    image_url: _Url | str


class _Recording(Lenient):
    type: Literal["input_audio"]
    input_audio: _Sound


class _Function(Lenient):
    name: str
    arguments: str = ""


class _Calling(Lenient):
    id: str = ""
    function: _Function


class _Turn(Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        str | list[Annotated[_Text | _Picture | _Recording, Field(discriminator="type")]] | None
    ) = None
    tool_calls: list[_Calling] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Offered(Lenient):
    type: Literal["function"] = "function"
    function: Declared


class _Named(Lenient):
    name: str


class _Allowed(Lenient):
    mode: Literal["auto", "required"] = "auto"
    tools: list[_Choice] = Field(default_factory=list)


class _Choice(Lenient):
    """A tool that must be called, or those that may be."""

    type: Literal["function", "allowed_tools"] = "function"
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class _Schema(Lenient):
    name: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class _Format(Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _StreamOptions(Lenient):
    include_usage: bool = False


TokenId = Annotated[int, Field(strict=False)]  # JSON's names are texts


class CommonBody(Sampling):
    """What both completion bodies hold."""

    model: str | None = Field(None, description="A catalog id; absent: the default.")
    n: int | None = Field(None, ge=1, le=CHOICES)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    logit_bias: dict[TokenId, float] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def sampling(self) -> dict[str, Any]:
        """The fields of a `ChatRequest` that were given."""
        names = ("logit_bias", "presence_penalty", "frequency_penalty")
        more = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {**super().sampling(), **more}


class ChatBody(CommonBody):
    """The body of `/v1/chat/completions`."""

    model_config = shown(
        {
            "model": "starter-chat",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": False,
        }
    )

    messages: list[_Turn]
    max_completion_tokens: int | None = None
    response_format: _Format | None = None
    tools: list[_Offered] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = Field(
        None,
        description="none, minimal, low, medium or high: how much a model that reasons should.",
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="`enable_thinking` alone is read of it."
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class CompletionBody(CommonBody):
    """The body of `/v1/completions`."""

    model_config = shown({"model": "starter-chat", "prompt": "Once", "max_tokens": 16})

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool | None = False
    logprobs: int | None = Field(None, ge=0, le=20)


class EmbeddingsBody(Body):
    """The body of `/v1/embeddings`."""

    model_config = shown({"model": "starter-embed", "input": ["a text", "another"]})

    model: str | None = Field(None, description="A catalog id; absent: the default.")
    input: str | list[str] | list[int] | list[list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


# Parsing ------------------------------------------------------------------------------------------


def parse(body: ChatBody) -> ChatRequest:
    """The request a chat body asks for. Raises BadValue."""
    form = body.response_format
    schema: dict[str, Any] | Literal[True] | None = None
    if form is not None and form.type != "text":
        schema = (form.json_schema.schema_ if form.json_schema else None) or True
    sampling = body.sampling()
    if body.max_completion_tokens is not None:
        sampling["max_tokens"] = body.max_completion_tokens
    tools, choice = _choice(body)
    return build(
        ChatRequest,
        model=body.model,
        messages=tuple(_message(turn, n) for n, turn in enumerate(body.messages)),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        json_schema=schema,
        think=_effort(body),
        logprobs=_logprobs(body),
        **sampling,
    )


def _logprobs(body: ChatBody) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise BadValue("top_logprobs: set logprobs to true as well.", param="top_logprobs")
    return body.top_logprobs or 0 if body.logprobs else None


def _effort(body: ChatBody) -> bool | Literal["low", "medium", "high"] | None:
    name = body.reasoning_effort
    wish = (body.chat_template_kwargs or {}).get("enable_thinking")
    if name is None and isinstance(wish, bool):
        return wish
    if name is not None and name not in EFFORTS:
        known = ", ".join(EFFORTS)
        raise BadValue(f"reasoning_effort: choose one of {known}.", param="reasoning_effort")
    return None if name is None else EFFORTS[name]


def _choice(body: ChatBody) -> tuple[tuple[Tool, ...], Literal["auto", "required"]]:
    """The tools that may be called, and whether one must be; a named one is the only one offered.

    Raises:
        BadValue: a tool is chosen that is not offered.
    """
    tools = tuple(tool_of(offered.function) for offered in body.tools or ())
    match body.tool_choice:
        case None | "auto":
            return tools, "auto"
        case "none":
            return (), "auto"
        case "required":
            return tools, "required"
        case _Choice(allowed_tools=_Allowed() as allowed):
            names = [one.function.name for one in allowed.tools if one.function]
            return _only(tools, names), allowed.mode
        case _Choice(function=_Named(name=name)):
            return _only(tools, [name]), "required"
    raise BadValue("tool_choice.function: it is missing.", param="tool_choice")


def _only(tools: tuple[Tool, ...], names: list[str]) -> tuple[Tool, ...]:
    known = {tool.name: tool for tool in tools}
    for name in names:
        if name not in known:
            raise BadValue(
                f"tool_choice: '{name[:64]}' is not among the tools. Offer it or choose another.",
                param="tool_choice",
            )
    return tuple(known[name] for name in names)


def parse_prompts(body: CompletionBody) -> list[ChatRequest]:
    """One request per prompt. Raises BadValue for token ids."""
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(texts) != len(prompts):
        raise BadValue("prompt: send text; token ids differ from model to model.", param="prompt")
    if not texts or not all(texts):
        raise BadValue("prompt: it is empty. Send some text to continue.", param="prompt")
    sampling = body.sampling()
    sampling["logprobs"] = body.logprobs
    return [build(ChatRequest, model=body.model, prompt=text, **sampling) for text in texts]


def parse_texts(body: EmbeddingsBody) -> EmbedRequest:
    """The request for the vectors of some texts. Raises BadValue for token ids."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or not all(texts):
        raise BadValue("input: it is empty. Send some text.", param="input")
    if not all(isinstance(text, str) for text in texts):
        raise BadValue(
            "input: send text; token ids differ from model to model (in LangChain: "
            "check_embedding_ctx_length=False).",
            param="input",
        )
    return build(EmbedRequest, model=body.model, texts=tuple(texts), dimensions=body.dimensions)


def _message(turn: _Turn, index: int) -> Message:
    where = f"messages.{index}"
    if turn.content is None and not (turn.role == "assistant" and turn.tool_calls):
        raise BadValue(f"{where}.content: it is missing.", param=f"{where}.content")
    return build(
        Message,
        role="system" if turn.role == "developer" else turn.role,
        parts=tuple(_parts(turn, f"{where}.content")),
        calls=tuple(
            Call(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in turn.tool_calls or ()
        ),
        call_id=turn.tool_call_id,
        reasoning=turn.reasoning_content or turn.reasoning or "",
    )


def _parts(turn: _Turn, where: str) -> list[TextPart | ImagePart | AudioPart]:
    if not isinstance(turn.content, list):
        return [TextPart(text=turn.content)] if turn.content else []
    parts: list[TextPart | ImagePart | AudioPart] = []
    for part in turn.content:
        match part:
            case _Text():
                parts.append(TextPart(text=part.text or part.refusal))
            case _Picture():
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                parts.append(ImagePart(data=bytes_of(url, f"{where}.image_url")))
            case _Recording():
                data = bytes_of(part.input_audio.data, f"{where}.input_audio")
                parts.append(AudioPart(data=data))
    return parts
