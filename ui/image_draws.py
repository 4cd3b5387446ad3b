"""What happens in the Image tab: drawing, stopping, looking through the gallery, refining, meeting creatures.

Pictures live in `engine.gallery`, so they outlive the page; which one it shows, its script tells with every look.
What it looks like is `ui/image_views.py` and `ui/creature_views.py`.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from engine import (
    AtelierError,
    BadValue,
    Engine,
    Event,
    Image,
    ImageRequest,
    Kept,
    Loading,
    Lora,
    Progress,
    Queued,
)
from engine.pictures import encode, open_picture
from engine.recipes import read_recipe
from ui.creature_views import corner
from ui.image_views import Going, Offer, data_url, form, outcome, shelf, stage
from ui.keeping import is_admin
from ui.parts import (
    Seen,
    caller_of,
    explain,
    make,
    paced,
    reader,
    session_of,
    told_by,
    uploads,
    warn,
)
from ui.words import say

SCHEDULERS = (
    "euler",
    "euler-a",
    "heun",
    "dpm++",
    "dpm++-karras",
    "ddim",
    "unipc",
    "lcm",
    "flow-euler",
)
PAGES = 200  # pages whose source pictures are kept
SHOWN = 640  # pixels of a source picture as the form shows it
NUMBERS = {
    "width": int,
    "height": int,
    "steps": int,
    "count": int,
    "seed": int,
    "guidance": float,
    "strength": float,
}
Updates = dict[Any, Any]
Steps = AsyncGenerator[Updates]


@dataclass(frozen=True, slots=True)
class Places:
    """The hidden places from which the page's script takes what the server painted."""

    form: Any
    stage: Any
    shelf: Any
    corner: Any
    outcome: Any

    @property
    def all(self) -> list[Any]:
        return [self.form, self.stage, self.shelf, self.corner, self.outcome]


@dataclass(slots=True)
class Draws:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Places
    seen: Seen = field(default_factory=Seen)
    _running: dict[str, str] = field(default_factory=dict)  # a page's request
    _going: dict[str, Going] = field(default_factory=dict)
    _sources: OrderedDict[str, bytes] = field(default_factory=OrderedDict)

    # Looking

    async def look(self, told: str, request: gr.Request) -> Updates:
        """The page looks; `all` when it has just come."""
        return await self.view(told_by(told), request)

    async def view(
        self, given: dict[str, str], request: gr.Request, everything: bool = False
    ) -> Updates:
        """What changed since this page looked last."""
        language, page = reader(request), str(request.session_hash)
        gallery, session = self.engine.gallery, session_of(request)
        search, starred = given.get("search", ""), given.get("favourites") == "1"
        pictures = await gallery.find(session, "picture", search, starred)
        cards = await gallery.find(session, "creature")
        mine = {kept.id: kept for kept in [*pictures, *cards]}
        shown = mine.get(given.get("pick", "")) or next(iter(pictures), None)
        other = mine.get(given.get("other", ""))
        picked = shown.id if shown else ""
        texts = (
            await asyncio.to_thread(self._form, page, language),
            stage(shown, self._going.get(page), time.monotonic(), language, other),
            shelf(pictures, picked, other.id if other else "", bool(search or starred), language),
            corner(cards, given.get("pick", ""), False, language),
        )
        new = self.seen.news(page, texts, everything or "all" in given)
        places = (self.w.form, self.w.stage, self.w.shelf, self.w.corner)
        return {
            p: text if is_new else gr.skip()
            for p, text, is_new in zip(places, texts, new, strict=True)
        }

    def _form(self, page: str, language: str) -> str:
        is_present = self.engine.downloads.is_present
        here = [spec for spec in self.engine.models("image") if is_present(spec)]
        first = here and self.engine.registry.default("image").id
        here.sort(key=lambda spec: spec.id != first)
        folder = self.engine.settings.data_dir / "loras"
        loras = (
            sorted(file.stem for file in folder.glob("*.safetensors")) if folder.is_dir() else []
        )
        source = self._sources.get(page)
        return form([Offer.of(spec) for spec in here], loras, SCHEDULERS, _small(source), language)

    # Bringing

    async def bring(self, file: Any, request: gr.Request) -> Updates:
        """A file was dropped, pasted or chosen: one of ours brings its settings, any other one is begun from."""
        async for upload in uploads(file):
            recipe = await asyncio.to_thread(read_recipe, upload.data)
            if recipe is not None:
                return {self.w.outcome: outcome(time.time_ns(), recipe=recipe)}
            return await self._begin_from(upload.data, request)
        return {self.w.outcome: gr.skip()}

    async def _begin_from(self, data: bytes, request: gr.Request) -> Updates:
        page = str(request.session_hash)
        try:
            await asyncio.to_thread(open_picture, data)
        except AtelierError as error:
            warn(explain(error, reader(request)))
            return {self.w.outcome: outcome(time.time_ns(), refused="1")}
        self._sources[page] = data
        self._sources.move_to_end(page)
        while len(self._sources) > PAGES:
            self._sources.popitem(last=False)
        text = await asyncio.to_thread(self._form, page, reader(request))
        return {self.w.form: text, self.w.outcome: outcome(time.time_ns(), sourced="1")}

    # Acting

    async def act(self, told: str, request: gr.Request) -> Steps:
        """Something painted was pressed: JSON with `act` and its values, "#" and a number."""
        yield {self.w.outcome: gr.skip()}  # a generator that yields nothing empties every output
        given, language = told_by(told), reader(request)
        try:
            async with aclosing(self._acted(given, request)) as steps:
                async for updates in steps:
                    yield updates
        except AtelierError as error:
            warn(explain(error, language) if not error.param else error.message)
            yield {
                **await self.view(given, request, True),
                self.w.outcome: outcome(time.time_ns(), refused="1"),
            }

    async def _acted(self, given: dict[str, str], request: gr.Request) -> Steps:
        page, picture = str(request.session_hash), given.get("id", "")
        mine = None if is_admin(request) else session_of(request)
        match given.get("act"):
            case "draw":
                async with aclosing(self._draw(given, request)) as steps:
                    async for updates in steps:
                        yield updates
                return
            case "meet":
                yield await self._meet(given, request)
                return
            case "stop":
                self.engine.stop_request(self._running.get(page, ""))
                return
            case "clear":
                self._sources.pop(page, None)
            case "refine":
                yield await self._begin_from(
                    (await self.engine.gallery.file(picture, mine))[0], request
                )
                return
            case "use":
                recipe = (await self.engine.gallery.get(picture, mine)).recipe
                yield {self.w.outcome: outcome(time.time_ns(), recipe=recipe)}
                return
            case "favour":
                kept = await self.engine.gallery.get(picture, mine)
                await self.engine.gallery.favour(picture, not kept.favourite, mine)
            case "remove":
                await self.engine.gallery.remove(picture, mine)
            case _:
                return
        yield await self.view(given, request)

    async def _draw(self, given: dict[str, str], request: gr.Request) -> Steps:
        """Draw what the form says; every picture goes into the gallery as it comes."""
        page, language = str(request.session_hash), reader(request)
        wanted = await asyncio.to_thread(self._wanted, given, page)
        caller = caller_of(request)
        self._running[page] = caller.request_id
        self._going[page] = Going(time.monotonic())
        last: Kept | None = None
        try:
            async with aclosing(paced(self.engine.run(wanted, caller), every=1 / 6)) as batches:
                async for batch in batches:
                    for event in batch:
                        self._going[page] = _further(self._going[page], event, language)
                        if isinstance(event, Image):
                            last = await self._keep(event, request)
                    going = self._going[page]
                    yield {self.w.stage: stage(None, going, time.monotonic(), language)}
        finally:
            self._running.pop(page, None)
            self._going.pop(page, None)
        told = {"drawn": last.id, "seed": str(last.seed)} if last else {"stopped": "1"}
        look = {**given, "pick": last.id} if last else given
        yield {
            **await self.view(look, request, True),
            self.w.outcome: outcome(time.time_ns(), **told),
        }

    async def _keep(self, image: Image, request: gr.Request) -> Kept:
        if image.note:
            warn(image.note)
        return await self.engine.gallery.add(image.data, session_of(request))

    def _wanted(self, given: dict[str, str], page: str) -> ImageRequest:
        """The request that the form makes. Raises BadValue."""
        values: dict[str, Any] = {
            name: given.get(name, "") for name in ("model", "prompt", "negative", "scheduler")
        }
        for name, kind in NUMBERS.items():
            text = given.get(name, "").strip().replace(",", ".")
            try:
                values[name] = kind(text) if text else None
            except ValueError:
                raise BadValue(f"{name}: '{text[:40]}' is no number.", param=name) from None
        if given.get("lora"):
            scale = float(given.get("scale") or 1)
            values["loras"] = (Lora(name=given["lora"], scale=max(-4.0, min(4.0, scale))),)
        source = self._sources.get(page)
        if source is None:
            values.pop("strength")
        else:
            values |= {"image": source, "mask": _mask(given.get("mask", ""))}
        return make(ImageRequest, **values)

    async def _meet(self, given: dict[str, str], request: gr.Request) -> Updates:
        """A creature, into the deck."""
        made = await self.engine.creatures.make(replace(caller_of(request), dialect="ui"))
        facts = {"title": made.name, "rarity": made.rarity, "model": made.backend}
        kept = await self.engine.gallery.add(made.image, session_of(request), "creature", **facts)
        look = {**given, "pick": kept.id}
        return {
            **await self.view(look, request, True),
            self.w.outcome: outcome(time.time_ns(), met=kept.id),
        }


def _further(going: Going, event: Event, language: str) -> Going:
    """How far it is after an event."""
    match event:
        case Queued(ahead):
            return replace(going, waiting=say("image.queued", language, n=ahead))
        case Loading(model, fraction):
            share = "" if fraction is None else f" {fraction * 100:.0f} %"
            return replace(
                going,
                waiting=say("image.loading", language, model=model) + share,
                began=time.monotonic(),
            )
        case Progress(done, _, preview):
            seen = data_url(preview) if preview else going.preview
            if going.state is None:
                going = replace(going, began=time.monotonic(), first=done)
            return replace(going, state=event, preview=seen)
    return going


def _small(source: bytes | None) -> str:
    """A source picture as the form shows it."""
    if source is None:
        return ""
    picture = open_picture(source)
    picture.thumbnail((SHOWN, SHOWN))
    return data_url(encode(picture, "jpeg", 84))


def _mask(text: str) -> bytes | None:
    """The mask that was painted in the page, a `data:` URL of a PNG; None where nothing was."""
    head, _, body = text.partition(",")
    if not body or head != "data:image/png;base64":
        return None
    try:
        return b64decode(body, validate=True)
    except (NotBase64, ValueError):
        return None
