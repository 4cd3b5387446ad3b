"""Pictures of a body that were given as addresses on the web, put in place before a dialect reads them.

Only where `ATELIER_FETCH_URLS` allows, and only through the engine's one guarded fetcher. Knows no dialect: the names
of the fields that hold pictures agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from pydantic import BaseModel

from engine import AtelierError, BadValue
from routers import wire
from routers.bodies import Fetched, is_address

B = TypeVar("B", bound=BaseModel)
Place = tuple[
    str, str, Callable[[str], None]
]  # a field's path, its address, and what puts another value there
FIELDS = frozenset({"image", "images", "image_url", "documents"})
MOST = 16  # addresses of one request


async def fetched(http: HttpRequest, body: B) -> B:
    """The body, with what lies at its pictures' addresses in their place.

    Raises:
        BadValue: too many addresses. And whatever the fetcher raises, naming the field.
        Gone: the client hung up meanwhile.
    """
    engine = wire.engine_of(http)
    if not engine.settings.fetch_urls:
        return body  # what reads the field says that it must not be an address
    places = list(_places(body, ""))
    if len(places) > MOST:
        raise BadValue(
            f"{places[MOST][0]}: at most {MOST} pictures of a request may be addresses.",
            param=places[MOST][0],
        )
    if places:
        read = engine.media.fetcher.read
        reads = [read(url, param=path) for path, url, _ in places]
        answers = await wire.until_gone(http.receive, _together(reads))
        for (_, url, put), answer in zip(places, answers, strict=True):
            put(Fetched(url, answer.data))
    return body


async def _together(reads: list[Any]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_kept(read)) for read in reads]
    answers = [task.result() for task in tasks]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def _kept(read: Any) -> Any:
    """What was read, or the error: one that fails must not hide what is wrong with the first."""
    try:
        return await read
    except AtelierError as error:
        return error


def _places(value: Any, path: str, inside: bool = False) -> Iterator[Place]:
    """Where addresses of pictures stand; `inside`: below a field that holds pictures."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, BaseModel):
        items = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, each in items:
        here = f"{path}.{key}" if path else str(key)
        pictures = inside or key in FIELDS
        if isinstance(each, str):
            if pictures and is_address(each):
                yield here, each, _putter(value, key)
        elif isinstance(each, BaseModel | list):
            yield from _places(each, here, pictures)


def _putter(holder: Any, key: Any) -> Callable[[str], None]:
    if isinstance(holder, list):
        return lambda value: holder.__setitem__(key, value)
    return lambda value: setattr(holder, key, value)
