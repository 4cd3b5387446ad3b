"""The creature service: a picture, a name and a rarity, whatever fails on the way.

Decides which backend draws and which one names, and what stands in for it. Logs under the names that readers of the
published service's logs know. Knows no HTTP and no model: pictures and names are asked of `run` like any other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.bestiary import Names, Traits, imagine, is_decent, new_id, rarity
from engine.callers import Caller
from engine.discovery import Servers
from engine.errors import AtelierError, GenerationFailed
from engine.events import Event, Result, fold
from engine.pictures import media_type
from engine.registry import Registry
from engine.requests import ChatRequest, ImageRequest, Message, Request
from engine.settings import ROOT, Settings

MODEL = "llama3.2:1b"  # that names are asked of where OPENAI_MODEL says nothing
SECONDS = 5.0  # for a name of another server, unless OPENAI_TIMEOUT says otherwise
TOKENS = 30
ASKED = (
    'You invent names of small fantasy creatures. Answer in JSON: {"name":"<name>"}',
    "Invent one name.",
)
LONGEST = 40  # characters of a name
# From the strictest to the most forgiving: cut off, closed too often, without quotes.
LOOSE = (
    ("regex_quoted", re.compile(r'"name"\s*:\s*"((?:[^"\\]|\\.)+)"')),
    ("regex_truncated", re.compile(r'"name"\s*:\s*"([^"{}\n]+)')),
    ("regex_bare", re.compile(r"""\bname['"]?\s*[:=]\s*['"]?([^'"{}\n,]+)""", re.IGNORECASE)),
)
Run = Callable[[Request, Caller], AsyncGenerator[Event]]
log = logging.getLogger("pokemon")


@dataclass(frozen=True, slots=True)
class Creature:
    """A creature that was made.

    Args:
        image, mime: its picture, encoded.
        backend: who made the picture: "files" or "sdxl".
        caption: what it was drawn from; "" for a picture of the folder.
        generated_at: UTC.
    """

    id: str
    name: str
    rarity: str
    image: bytes = field(repr=False)
    mime: str
    backend: str
    caption: str
    generated_at: datetime


class Creatures:
    """Makes creatures.

    Args:
        run: answers requests, as `Engine.run`.
        chance: a source of chance of its own, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        servers: Servers,
        run: Run,
        chance: random.Random | None = None,
    ) -> None:
        self._settings, self._registry, self._servers, self._run = settings, registry, servers, run
        self._chance = chance or random.SystemRandom()
        self._names = Names(chance)
        self._warm = False

    @property
    def folder(self) -> Path:
        """Where the pictures lie; a relative path counts from here, then from the program's own folder."""
        given = self._settings.pokemon_images_dir.expanduser()
        return given if given.is_dir() else ROOT / given

    def start(self) -> None:
        """Say in the log how the service is set up."""
        ours = self._settings
        log.info(
            "startup.config",
            extra={
                "backend": ours.pokemon_generation_backend,
                "name_backend": ours.pokemon_name_backend,
                "images": len(self.files()),
                "sdxl_model": ours.sdxl_turbo_model,
                "openai_model": ours.openai_model or MODEL,
                "auth": bool(ours.pokemon_bearer_token),
                "rate_limit_per_min": ours.pokemon_rate_limit_per_min,
            },
        )

    async def make(self, caller: Caller) -> Creature:
        """A creature.

        Raises:
            GenerationFailed: there is no picture in the folder and none can be drawn.
        """
        traits = imagine(self._chance)
        name = await self._named(caller)
        image, backend = await self._pictured(traits, caller)
        creature = Creature(
            id=new_id(),
            name=name,
            rarity=rarity(self._chance),
            image=image,
            mime=media_type(image) or "image/png",
            backend=backend,
            caption=traits.caption if backend == "sdxl" else "",
            generated_at=datetime.now(UTC),
        )
        told: dict[str, Any] = {"id": creature.id, "creature": name, "rarity": creature.rarity}
        if self._settings.log_image_b64:
            told["image"] = b64encode(image).decode()
        log.info("generate.success", extra={**told, "backend": backend, "bytes": len(image)})
        return creature

    # Pictures

    def files(self) -> list[Path]:
        """The pictures of the folder that the settings name and that are there."""
        ours = self._settings
        try:
            named = [
                self.folder / ours.pokemon_image_pattern.format(number)
                for number in range(ours.pokemon_min_index, ours.pokemon_max_index + 1)
            ]
        except (ValueError, IndexError, KeyError):
            log.error("files.bad_pattern", extra={"pattern": ours.pokemon_image_pattern})
            return []
        return [file for file in named if file.is_file()]

    async def _pictured(self, traits: Traits, caller: Caller) -> tuple[bytes, str]:
        """A picture and who made it."""
        if self._settings.pokemon_generation_backend == "sdxl":
            try:
                return await self._drawn(traits, caller), "sdxl"
            except AtelierError as error:
                log.warning("sdxl.fallback", extra={"error": error.code, "why": error.message})
        files = await asyncio.to_thread(self.files)
        if not files:
            raise GenerationFailed(
                "There is no picture of a creature to show. Put some into POKEMON_IMAGES_DIR, named as "
                "POKEMON_IMAGE_PATTERN says."
            )
        try:
            return await asyncio.to_thread(self._chance.choice(files).read_bytes), "files"
        except OSError as error:
            raise GenerationFailed("A creature's picture cannot be read. Try again.") from error

    async def _drawn(self, traits: Traits, caller: Caller) -> bytes:
        model = self._drawer()
        request = ImageRequest(
            model=model, prompt=traits.caption, preview=False, **self._shape(model)
        )
        if not self._warm:
            log.info("sdxl.warmup", extra={"model": request.model})
        result = await self._answer(request, caller)
        if not result.images:
            raise GenerationFailed("The picture was stopped before it was finished. Try again.")
        if not self._warm:
            self._warm = True
            log.info("sdxl.ready", extra={"model": request.model})
        return result.images[0].data

    def _drawer(self) -> str:
        """The model that draws: the one that was named, else one that came with the program."""
        named = self._settings.sdxl_turbo_model
        if "sdxl_turbo_model" in self._settings.model_fields_set:
            return named
        starters = (spec.id for spec in self._registry.models("image") if spec.starter)
        return next(starters, named)

    def _shape(self, model: str) -> dict[str, int]:
        """Width, height and steps as they are set; a starter keeps its own where nobody set any."""
        ours = self._settings
        shape = {"width": ours.sdxl_width, "height": ours.sdxl_height, "steps": ours.sdxl_steps}
        rows = self._registry.models("image")
        if not any(spec.id == model and spec.starter for spec in rows):
            return shape
        return {name: n for name, n in shape.items() if f"sdxl_{name}" in ours.model_fields_set}

    # Names

    async def _named(self, caller: Caller) -> str:
        """A name: from another server where that is set and works, else our own."""
        if self._settings.pokemon_name_backend == "remote":
            try:
                return await self._remote_name(caller)
            except AtelierError as error:
                log.warning("remote_name.error", extra={"error": error.code, "why": error.message})
            except TimeoutError:
                log.warning("remote_name.timeout", extra={"seconds": self._seconds})
        return self._names.next()

    @property
    def _seconds(self) -> float:
        """How long a name may take."""
        ours = self._settings
        return ours.openai_timeout if "openai_timeout" in ours.model_fields_set else SECONDS

    async def _remote_name(self, caller: Caller) -> str:
        ours = self._settings
        model = f"openai/{ours.openai_model or MODEL}"
        log.info("remote_name.request", extra={"model": model})
        system, user = ASKED
        request = ChatRequest(
            model=model,
            messages=(Message.of("system", system), Message.of("user", user)),
            max_tokens=TOKENS,
            temperature=1.0,
        )
        async with asyncio.timeout(self._seconds):
            if not self._registry.knows(model):
                await self._servers.looked()
            text = (await self._answer(request, caller)).text
        if ours.log_remote_content:
            log.info("remote_name.content", extra={"content": text[:2000]})
        name = extract_name(text)
        if not name:
            raise GenerationFailed("The other server's answer holds no name.")
        log.info("remote_name.ok", extra={"creature": name})
        return name

    async def _answer(self, request: Request, caller: Caller) -> Result:
        async with aclosing(self._run(request, replace(caller, request_id=""))) as events:
            return await fold(events)


def extract_name(text: str) -> str:
    """The name in an answer that ought to be JSON, also where it is cut off or closed too often; "" for none."""
    found = _in_json(text)
    if found is not None:
        log.debug("extract_name.json")
        return _clean(found)
    for way, pattern in LOOSE:
        if match := pattern.search(text):
            log.debug("extract_name.%s", way)
            return _clean(match[1])
    log.warning("extract_name.failed", extra={"characters": len(text)})
    return ""


def _in_json(text: str) -> str | None:
    """The name in the first JSON object of a text, whatever stands around it."""
    reader = json.JSONDecoder()
    for place in [match.start() for match in re.finditer(r"\{", text)][:20]:
        try:
            value, _ = reader.raw_decode(text[place:])
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            return str(value["name"])
    return None


def _clean(name: str) -> str:
    """A name as it may be shown: letters, and what stands between them; "" where nothing is left."""
    kept = "".join(one for one in name if one.isalpha() or one in " '’-").strip(" '’-")
    kept = " ".join(kept.split())[:LONGEST].strip(" '’-")
    echoed = kept.lower() in {"name", "nom", "nome"}  # the question's own word, said back
    return kept if kept and not echoed and is_decent(kept) else ""
