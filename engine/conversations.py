"""Chats kept on the server: created, listed, searched, appended to, cut, deleted.

Knows no engine and no page. Editing is `truncate`, then `append`.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from engine.database import Database, storable
from engine.errors import BadValue, Conflict, TooLarge, Unknown
from engine.transcripts import ENTRIES_LIMIT, Conversation, Entry, read_json, to_json, to_markdown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

TEXT_LIMIT = 1_000_000  # bytes of one message, of a system prompt
PARAMETERS_LIMIT = 64_000  # bytes, as JSON
TITLE_LIMIT = 200
TITLE_LENGTH = 60  # of a title made from the first message
PAGE_LIMIT = 1000
FIELDS = ("title", "system", "model", "parameters")  # what a user may change


class Conversations:
    """All chats. An id that is not there raises `Unknown`.

    Attributes:
        before_delete: awaited with the id before a conversation goes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.before_delete: list[Callable[[str], Awaitable[None]]] = []

    async def create(self, title: str = "", system: str = "", model: str = "") -> Conversation:
        """A new, empty conversation; without a title the first message gives it one."""
        values = _check({"title": title, "system": system, "model": model, "parameters": {}})
        return await self._database.awrite(lambda c: _create(c, values, datetime.now(UTC)))

    async def get(self, id: str) -> Conversation:
        return await self._database.aread(lambda c: _get(c, id))

    async def entries(self, id: str) -> Sequence[Entry]:
        """Its messages, oldest first."""
        return await self._database.aread(lambda c: _entries(c, _number(c, id)))

    async def set(self, id: str, **values: Any) -> Conversation:
        """Change the title, system prompt, model or parameters."""
        values = _check(values)
        return await self._database.awrite(lambda c: _change(c, id, values))

    async def rename(self, id: str, title: str) -> Conversation:
        return await self.set(id, title=title)

    async def delete(self, id: str) -> None:
        for stop in self.before_delete:
            await stop(id)
        await self._database.awrite(lambda c: _delete(c, id))

    async def append(self, id: str, entry: Entry) -> Entry:
        """Add a message at the end; returns it as it was stored.

        Raises:
            TooLarge: its text is over 1 MB.
            Conflict: the conversation is full.
        """
        entry = _clean(entry)
        await self._database.awrite(lambda c: _append(c, id, entry))
        return entry

    async def truncate(self, id: str, keep: int) -> int:
        """Keep the first `keep` messages; returns how many went."""
        if keep < 0:
            raise BadValue("Keep 0 messages or more.", param="keep")
        return await self._database.awrite(lambda c: _truncate(c, id, keep))

    async def export(self, id: str, format: Literal["json", "markdown"] = "json") -> str:
        """The whole conversation as text: JSON that `restore` takes back, or Markdown to read."""
        if format not in ("json", "markdown"):
            raise BadValue("A conversation is exported as json or markdown.", param="format")
        whole, entries = await self._database.aread(
            lambda c: (_get(c, id), _entries(c, _number(c, id)))
        )
        return (to_json if format == "json" else to_markdown)(whole, entries)

    async def restore(self, text: str | bytes) -> Conversation:
        """Take in what `export` wrote as JSON, as a new conversation.

        Raises:
            BadValue: it is not such a file; names the field at fault.
        """
        whole, entries = read_json(text)
        head = _check({name: getattr(whole, name) for name in FIELDS})
        entries = [_clean(entry) for entry in entries]
        return await self._database.awrite(lambda c: _restore(c, head, whole.created, entries))

    async def list(
        self, query: str = "", limit: int = 50, offset: int = 0
    ) -> Sequence[Conversation]:
        """A page of conversations, last changed first; with a query, those whose title or messages
        hold it, in whatever case."""
        if not 1 <= limit <= PAGE_LIMIT or offset < 0:
            raise BadValue(f"Ask for 1 to {PAGE_LIMIT} chats from offset 0 on.", param="limit")
        return await self._database.aread(lambda c: _list(c, query, limit, offset))


def make_title(text: str) -> str:
    """About 60 characters of a message's beginning, on one line, cut between words."""
    line = " ".join(text[: TITLE_LENGTH * 20].split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    words, _, rest = cut.rpartition(" ")
    return (words if words and len(rest) < TITLE_LENGTH // 2 else cut).rstrip(" ,.;:–-") + "…"


def fold_case(text: str) -> str:
    """The form in which texts are searched: É, é and e + ´ alike, Д as д."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _check_size(text: str, param: str = "text") -> None:
    size = len(text.encode("utf-8", "replace"))
    if size > TEXT_LIMIT:
        raise TooLarge(
            f"A text holds at most {TEXT_LIMIT / 1e6:g} MB; this one has {size / 1e6:.1f} MB. "
            "Shorten it.",
            param=param,
        )


def _clean(entry: Entry) -> Entry:
    """The entry as every database takes it. Raises TooLarge."""
    _check_size(entry.text)
    return replace(
        entry,
        text=storable(entry.text),
        reasoning=storable(entry.reasoning)[:TEXT_LIMIT],
        error=storable(entry.error),
    )


def _check(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a conversation, bounded and storable; a title with the form it is found by."""
    unknown = set(values) - set(FIELDS)
    if unknown:
        raise BadValue(f"A conversation has no {', '.join(sorted(unknown))}.", param=min(unknown))
    checked = dict(values)
    for name in {"title", "system", "model"} & set(values):
        if not isinstance(values[name], str):
            raise BadValue(f"The {name} must be text.", param=name)
        checked[name] = storable(values[name])
    if "title" in checked:
        checked["title"] = " ".join(checked["title"].split())[:TITLE_LIMIT]
        checked["search"] = fold_case(checked["title"])
    if "system" in checked:
        _check_size(checked["system"], "system")
    if len(checked.get("model", "")) > 512:
        raise BadValue("A model's name has at most 512 characters.", param="model")
    if "parameters" in checked:
        _check_parameters(checked["parameters"])
    return checked


def _check_parameters(parameters: Any) -> None:
    if not isinstance(parameters, dict):
        raise BadValue("The parameters must be an object.", param="parameters")
    try:
        size = len(json.dumps(parameters))
    except (TypeError, ValueError) as error:
        raise BadValue("The parameters must be plain JSON values.", param="parameters") from error
    if size > PARAMETERS_LIMIT:
        raise TooLarge("The parameters are over 64 KB. Remove some.", param="parameters")


def _number(connection: Connection, id: str) -> int:
    from sqlalchemy import select

    from engine.tables import conversations

    here = conversations.c.id == storable(id)
    number: int | None = connection.scalar(select(conversations.c.number).where(here))
    if number is None:
        raise Unknown("There is no such conversation; it may have been deleted. Choose another.")
    return number


def _columns() -> Select[Any]:
    from sqlalchemy import select

    from engine.tables import conversations

    return select(*(conversations.c[f.name] for f in fields(Conversation)))


def _get(connection: Connection, id: str) -> Conversation:
    from engine.tables import conversations

    number = _number(connection, id)
    row = connection.execute(_columns().where(conversations.c.number == number)).mappings().one()
    return Conversation(**row)


def _entries(connection: Connection, number: int) -> list[Entry]:
    from sqlalchemy import select

    from engine.tables import messages

    columns = (messages.c[f.name] for f in fields(Entry))
    found = select(*columns).where(messages.c.conversation == number).order_by(messages.c.number)
    return [Entry(**row) for row in connection.execute(found).mappings()]


def _create(connection: Connection, values: dict[str, Any], created: datetime) -> Conversation:
    from sqlalchemy import insert

    from engine.tables import conversations

    name, now = secrets.token_urlsafe(16), datetime.now(UTC)
    connection.execute(
        insert(conversations).values(id=name, created=created, updated=now, count=0, **values)
    )
    return _get(connection, name)


def _change(connection: Connection, id: str, values: dict[str, Any]) -> Conversation:
    from sqlalchemy import update

    from engine.tables import conversations

    here = conversations.c.number == _number(connection, id)
    now = datetime.now(UTC)
    connection.execute(update(conversations).where(here).values(updated=now, **values))
    return _get(connection, id)


def _delete(connection: Connection, id: str) -> None:
    from sqlalchemy import delete

    from engine.tables import conversations

    number = _number(connection, id)
    connection.execute(delete(conversations).where(conversations.c.number == number))


def _append(connection: Connection, id: str, entry: Entry) -> None:
    whole = _get(connection, id)
    if whole.count >= ENTRIES_LIMIT:
        raise Conflict(
            f"This chat holds {ENTRIES_LIMIT} messages, the most it can. Start a new one."
        )
    values: dict[str, Any] = {}
    if entry.role == "user" and not whole.title:
        title = make_title(entry.text)
        values = {"title": title, "search": fold_case(title)}
    number = _number(connection, id)
    _insert(connection, number, [entry])
    _recount(connection, number, values)


def _insert(connection: Connection, number: int, entries: Sequence[Entry]) -> None:
    from sqlalchemy import insert

    from engine.tables import messages

    rows = [
        {**asdict(entry), "conversation": number, "search": fold_case(entry.text)}
        for entry in entries
    ]
    if rows:
        connection.execute(insert(messages), rows)


def _recount(connection: Connection, number: int, values: dict[str, Any]) -> None:
    from sqlalchemy import func, select, update

    from engine.tables import conversations, messages

    counted = select(func.count()).where(messages.c.conversation == number).scalar_subquery()
    connection.execute(
        update(conversations)
        .where(conversations.c.number == number)
        .values(count=counted, updated=datetime.now(UTC), **values)
    )


def _truncate(connection: Connection, id: str, keep: int) -> int:
    from sqlalchemy import delete, select

    from engine.tables import messages

    number = _number(connection, id)
    mine = messages.c.conversation == number
    later = select(messages.c.number).where(mine).order_by(messages.c.number).offset(keep).limit(1)
    first = connection.scalar(later)
    if first is None:
        return 0
    gone = connection.execute(delete(messages).where(mine, messages.c.number >= first)).rowcount
    _recount(connection, number, {})
    return gone


def _restore(
    connection: Connection, head: dict[str, Any], created: datetime, entries: Sequence[Entry]
) -> Conversation:
    whole = _create(connection, head, created)
    number = _number(connection, whole.id)
    _insert(connection, number, entries)
    _recount(connection, number, {})
    return _get(connection, whole.id)


def _list(connection: Connection, query: str, limit: int, offset: int) -> list[Conversation]:
    from sqlalchemy import exists, or_

    from engine.tables import conversations, messages

    listing = _columns().order_by(conversations.c.updated.desc(), conversations.c.number.desc())
    wanted = fold_case(storable(query).strip()[:TITLE_LIMIT])
    if wanted:
        within = exists().where(
            messages.c.conversation == conversations.c.number,
            messages.c.search.contains(wanted, autoescape=True),
        )
        titled = conversations.c.search.contains(wanted, autoescape=True)
        listing = listing.where(or_(titled, within))
    rows = connection.execute(listing.limit(limit).offset(offset)).mappings()
    return [Conversation(**row) for row in rows]
