"""What can be asked: one frozen, bounded request per capability, and the parts a message is made of.

A dialect turns its body into one of these and never reaches a model itself.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Capability = Literal[
    "chat", "embed", "image", "transcribe", "speak", "ocr", "label", "detect", "translate"
]
Role = Literal["system", "user", "assistant", "tool"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextPart(_Value):
    """Plain text."""

    kind: Literal["text"] = "text"
    text: str


class ImagePart(_Value):
    """An encoded picture (PNG, JPEG, WebP, BMP or TIFF)."""

    kind: Literal["image"] = "image"
    data: bytes = Field(repr=False)


class AudioPart(_Value):
    """An encoded recording (WAV, or whatever ffmpeg reads)."""

    kind: Literal["audio"] = "audio"
    data: bytes = Field(repr=False)


Part = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="kind")]


class Call(_Value):
    """A tool call that an assistant made earlier; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Message(_Value):
    """One turn. `calls` and `reasoning` belong to the assistant, `call_id` to the tool that answers."""

    role: Role
    parts: tuple[Part, ...] = ()
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    reasoning: str = ""

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A message of plain text."""
        return cls(role=role, parts=(TextPart(text=text),))

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """The encoded pictures, in their order."""
        return tuple(part.data for part in self.parts if isinstance(part, ImagePart))

    @property
    def text(self) -> str:
        """The text parts, joined by newlines; pictures and sound left out."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


class Tool(_Value):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class Request(_Value):
    """What every request carries.

    Args:
        model: a catalog id or alias; None means the capability's default.
        keep_alive: seconds the model stays loaded after its last use; 0 unloads it at once,
            a negative number keeps it for good, None leaves the setting in force.
        seconds: a time limit on the inference itself (loading not counted); None: the setting's.
    """

    capability: ClassVar[Capability]
    model: str | None = Field(None, max_length=512)
    keep_alive: float | None = None
    seconds: float | None = Field(None, gt=0)

    @property
    def accepting(self) -> str:
        """The kind of parts ("image") that its model must accept besides what it does; "" for none."""
        return ""


class ChatRequest(Request):
    """Messages in, text out. Exactly one of `messages` and `prompt` is given.

    Args:
        messages: the conversation, oldest first.
        prompt: raw text to continue, past the chat template.
        max_tokens: at most so many new tokens; None: as many as the context leaves.
        context: tokens of context to make room for, on servers that size it at loading; models here
            hold all that they were made for.
        stop: strings that end the answer; they are not part of it.
        json_schema: a JSON schema the answer must satisfy, or True for any JSON object.
        tools: functions the model may call.
        tool_choice: "required" makes it call at least one of them.
        parallel_tool_calls: whether it may call several in one answer.
        think: whether, or how hard, a model that reasons should; None: as it does by itself.
        logprobs: tell the log probability of every token of the answer, and of so many likeliest ones.
        logit_bias: what is added to the logits of these token ids.
        presence_penalty, frequency_penalty: less of what the answer holds already, once or for each time.
    """

    capability: ClassVar[Capability] = "chat"
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    context: int | None = Field(None, ge=1, le=100_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stop: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=64
    )
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "required"] = "auto"
    parallel_tool_calls: bool = True
    json_schema: dict[str, Any] | Literal[True] | None = None
    think: bool | Literal["low", "medium", "high"] | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field(
        default_factory=dict, max_length=1024
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)

    @model_validator(mode="after")
    def _one_source(self) -> ChatRequest:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give messages (at least one) or a prompt, and not both")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice: a call is required, but no tools are given")
        return self

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """The encoded pictures of all messages, in their order."""
        return tuple(data for message in self.messages for data in message.pictures)

    @property
    def accepting(self) -> str:
        return "image" if any(message.pictures for message in self.messages) else ""


class EmbedRequest(Request):
    """Texts in, one vector each out.

    Args:
        texts: what is embedded, each by itself.
        dimensions: only so many leading values of each vector, of length 1 again; None: all.
        truncate: cut texts that are too long for the model; otherwise they are refused.
        prompt: the name of a prefix that the model knows ("query", "document"); None: its default.
    """

    capability: ClassVar[Capability] = "embed"
    texts: tuple[str, ...] = Field(min_length=1, max_length=2048)
    dimensions: int | None = Field(None, ge=1, le=65536)
    truncate: bool = False
    prompt: str | None = Field(None, max_length=200)


class OcrRequest(Request):
    """Documents in, pages of text out.

    Args:
        documents: encoded pictures, TIFFs of several pages or PDFs, read one after another.
        language: a hint as people write it ("Russian", "ru", "rus", "fra+eng"); "" or "auto": found out.
        pages: which pages of each document ("1-3,7", counted from 1); "": all.
        dpi: dots per inch at which pages of a PDF are drawn.
        text_layer: take a PDF page's own text where it has some, instead of reading its picture.
        formatted: Markdown (headings, tables, formulas) where the model can write it.
        password: opens a protected PDF.
    """

    capability: ClassVar[Capability] = "ocr"
    documents: tuple[bytes, ...] = Field(min_length=1, max_length=100, repr=False)
    language: str = Field("", max_length=100)
    pages: str = Field("", max_length=1000)
    dpi: int = Field(200, ge=50, le=600)
    text_layer: bool = True
    formatted: bool = False
    password: str = Field("", max_length=200, repr=False)


class LabelRequest(Request):
    """A picture in, a share for each label out; the shares add up to 1.

    Args:
        image: an encoded picture.
        labels: what it may show; none: what the model knows by itself.
    """

    capability: ClassVar[Capability] = "label"
    image: bytes = Field(repr=False)
    labels: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=1000
    )


class DetectRequest(Request):
    """A picture in, things and their places out.

    Args:
        image: an encoded picture.
        words: what to look for, with models that read words; none: everything the model knows.
        threshold: the least score of what is told; None: from where the model is usually right.
    """

    capability: ClassVar[Capability] = "detect"
    image: bytes = Field(repr=False)
    words: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=100
    )
    threshold: float | None = Field(None, ge=0, le=1)


class Lora(_Value):
    """A LoRA by the name of its file, and how strongly it counts."""

    name: str = Field(min_length=1, max_length=200)
    scale: float = Field(1.0, ge=-4, le=4)


class ImageRequest(Request):
    """Words in, pictures out: an Image for each, with a Progress (denoising steps) on the way.

    With `image` the picture is made from that one; with `mask` too, only where the mask is white.

    Args:
        prompt: what it shows; may be empty only with `image`.
        negative: what it is not to show, with models that guide by it.
        width, height: in pixels, rounded to what the model can; None: the model's own, or those of `image`.
        steps: of denoising; None: as many as the model was made for.
        guidance: how closely the prompt is followed; None: the model's own.
        seed: of the first picture, the next have the next numbers; None: drawn by chance.
        count: pictures.
        image: an encoded picture to begin from.
        strength: how much of it may change; 1: all.
        mask: an encoded picture of the same shape; white is painted anew.
        scheduler: by name ("euler", "dpm++", …); "": the model's own.
        loras: added for this request alone.
        preview: whether a Progress brings a small JPEG of the first picture as it is so far.
    """

    capability: ClassVar[Capability] = "image"
    prompt: str = Field("", max_length=20_000)
    negative: str = Field("", max_length=20_000)
    width: int | None = Field(None, ge=16, le=4096)
    height: int | None = Field(None, ge=16, le=4096)
    steps: int | None = Field(None, ge=1, le=500)
    guidance: float | None = Field(None, ge=0, le=50)
    seed: int | None = Field(None, ge=0, lt=2**63)
    count: int = Field(1, ge=1, le=16)
    image: bytes | None = Field(None, repr=False)
    strength: float = Field(0.6, gt=0, le=1)
    mask: bytes | None = Field(None, repr=False)
    scheduler: str = Field("", max_length=50)
    loras: tuple[Lora, ...] = Field((), max_length=8)
    preview: bool = True

    @model_validator(mode="after")
    def _something_to_draw(self) -> ImageRequest:
        if not self.prompt.strip() and self.image is None:
            raise ValueError("prompt: say what the picture is to show")
        if self.mask is not None and self.image is None:
            raise ValueError("mask: give the picture that it belongs to as well")
        return self


class TranscribeRequest(Request):
    """A recording in, spans of speech out: a Source first, then Segments with their times.

    Args:
        audio: an encoded recording, or a film whose sound is used.
        language: the language that is spoken ("fr", "French"); "" or "auto": found out.
        translate: answer in English, whatever is spoken.
        prompt: words and names that are likely, or what was said before.
        words: tell the times of words too.
        vad: leave out what is not speech before the model hears it.
    """

    capability: ClassVar[Capability] = "transcribe"
    audio: bytes = Field(repr=False)
    language: str = Field("", max_length=100)
    translate: bool = False
    prompt: str = Field("", max_length=10_000)
    temperature: float | None = Field(None, ge=0, le=1)
    words: bool = False
    vad: bool = True


class SpeakRequest(Request):
    """A text in, sound out: Audio pieces in their order, with a Progress (characters) after each sentence.

    Args:
        voice: the name of one of the model's voices; "": its default for the language.
        reference: an encoded recording of the voice that is to speak, with models that clone.
        language: of the text ("fr", "French"); "" or "auto": the voice's own, else found out.
        speed: 1 is the voice's own.
    """

    capability: ClassVar[Capability] = "speak"
    text: str = Field(max_length=200_000)
    voice: str = Field("", max_length=200)
    reference: bytes | None = Field(None, repr=False)
    language: str = Field("", max_length=100)
    speed: float = Field(1.0, ge=0.25, le=4)


class TranslateRequest(Request):
    """A text in, the same in another language out: a Source first, then Text whose paragraphs are the source's.

    Args:
        source: the language of the text ("fr", "French"); "" or "auto": found out.
        target: the language wanted.
        glossary: how these words are to be translated.
    """

    capability: ClassVar[Capability] = "translate"
    text: str = Field(max_length=1_000_000)
    source: str = Field("", max_length=100)
    target: str = Field(min_length=1, max_length=100)
    glossary: dict[
        Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(max_length=200)]
    ] = Field(default_factory=dict, max_length=1000)
