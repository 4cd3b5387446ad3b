"""The bodies of the OpenAI dialect, and the engine's requests they ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine import AudioPart, BadValue, Call, ChatRequest, ImagePart, Message, TextPart, Tool
from routers.bodies import Sampling, build, bytes_of, shown

CHOICES = 128


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Url(_Lenient):
    url: str


class _Sound(_Lenient):
    data: str
    format: str = "wav"


class _Text(_Lenient):
    type: Literal["text", "input_text", "refusal"]
    text: str = ""
    refusal: str = ""


class _Picture(_Lenient):
    type: Literal["image_url"]
    image_url: _Url | str


class _Recording(_Lenient):
    type: Literal["input_audio"]
    input_audio: _Sound


class _Function(_Lenient):
    name: str
    arguments: str = ""


class _Calling(_Lenient):
    id: str = ""
    function: _Function


class _Turn(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        str | list[Annotated[_Text | _Picture | _Recording, Field(discriminator="type")]] | None
    ) = None
    tool_calls: list[_Calling] | None = None
    tool_call_id: str | None = None


class _Declared(_Lenient):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Offered(_Lenient):
    type: Literal["function"] = "function"
    function: _Declared


class _Schema(_Lenient):
    name: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class _Format(_Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _StreamOptions(_Lenient):
    include_usage: bool = False


class CommonBody(Sampling):
    """What both completion bodies hold."""

    model: str | None = Field(None, description="A catalog id; absent: the default.")
    n: int | None = Field(None, ge=1, le=CHOICES)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None


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
    tool_choice: Any = None


class CompletionBody(CommonBody):
    """The body of `/v1/completions`."""

    model_config = shown({"model": "starter-chat", "prompt": "Once", "max_tokens": 16})

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool | None = False


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
    tools = () if body.tool_choice == "none" else tuple(body.tools or ())
    return build(
        ChatRequest,
        model=body.model,
        messages=tuple(_message(turn, n) for n, turn in enumerate(body.messages)),
        tools=tuple(_tool(offered.function) for offered in tools),
        json_schema=schema,
        **sampling,
    )


def parse_prompts(body: CompletionBody) -> list[ChatRequest]:
    """One request per prompt. Raises BadValue for token ids."""
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(texts) != len(prompts):
        raise BadValue("prompt: send text; token ids differ from model to model.", param="prompt")
    if not texts or not all(texts):
        raise BadValue("prompt: it is empty. Send some text to continue.", param="prompt")
    sampling = body.sampling()
    return [build(ChatRequest, model=body.model, prompt=text, **sampling) for text in texts]


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


def _tool(declared: _Declared) -> Tool:
    return Tool(
        name=declared.name,
        description=declared.description or "",
        parameters=declared.parameters or {},
    )
