"""Text of pages and pictures, read on the processor by RapidOCR's networks and by Tesseract.

Owns a request's way through its documents: which pages are under way, in which order they are told. How a page
is read is in `_lines`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.errors import AtelierError, BadValue, Cancelled
from engine.events import Done, Page, Progress
from engine.families import _lines, _tesseract
from engine.faults import wrapped
from engine.languages import LANGUAGES, NAMES, parse_languages
from engine.pages import choose_pages, open_document, page_text
from engine.registry import Emit, ModelSpec
from engine.requests import Capability, OcrRequest
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.families._networks import Networks
    from engine.pages import Document

MB = 1_000_000
_OCR: frozenset[Capability] = frozenset({"ocr"})
_ALL = tuple(LANGUAGES)
_RAPID = tuple(code for code, language in LANGUAGES.items() if language.rapid)
SPECS = (
    ModelSpec(
        "ocr", _OCR, "ocr", title="Reader (RapidOCR and Tesseract)", licence="Apache-2.0",
        memory=1000 * MB, languages=_ALL, aliases=("ocr-auto",), starter=True,
    ),
    ModelSpec(
        "rapidocr", _OCR, "ocr", title="RapidOCR (PP-OCRv6 small)", licence="Apache-2.0",
        memory=1000 * MB, languages=_RAPID, options={"engine": "rapidocr"},
    ),
    ModelSpec(
        "tesseract", _OCR, "ocr", title="Tesseract 5", licence="Apache-2.0",
        memory=100 * MB, languages=_ALL, options={"engine": "tesseract"},
    ),
)  # fmt: skip
LOOK = 0.1  # seconds between two looks whether to go on, or who else wants the device
CROWDED = 0.05  # seconds an emit takes from which on others are at work: then one page at a time
MOST_WORKERS = 8
PIECE = 4  # lines that a thread reads before it looks up

log = logging.getLogger("atelier.ocr")


def load(spec: ModelSpec, settings: Settings) -> Ocr:
    """The reader of `spec`. Raises LoadFailed where RapidOCR's models cannot be opened."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = settings.ocr_workers or min(MOST_WORKERS, cores or 1)
    networks: Networks | None = None
    if spec.options.get("engine") != "tesseract":
        from engine.families._networks import open_networks

        networks = open_networks(workers)
        log.info("%s reads by %s with %d threads", spec.id, networks.engine, workers)
    return Ocr(spec, networks, workers)


class Ocr:
    """Reads documents page by page; up to `workers` pages are under way at once."""

    def __init__(self, spec: ModelSpec, networks: Networks | None, workers: int) -> None:
        self.spec, self.workers = spec, workers
        self._networks = networks
        self._engine = str(spec.options.get("engine", ""))
        self.pages = ThreadPoolExecutor(workers, "ocr-page")
        self._pieces = ThreadPoolExecutor(workers, "ocr-lines")

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        """Every page as a `Page`, in order, with `Progress` in pages after each.

        Raises:
            BadValue: a language that this engine does not read, no such page, no or a wrong password.
            BadFormat, TooLarge: the only document cannot be opened.
            Unavailable: Tesseract or a language pack is missing.
        """
        run = _Run(self, request, self.packs(request.language), emit)
        try:
            run.go()
        finally:
            run.end()
        emit(Done())

    def packs(self, hint: str) -> tuple[str, ...] | None:
        """Tesseract's packs for a hint; () for RapidOCR alone, None where it is to be found out."""
        codes = parse_languages(hint)
        if self._engine == "rapidocr":
            return self._by_rapid(codes)
        if not codes:
            if self._engine == "tesseract":
                _tesseract.check_packs(["eng"])
            return None
        known = [LANGUAGES.get(code) for code in codes]
        if not self._engine and all(language and language.rapid for language in known):
            return ()
        packs = tuple(
            language.pack if language else code for code, language in zip(codes, known, strict=True)
        )
        _tesseract.check_packs(packs)
        return packs

    def _by_rapid(self, codes: Sequence[str]) -> tuple[str, ...]:
        for code in codes:
            language = LANGUAGES.get(code)
            if language is None or not language.rapid:
                names = ", ".join(sorted(NAMES[c] for c in _RAPID))
                raise BadValue(
                    f"RapidOCR does not read {NAMES.get(code, code)}. It reads: {names}. "
                    "Take the model 'ocr' or 'tesseract' for others.",
                    param="language",
                )
        return ()

    def read(self, picture: Any, packs: tuple[str, ...] | None, wanted: Callable[[], bool]) -> Page:
        """The lines of a PIL picture in RGB; on a thread of `pages`."""
        import numpy as np

        pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        spread = lambda work, count: self._spread(work, count, wanted)  # noqa: E731
        task = _lines.Task(pixels, packs, wanted, spread)
        lines = _lines.read_page(task, self._networks)
        model = next(iter(task.engines)) if len(task.engines) == 1 else self.spec.id
        return _lines.make_page(lines, picture.width, picture.height, model)

    def _spread(
        self, work: Callable[[Sequence[int]], None], count: int, wanted: Callable[[], bool]
    ) -> None:
        """Have lines read by all threads, a few at a time."""

        def some(numbers: Sequence[int]) -> None:
            if not wanted():
                raise Cancelled
            work(numbers)

        pieces = max(1, -(-count // PIECE))
        futures = [self._pieces.submit(some, range(n, count, pieces)) for n in range(pieces)]
        wait(futures)
        for future in futures:
            future.result()

    def close(self) -> None:
        """Give everything back."""
        self.pages.shutdown(cancel_futures=True)
        self._pieces.shutdown(cancel_futures=True)
        self._networks = None


@dataclass(slots=True)
class _Source:
    """A document and the pages wanted of it; `document` is open while they are read."""

    index: int
    data: bytes
    numbers: list[int]
    count: int
    failed: Page | None = None
    document: Document | None = None
    left: int = 0

    def close(self) -> None:
        if self.document is not None:
            self.document.close()
            self.document = None


@dataclass(frozen=True, slots=True)
class _Job:
    """One page on its way; without a source it is known to have failed."""

    source: _Source
    number: int


class _Run:
    """One request, on the lane's thread but for `_read`."""

    def __init__(
        self, reader: Ocr, request: OcrRequest, packs: tuple[str, ...] | None, emit: Emit
    ) -> None:
        self._reader, self._request, self._packs, self._emit = reader, request, packs, emit
        self._gone = threading.Event()
        self._sources: list[_Source] = []
        self._running: dict[Future[Page], tuple[int, _Source]] = {}
        self._ready: dict[int, Page] = {}
        self._told = self._total = 0
        self._room = reader.workers

    def go(self) -> None:
        """Read all pages; no page is begun but right after an emit returned."""
        for index, data in enumerate(self._request.documents):
            self._sources.append(self._look_into(index, data))
            self._emit(None)
        self._total = sum(len(s.numbers) if s.failed is None else 1 for s in self._sources)
        jobs = enumerate(self._jobs())
        while self._told < self._total:
            self._begin(jobs)
            done, _ = wait(self._running, LOOK, FIRST_COMPLETED)
            for future in done:
                self._take(future)
            began = time.perf_counter()
            if self._told not in self._ready:
                self._emit(None)
            while self._told in self._ready:
                self._emit(self._ready.pop(self._told))
                self._told += 1
                self._emit(Progress(self._told, self._total))
            crowded = time.perf_counter() - began > CROWDED
            self._room = 1 if crowded else self._reader.workers

    def end(self) -> None:
        """Stop what is under way and give everything back."""
        self._gone.set()
        for future in self._running:
            future.cancel()
        wait(self._running)
        self._running.clear()
        self._ready.clear()
        for source in self._sources:
            source.close()

    def _look_into(self, index: int, data: bytes) -> _Source:
        """Open a document and count its pages; the only one stays open, of many each while it is read."""
        source = _Source(index, data, [], 0)
        alone = len(self._request.documents) == 1
        try:
            source.document = open_document(data, self._request.password)
            source.count = source.document.count
            source.numbers = choose_pages(self._request.pages, source.count)
            if source.document.kind == "picture":
                source.document.size(1)
        except AtelierError as error:
            source.close()
            if alone:
                raise
            source.failed = _failure(index, 0, 0, error)
        if not alone:
            source.close()
        source.left = len(source.numbers)
        return source

    def _jobs(self) -> Iterator[_Job]:
        for source in self._sources:
            for number in source.numbers if source.failed is None else [0]:
                yield _Job(source, number)

    def _begin(self, jobs: Iterator[tuple[int, _Job]]) -> None:
        """Begin as many pages as there is room for; what is finished and not told counts too."""
        limit = 2 * self._reader.workers
        while len(self._running) < self._room and len(self._running) + len(self._ready) < limit:
            position, job = next(jobs, (0, None))
            if job is None:
                return
            if job.source.failed is None and job.source.document is None:
                self._open(job.source)
            if job.source.failed is not None:
                self._ready[position] = replace(job.source.failed, number=job.number)
                continue
            future = self._reader.pages.submit(self._read, job)
            self._running[future] = position, job.source

    def _open(self, source: _Source) -> None:
        try:
            source.document = open_document(source.data, self._request.password)
        except AtelierError as error:  # it could be opened before: memory, or a process, is short
            source.failed = _failure(source.index, 0, source.count, error)

    def _take(self, future: Future[Page]) -> None:
        position, source = self._running.pop(future)
        self._ready[position] = page = future.result()
        self._emit.count(pages=int(not page.error))
        source.left -= 1
        if not source.left:
            source.close()

    def _read(self, job: _Job) -> Page:
        """One page, on a thread of the reader's; its failure is its own."""
        source, number = job.source, job.number
        assert source.document is not None
        try:
            if self._gone.is_set():
                raise Cancelled
            page = self._from_layer(source.document, number) or self._from_picture(
                source.document, number
            )
        # A page may break a library in any way; it must not break the others.
        except Exception as error:
            told = wrapped(error, self._reader.spec.id)
            if source.document.kind == "picture" and not isinstance(error, AtelierError):
                return _failure(source.index, number, source.count, told)
            if source.document.kind == "picture" and len(self._request.documents) == 1:
                raise told from error
            return _failure(source.index, number, source.count, told)
        return replace(page, document=source.index, number=number, count=source.count)

    def _from_layer(self, document: Document, number: int) -> Page | None:
        """A page's own text, where it is wanted and there."""
        dpi = self._request.dpi
        lines = document.layer(number, dpi) if self._request.text_layer else None
        if lines is None:
            return None
        width, height = document.size(number, dpi)
        return Page(0, 0, 0, width, height, lines, page_text(lines))

    def _from_picture(self, document: Document, number: int) -> Page:
        picture = document.render(number, self._request.dpi)
        return self._reader.read(picture, self._packs, lambda: not self._gone.is_set())


def _failure(index: int, number: int, count: int, error: AtelierError) -> Page:
    return Page(index, number, count, error=str(error), code=error.code)
