"""What happens in the OCR tab: bringing documents, looking at pages, correcting lines, reading once more.

Documents live in `engine.documents`, so they outlive the page; which one it shows, its script tells with every
look. What it looks like is `ui/ocr_views.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, Page, Paper, Unknown
from engine.languages import LANGUAGES
from ui import dialogs
from ui.conversations import flat
from ui.desks import tongue
from ui.header import name_of
from ui.keeping import is_admin
from ui.ocr_lines import Opened, lines
from ui.ocr_views import hello, leaf, papers
from ui.parts import Seen, acted, explain, reader, session_of, told_by, uploads, warn
from ui.samples import sample
from ui.words import say

COMMON = ("en", "fr", "pt", "ru", "de", "es", "it", "nl", "pl", "uk", "tr", "el", "ar", "he",
          "hi", "zh", "ja", "ko")  # fmt: skip
Updates = dict[Any, Any]
Steps = AsyncGenerator[Updates]


@dataclass(frozen=True, slots=True)
class Places:
    """The hidden places from which the page's script takes what the server painted."""

    docs: gr.Markdown
    page: gr.Markdown
    lines: gr.Markdown
    layout: gr.Markdown
    sheet: gr.Markdown
    outcome: gr.Markdown
    language: gr.Dropdown
    engine: gr.Dropdown

    @property
    def all(self) -> list[Any]:
        return [self.docs, self.page, self.lines, self.layout, self.sheet, self.outcome]

    @property
    def looked(self) -> list[Any]:
        """What a look may change."""
        return [self.docs, self.page, self.lines, self.layout, self.language, self.engine]


@dataclass(slots=True)
class Reads:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Places
    seen: Seen = field(default_factory=Seen)

    # Looking

    async def look(self, told: str, request: gr.Request) -> Updates:
        """The page looks: which document, page and readings it shows; `all` when it has just come."""
        given = told_by(told)
        updates = await self.view(given, request)
        if "all" in given:
            updates |= await asyncio.to_thread(self._choices, reader(request))
        return updates

    def _choices(self, language: str) -> Updates:
        """The rows of the two pickers; what was chosen stays."""
        automatic = (say("ocr.automatic", language), "auto")
        engines = [(name, model) for model, name in self.readers()]
        return {
            self.w.language: gr.Dropdown(choices=[automatic, *_languages()]),
            self.w.engine: gr.Dropdown(choices=[automatic, *engines]),
        }

    async def view(
        self, given: dict[str, str], request: gr.Request, everything: bool = False
    ) -> Updates:
        """What changed since this page looked last."""
        language = reader(request)
        found = await self.engine.documents.list(session_of(request))
        opened = await self._opened(given, request)
        docs = papers(found, opened.paper.id if opened else "", language)
        again = await asyncio.to_thread(self.readers)
        page = leaf(opened, again, language) if opened else hello(language)
        text = await asyncio.to_thread(lines, opened, language)
        layout = opened.page.markdown if opened and opened.page else ""
        texts = (docs, page, text, layout)
        new = self.seen.news(str(request.session_hash), texts, everything or "all" in given)
        places = (self.w.docs, self.w.page, self.w.lines, self.w.layout)
        return {
            place: text if is_new else gr.skip()
            for place, text, is_new in zip(places, texts, new, strict=True)
        }

    async def _opened(self, given: dict[str, str], request: gr.Request) -> Opened | None:
        """The page that is looked at; None where its document is gone."""
        if not given.get("doc"):
            return None
        try:
            paper = await self._paper(given["doc"], request)
        except Unknown:
            return None
        read = [reading.model for reading in paper.readings]
        model = given.get("model", "") if given.get("model") in read else read[0]
        versus = given.get("versus", "") if given.get("versus") in read else ""
        versus = "" if versus == model else versus
        number = _number(given.get("page", ""), paper.numbers)
        codes = await self._codes(paper, model)
        page, mended = await self._page(paper.id, model, number)
        other = (await self._page(paper.id, versus, number))[0] if versus else None
        titles = {spec.id: name_of(spec) for spec in self.engine.models()}
        titles["auto"] = say("ocr.automatic", reader(request))
        return Opened(paper, number, model, page, codes, mended, versus, other, titles)

    async def _page(self, id: str, model: str, number: int) -> tuple[Page | None, frozenset[int]]:
        """A page of a reading, and the places of its corrected lines."""
        pages = self.engine.documents.pages
        page = next(iter(await pages(id, model, number=number)), None)
        if page is None or not page.lines:
            return page, frozenset()
        [first] = await pages(id, model, number=number, original=True)
        both = enumerate(zip(page.lines, first.lines, strict=True))
        return page, frozenset(n for n, (now, before) in both if now != before)

    async def _codes(self, paper: Paper, model: str) -> dict[int, str]:
        """Which pages of a reading are there, with their errors' codes. Pages are read in order, so all of
        them are looked at only where some failed."""
        reading = next(one for one in paper.readings if one.model == model)
        if not reading.failed:
            return dict.fromkeys(paper.numbers[: reading.done], "")
        pages = await self.engine.documents.pages(paper.id, model)
        return {page.number: page.code for page in pages}

    async def _paper(self, id: str, request: gr.Request) -> Paper:
        """A document this reader may see. Raises Unknown for others'."""
        session = None if is_admin(request) else session_of(request)
        return await self.engine.documents.get(id, session)

    def readers(self) -> list[tuple[str, str]]:
        """Ids and names of the models here that can read a page: OCR models, then those that see."""
        is_present = self.engine.downloads.is_present
        specs = [*self.engine.models("ocr"), *self.engine.models("chat", "image")]
        return [(spec.id, name_of(spec)) for spec in specs if is_present(spec)]

    # Bringing

    async def bring(
        self,
        files: Any,
        request: gr.Request,
        *,
        language: str | None,
        model: str | None,
        **options: Any,
    ) -> Steps:
        """Files were dropped, pasted or chosen."""
        yield {self.w.outcome: gr.skip()}
        wanted = {"language": language or "", "model": model or "", **_options(options)}
        first = ""
        async for upload in uploads(files):
            added = await self._add(upload.name, upload.data, wanted, request)
            first = first or added
            yield {self.w.outcome: gr.skip()}
        async for updates in self._brought(first, request):
            yield updates

    async def _add(
        self, name: str, data: bytes, wanted: dict[str, Any], request: gr.Request
    ) -> str:
        """Take a document in; its id, "" when it was refused."""
        language = reader(request)
        try:
            paper = await self.engine.documents.add(
                name, data, session=session_of(request), **wanted
            )
        except AtelierError as error:
            warn(f"{name}: {explain(error, language)}")
            return ""
        return str(paper.id)

    async def _brought(self, id: str, request: gr.Request) -> Steps:
        """Show the first of what was taken in."""
        yield {
            self.w.outcome: f'<i data-brought="{id}" data-stamp="{time.time_ns()}"></i>',
            **(await self.view({"doc": id}, request) if id else {}),
        }

    # Acting

    async def act(self, told: str, request: gr.Request) -> Steps:
        """Something was pressed: JSON with `act`, what it is about, and what the page shows."""
        given = told_by(told)
        steps = acted(self._steps(), given, request, self.w.outcome, self.w.sheet)
        async with aclosing(steps) as updates:
            async for update in updates:
                yield update
        if given.get("act") in self._steps():
            yield await self.view({k: v for k, v in given.items() if k in SHOWN}, request)

    def _steps(self) -> dict[str, Callable[[dict[str, str], gr.Request], Steps]]:
        steps = (
            self.close, self.sample, self.pause, self.resume, self.again, self.correct,
            self.ask_remove, self.remove,
        )  # fmt: skip
        return {step.__name__: step for step in steps}

    async def close(self, given: dict[str, str], request: gr.Request) -> Steps:
        yield {self.w.sheet: ""}

    async def sample(self, given: dict[str, str], request: gr.Request) -> Steps:
        """Read one of our own documents."""
        name = given.get("name", "")
        data = await asyncio.to_thread(sample, name)
        async for updates in self._brought(await self._add(name, data, {}, request), request):
            given |= {"doc": "", "page": "", "model": "", "versus": ""}
            yield updates

    async def pause(self, given: dict[str, str], request: gr.Request) -> Steps:
        await self.engine.documents.pause((await self._paper(given.get("id", ""), request)).id)
        yield {self.w.outcome: gr.skip()}

    async def resume(self, given: dict[str, str], request: gr.Request) -> Steps:
        await self.engine.documents.resume((await self._paper(given.get("id", ""), request)).id)
        yield {self.w.outcome: gr.skip()}

    async def again(self, given: dict[str, str], request: gr.Request) -> Steps:
        """Have another model read it too; both are shown beside each other."""
        paper = await self._paper(given.get("id", ""), request)
        await self.engine.documents.again(paper.id, given.get("value", ""))
        yield {self.w.outcome: gr.skip()}

    async def correct(self, given: dict[str, str], request: gr.Request) -> Steps:
        """A line was typed anew."""
        paper = await self._paper(given.get("doc", ""), request)
        try:
            number, line = int(given.get("page", "")), int(given.get("line", ""))
        except ValueError as error:
            raise BadValue("That line is not there. Open the page again.", param="line") from error
        text = " ".join(given.get("text", "").split())
        await self.engine.documents.correct(
            paper.id, number, line, text, model=given.get("model", "")
        )
        yield {self.w.outcome: gr.skip()}

    async def ask_remove(self, given: dict[str, str], request: gr.Request) -> Steps:
        language = reader(request)
        paper = await self._paper(given.get("id", ""), request)
        text = f"<p>{flat(say('ocr.remove_text', language))}</p>"
        yield {
            self.w.sheet: dialogs.sheet(
                say("ocr.remove_title", language, name=paper.name), text, language,
                act="remove", submit=say("models.remove", language), style="stop", id=paper.id,
            )
        }  # fmt: skip

    async def remove(self, given: dict[str, str], request: gr.Request) -> Steps:
        await self.engine.documents.remove((await self._paper(given.get("id", ""), request)).id)
        yield {self.w.sheet: ""}


SHOWN = frozenset({"doc", "page", "model", "versus"})


def _number(given: str, numbers: Sequence[int]) -> int:
    """The page that is meant, the first where it is none of them."""
    number = int(given) if given.isdecimal() and len(given) < 7 else 0
    return number if number in numbers else (numbers[0] if numbers else 1)


def _options(form: dict[str, Any]) -> dict[str, Any]:
    """The reading options of the form, as `documents.add` takes them. A resolution that is no number is
    passed on as one that is refused."""
    text = str(form.get("dpi") or "").strip()
    dpi = {"dpi": int(text) if text.isdecimal() and len(text) < 5 else 0} if text else {}
    return {
        "pages": str(form.get("pages") or "").strip(),
        "formatted": bool(form.get("formatted")),
        "text_layer": bool(form.get("text_layer")),
        "password": str(form.get("password") or ""),
        **dpi,
    }


def _languages() -> list[tuple[str, str]]:
    """The common languages in their own words first, then the others; more can be typed ("rus+eng")."""
    others = sorted(set(LANGUAGES) - set(COMMON), key=lambda code: LANGUAGES[code].names[0])
    return [(tongue(code), code) for code in (*COMMON, *others)]
