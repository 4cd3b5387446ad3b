"""What the dialects' bodies have in common: fields nobody knows, sampling, pictures and sound in JSON.

Knows no dialect. `build` is the one place where a value out of bounds becomes a 400.
"""

from __future__ import annotations

import base64
import binascii
import functools
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine import BadValue, ImagePart, TextPart, Tool
from routers.lifting import lifted

R = TypeVar("R", bound=BaseModel)
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
PIECE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")
EVENTS = "text/event-stream"
DURATION = re.compile(rf"[+-]?(?:{PIECE.pattern})+")
# A red disc of 16 pixels, for examples.
DISC = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEX////cKCi5uRl6AAAAJklE"
    "QVR42mNggAHmA0wsCkwcAkwCHEwMDFD04QfTjw9Mfx7AVQEAdUIG1racT0IAAAAASUVORK5CYII="
)
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
log = logging.getLogger("atelier.wire")


class Strict(BaseModel):
    """An object as JSON has it: `"1"` is no number, 0 is no boolean, and 5.0 is an integer.

    Forms hold texts alone: they are read with `strict=False`.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """Whole numbers, however they were written."""
        if not isinstance(value, dict):
            return value
        whole = {k: int(v) for k, v in value.items() if type(v) is float and v.is_integer()}
        return value | whole if whole else value


class Lenient(Strict):
    """A part of a body; what nobody knows in it is passed over."""

    model_config = ConfigDict(extra="ignore")


class Declared(Lenient):
    """A function that the model may call, as OpenAI's and Ollama's dialects both declare it."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


def tool_of(declared: Declared) -> Tool:
    """The engine's tool."""
    return Tool(
        name=declared.name,
        description=declared.description or "",
        parameters=declared.parameters or {},
    )


def shown(example: dict[str, Any]) -> ConfigDict:
    """The configuration of a body that shows this example in the documentation."""
    return ConfigDict(json_schema_extra={"examples": [example]})


def example(
    value: Any, media: str = "application/json", *, also: tuple[str, ...] = ()
) -> dict[int | str, dict[str, Any]]:
    """The documented answer of a route; `also`: the media types that it may have besides."""
    content: dict[str, Any] = {media: {"example": value}, **{other: {} for other in also}}
    return {200: {"description": "Done", "content": content}}


class Body(Strict):
    """A request body. Fields it does not have are taken, ignored and named in `X-Ignored-Params`."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def ignored(self, dialect: str, *more: str) -> tuple[str, ...]:
        """The names of the fields that were sent and that nothing reads, `more` included."""
        return (*ignored_names(dialect, self.model_extra or ()), *ignored_names(dialect, more))


def ignored_names(dialect: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that a header may tell of fields which nothing reads, each once; logged the first time."""
    told = tuple(dict.fromkeys(name for name in names if NAME.fullmatch(name)))[:20]
    for name in told:
        _log_once(dialect, name)
    return told


@functools.lru_cache(maxsize=512)
def _log_once(dialect: str, name: str) -> None:
    log.info("%s: the field '%s' is ignored", dialect, name)


class Sampling(Body):
    """How the next token is chosen; the dialects' names for it agree."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )

    def sampling(self) -> dict[str, Any]:
        """The fields of a `ChatRequest` that were given."""
        names = (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "repetition_penalty",
            "max_tokens",
            "seed",
        )
        values = {name: getattr(self, name) for name in names}
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        keep = seconds_of(self.keep_alive)
        return {k: v for k, v in values.items() if v is not None} | {
            "stop": stop,
            "keep_alive": keep,
        }


def build(kind: type[R], **values: Any) -> R:
    """A request of the engine; a value out of its bounds is a BadValue that names the field."""
    try:
        return kind(**values)
    except ValidationError as error:
        where, what = first_of(error.errors())
        raise BadValue(f"{where}: {what}." if where else f"{what}.", param=where or None) from None


def first_of(errors: Any) -> tuple[str, str]:
    """Where and what the first of pydantic's complaints is, as people read it."""
    error = errors[0]
    place = [str(part) for part in error["loc"] if part not in {"body", "query", "path"}]
    what = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    if error["type"] == "json_invalid":
        return "", f"the body is not JSON ({error.get('ctx', {}).get('error', what)})"
    if error["type"] in {"missing", "model_attributes_type"} and not place:
        return "", "the body must be a JSON object (Content-Type: application/json)"
    return ".".join(place), what


def kept_as(name: str, inline: bool = False) -> str:
    """The header (Content-Disposition) that gives a file its name, whatever letters it has."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\;%' else "_" for c in name
    )
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def seconds_of(value: float | str | None) -> float | None:
    """Seconds of a number or of "300", "300ms", "5m", "1h30m"; BadValue for anything else."""
    if value is None or isinstance(value, int | float):
        return value
    text = value.strip()
    if DURATION.fullmatch(text):
        size = sum(float(count) * UNITS[unit] for count, unit in PIECE.findall(text))
        return -size if text.startswith("-") else size
    if NUMBER.fullmatch(text):
        return float(text)
    raise BadValue('keep_alive: write seconds, or "300s", "5m", "1h30m".', param="keep_alive")


def parts_of(
    text: str | None, images: Sequence[str] | None, where: str = ""
) -> tuple[ImagePart | TextPart, ...]:
    """A message's pictures and then its text, the order that models are used to.

    Args:
        images: base64 or `data:` URLs; `where`: the path of the field that holds them, for errors.
    """
    pictures = [
        ImagePart(data=bytes_of(each, f"{where}images.{n}")) for n, each in enumerate(images or ())
    ]
    return (*pictures, TextPart(text=text)) if text else tuple(pictures)


class Fetched(str):
    """An address on the web, together with what was found there; see `routers.addresses`."""

    data: bytes

    def __new__(cls, url: str, data: bytes) -> Fetched:
        one = super().__new__(cls, url)
        one.data = data
        return one


def is_address(value: str) -> bool:
    """Whether a field holds an address on the web and not the file itself."""
    return value[:8].lower().startswith(("http://", "https://"))


def bytes_of(value: str, param: str) -> bytes:
    """The bytes of base64 text or a `data:` URL.

    Raises:
        BadValue: it is neither; an address on the web that was not fetched is said to be off.
    """
    if isinstance(value, Fetched):
        return value.data
    if is_address(value):
        raise BadValue(
            f"{param}: this server fetches no URLs. Send the file itself as base64,"
            " or have ATELIER_FETCH_URLS set.",
            param=param,
        )
    if value[:5].lower() == "data:":
        head, comma, value = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadValue(f"{param}: a data URL must hold base64.", param=param)
    if (large := lifted(value)) is not None:
        return large
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadValue(f"{param}: this is not base64.", param=param) from None
    if not data:
        raise BadValue(f"{param}: it is empty.", param=param)
    return data
