"""Stored documents as values: a `Paper`, its readings, and pages whose lines were corrected. Knows no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from engine.events import Page, Segment

PaperPhase = Literal["queued", "running", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one model read of a document; `done` and `failed` count pages."""

    model: str
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Paper:
    """A stored document as it stands now.

    Args:
        name: the file's, without folders.
        session: whom it belongs to.
        model: who read it first, an id or "auto"; the other readings are in `readings`.
        language: the hint it came with.
        count: how many pages are read; `numbers` which, counted from 1, and `total` how many the file has.
        done, failed: pages of the reading under way, or of the last one.
        error: why the whole document failed, a sentence for people; `code` is the error's.
        options: `pages`, `dpi`, `text_layer`, `formatted` as they were asked for.
        readings: in the order they were asked for, at least one.
        kind: "pdf", "tiff" or "picture".
        size: bytes of the file.
    """

    id: str
    name: str
    session: str
    model: str
    language: str
    count: int
    done: int
    failed: int
    phase: PaperPhase
    error: str
    created_at: datetime
    options: Mapping[str, Any]
    readings: tuple[Reading, ...] = ()
    numbers: tuple[int, ...] = ()
    total: int = 0
    kind: str = "pdf"
    size: int = 0
    code: str = ""
    updated_at: datetime | None = None


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document.

    Args:
        total: pages of the file; `numbers` are those to be read.
        models: who reads it, one after another: ids or "auto".
        password: opens the file; it stays here and is part of no answer.
        server: the process that reads it.
    """

    id: str
    session: str
    name: str
    kind: str
    size: int
    total: int
    numbers: list[int]
    models: list[str]
    options: dict[str, Any]
    password: str = field(default="", repr=False)
    phase: PaperPhase = "queued"
    error: str = ""
    code: str = ""
    server: str = ""
    created: datetime = field(default_factory=utc_now)
    updated: datetime = field(default_factory=utc_now)

    def paper(self, counts: Mapping[str, tuple[int, int]]) -> Paper:
        """The document as others see it; `counts` are pages done and failed by model."""
        readings = tuple(Reading(model, *counts.get(model, (0, 0))) for model in self.models)
        count = len(self.numbers)
        current = next((r for r in readings if r.done + r.failed < count), readings[-1])
        return Paper(
            id=self.id,
            name=self.name,
            session=self.session,
            model=self.models[0],
            language=self.options.get("language", ""),
            count=count,
            done=current.done,
            failed=current.failed,
            phase=self.phase,
            error=self.error,
            created_at=self.created,
            options={k: v for k, v in self.options.items() if k != "language"},
            readings=readings,
            numbers=tuple(self.numbers),
            total=self.total,
            kind=self.kind,
            size=self.size,
            code=self.code,
            updated_at=self.updated,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be read next of a document: these pages by this model, none when all is read."""

    row: DocumentRow
    model: str
    missing: tuple[int, ...]
    failed: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How many documents, and how many bytes of them, may be stored."""

    documents: int
    size: int


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as it was read, and what was corrected: new texts by the line's place, counted from 0."""

    page: Page
    corrections: Mapping[int, str] = field(default_factory=dict)

    @property
    def corrected(self) -> Page:
        """The page with its corrections; a line corrected by hand is sure (its score is 1)."""
        return with_lines(self.page, {n: (text, 1.0) for n, text in self.corrections.items()})


def with_lines(page: Page, changes: Mapping[int, tuple[str, float | None]]) -> Page:
    """The page with other texts and scores in some of its lines; boxes stay, text and Markdown follow."""
    changes = {index: new for index, new in changes.items() if 0 <= index < len(page.lines)}
    if not changes:
        return page
    lines = list(page.lines)
    for index, (text, score) in changes.items():
        lines[index] = replace(lines[index], text=text, score=score)
    text, all_found = _swapped(page.text, page.lines, lines)
    if not all_found:
        text = "\n".join(line.text for line in lines)
    markdown, _ = _swapped(page.markdown, page.lines, lines)
    return replace(page, lines=tuple(lines), text=text, markdown=markdown)


def _swapped(body: str, old: Sequence[Segment], new: Sequence[Segment]) -> tuple[str, bool]:
    """The body with old lines' texts replaced where they stand, in order; False where one is not to be found."""
    if not body:
        return body, True
    pieces: list[str] = []
    at, all_found = 0, True
    for before, after in zip(old, new, strict=True):
        place = body.find(before.text, at) if before.text else -1
        if place < 0:
            all_found = all_found and before.text == after.text
            continue
        pieces += [body[at:place], after.text]
        at = place + len(before.text)
    return "".join([*pieces, body[at:]]), all_found


def page_of(value: Mapping[str, Any]) -> Page:
    """A page out of what `dataclasses.asdict` and JSON made of it."""
    known = dict(value)
    known["lines"] = tuple(_segment(line) for line in known.get("lines", ()))
    return Page(**known)


def _segment(value: Mapping[str, Any]) -> Segment:
    known = dict(value)
    for name in ("box", "corners"):
        if known.get(name) is not None:
            known[name] = tuple(known[name])
    return Segment(**known)
