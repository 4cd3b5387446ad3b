"""Chats on the server: create, append, edit, search in any script, page, export, restore."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import insert

from engine.conversations import TEXT_LIMIT, Conversations, fold_case, make_title
from engine.database import Database
from engine.errors import BadValue, Conflict, TooLarge, Unknown
from engine.tables import conversations as table
from engine.tables import messages
from engine.transcripts import Entry


async def say(chats: Conversations, key: str, *texts: str) -> None:
    for n, text in enumerate(texts):
        await chats.append(key, Entry("assistant" if n % 2 else "user", text))


async def titles(chats: Conversations, query: str = "", **page: int) -> list[str]:
    return [chat.title for chat in await chats.list(query, **page)]


async def test_a_chat_is_kept_with_its_entries_in_order(chats: Conversations) -> None:
    made = await chats.create(system="Be kind.", model="m")
    answer = Entry(
        "assistant", "Hello!", reasoning="they greet", model="m", finish="stop",
        usage={"input_tokens": 2},
    )  # fmt: skip
    await say(chats, made.id, "Hi\nthere")
    await chats.append(made.id, answer)
    kept = await chats.get(made.id)
    assert (kept.title, kept.system, kept.model, kept.count) == ("Hi there", "Be kind.", "m", 2)
    assert kept.updated > made.updated and kept.created == made.created
    assert kept.created.tzinfo == UTC
    first, second = await chats.entries(made.id)
    assert (first.role, first.text) == ("user", "Hi\nthere")
    assert second == answer


async def test_ids_cannot_be_guessed(chats: Conversations) -> None:
    ids = {(await chats.create()).id for _ in range(20)}
    assert len(ids) == 20 and all(len(key) >= 22 for key in ids)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  Short\n question  ", "Short question"),
        ("word " * 40, "word word word word word word word word word word word word…"),
        ("x" * 200, "x" * 60 + "…"),
        ("", ""),
    ],
)
def test_titles_are_one_short_line(text: str, title: str) -> None:
    assert make_title(text) == title


async def test_only_an_empty_title_is_made_up(chats: Conversations) -> None:
    named = await chats.create(title="Mine")
    await say(chats, named.id, "Question")
    assert (await chats.get(named.id)).title == "Mine"
    assert (await chats.rename(named.id, " New \n name ")).title == "New name"
    unnamed = await chats.create()
    await chats.append(unnamed.id, Entry("assistant", "Welcome"))
    assert (await chats.get(unnamed.id)).title == ""


async def test_fields_can_be_set_and_others_are_refused(chats: Conversations) -> None:
    key = (await chats.create()).id
    kept = await chats.set(
        key, system="s", model="m", parameters={"temperature": 0.5, "stop": ["é"]}
    )
    assert (kept.system, kept.model, kept.title) == ("s", "m", "")
    assert (await chats.get(key)).parameters == {"temperature": 0.5, "stop": ["é"]}
    for wrong in (
        {"number": 1},
        {"count": 3},
        {"title": 3},
        {"parameters": [1]},
        {"parameters": {"a": {1}}},
    ):
        with pytest.raises(BadValue):
            await chats.set(key, **wrong)
    with pytest.raises(TooLarge):
        await chats.set(key, parameters={"a": "x" * 70_000})
    assert await chats.get(key) == kept


async def test_editing_is_cutting_and_saying_again(chats: Conversations) -> None:
    key = (await chats.create()).id
    await say(chats, key, "one", "two", "three", "four")
    assert await chats.truncate(key, 2) == 2
    await say(chats, key, "tree")
    assert [e.text for e in await chats.entries(key)] == ["one", "two", "tree"]
    assert (await chats.get(key)).count == 3
    assert await chats.truncate(key, 9) == 0
    assert await chats.truncate(key, 0) == 3
    assert await chats.entries(key) == []
    with pytest.raises(BadValue):
        await chats.truncate(key, -1)


async def test_cutting_one_chat_leaves_the_others(chats: Conversations) -> None:
    first, second = (await chats.create()).id, (await chats.create()).id
    for text in ("a", "b", "c"):
        await say(chats, first, text)
        await say(chats, second, text)
    await chats.truncate(first, 1)
    await chats.delete(first)
    assert [e.text for e in await chats.entries(second)] == ["a", "b", "c"]


async def test_what_is_not_there_is_unknown(chats: Conversations) -> None:
    key = (await chats.create()).id
    await say(chats, key, "hi")
    await chats.delete(key)
    calls = [
        chats.get(key),
        chats.entries(key),
        chats.set(key, title="x"),
        chats.rename("nobody", "x"),
        chats.delete(key),
        chats.append("\0\ud800", Entry("user", "x")),
        chats.truncate(key, 0),
        chats.export(key),
    ]
    for call in calls:
        with pytest.raises(Unknown, match="no such conversation"):
            await call
    assert await chats.list() == []


async def test_deleting_asks_those_who_care_first(chats: Conversations) -> None:
    key, seen = (await chats.create()).id, []

    async def note(gone: str) -> None:
        seen.append((gone, (await chats.get(gone)).id))

    chats.before_delete.append(note)
    await chats.delete(key)
    assert seen == [(key, key)]


async def test_the_list_is_paged_last_changed_first(chats: Conversations) -> None:
    ids = [(await chats.create(title=f"t{n}")).id for n in range(5)]
    await say(chats, ids[1], "hello")
    assert await titles(chats) == ["t1", "t4", "t3", "t2", "t0"]
    assert await titles(chats, limit=2, offset=1) == ["t4", "t3"]
    for page in ({"limit": 0}, {"limit": 1001}, {"offset": -1}):
        with pytest.raises(BadValue):
            await chats.list(**page)


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("Une ÉCOLE à Paris", "école", True),
        ("une école", "ÉCOLE", True),
        ("e\u0301cole", "École", True),  # the accent as a character of its own
        ("Привет, МИР", "привет, мир", True),
        ("Straße", "STRASSE", True),
        ("İstanbul coração ÇÃO", "çÃo", True),
        ("100% sure", "0% s", True),
        ("1000 sure", "0% s", False),
        ("snake_case", "e_c", True),
        ("snakeXcase", "e_c", False),
        ("back\\slash", "k\\s", True),
        ("мир", "мор", False),
        ("spaces around", "  around ", True),
    ],
)
@pytest.mark.parametrize("where", ["title", "message"])
async def test_search_finds_in_any_script_and_case(
    chats: Conversations, text: str, query: str, found: bool, where: str
) -> None:
    chat = await chats.create(title=text if where == "title" else "unrelated")
    await say(chats, chat.id, text if where == "message" else "nothing")
    await chats.create(title="another")
    assert len(await chats.list(query)) == int(found)


async def test_search_follows_renaming_and_cutting(chats: Conversations) -> None:
    key = (await chats.create(title="alpha")).id
    await say(chats, key, "needle")
    await chats.rename(key, "beta")
    assert await titles(chats, "alpha") == [] and await titles(chats, "BETA") == ["beta"]
    assert len(await chats.list("needle")) == 1
    await chats.truncate(key, 0)
    assert await chats.list("needle") == []


async def test_texts_have_a_limit(chats: Conversations) -> None:
    key = (await chats.create()).id
    await chats.append(key, Entry("user", "é" * (TEXT_LIMIT // 2)))
    with pytest.raises(TooLarge, match="1 MB"):
        await chats.append(key, Entry("user", "é" * (TEXT_LIMIT // 2 + 1)))
    with pytest.raises(TooLarge):
        await chats.create(system="x" * (TEXT_LIMIT + 1))
    assert (await chats.get(key)).count == 1


async def test_a_chat_can_be_full(chats: Conversations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.conversations.ENTRIES_LIMIT", 2)
    key = (await chats.create()).id
    await say(chats, key, "a", "b")
    with pytest.raises(Conflict, match="Start a new one"):
        await say(chats, key, "c")


async def test_two_who_append_at_once_both_stay(chats: Conversations) -> None:
    key = (await chats.create()).id
    await asyncio.gather(*(chats.append(key, Entry("user", str(n))) for n in range(30)))
    assert {e.text for e in await chats.entries(key)} == {str(n) for n in range(30)}
    assert (await chats.get(key)).count == 30


async def test_an_export_is_restored_whole(chats: Conversations) -> None:
    made = await chats.create(title="Été", system="Sois bref.", model="m")
    await chats.set(made.id, parameters={"seed": 1})
    await chats.append(made.id, Entry("user", "Ça va ?"))
    failed = Entry(
        "assistant", "Oui", finish="failed", error="It broke. Ask again.", usage={"n": 1}
    )
    await chats.append(made.id, failed)
    text = await chats.export(made.id, "json")
    copy = await chats.restore(text.encode())
    assert copy.id != made.id and copy.count == 2
    fields = ("title", "system", "model", "parameters", "created")
    original = await chats.get(made.id)
    assert [getattr(copy, f) for f in fields] == [getattr(original, f) for f in fields]
    assert await chats.export(copy.id) == text
    assert [e.id for e in await chats.entries(copy.id)] != [
        e.id for e in await chats.entries(made.id)
    ]
    assert len(await chats.list("ça va")) == 2


async def test_markdown_is_for_reading(chats: Conversations) -> None:
    key = (await chats.create(title="T", system="S")).id
    await say(chats, key, "Q?")
    await chats.append(key, Entry("assistant", "A.", model="m", finish="failed", error="Broke."))
    assert await chats.export(key, "markdown") == (
        "# T\n\n**System prompt**\n\nS\n\n## You\n\nQ?\n\n## Answer (m)\n\nA.\n\n> Broke.\n"
    )
    with pytest.raises(BadValue):
        await chats.export(key, "pdf")  # type: ignore[arg-type]


def exported(**changes: Any) -> str:
    whole = {
        "format": "atelier.conversation",
        "version": 1,
        "messages": [{"role": "user", "text": "x"}],
    }
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("no json", "the file"),
        ("[]", "the file"),
        (exported(format="other"), "format"),
        (exported(version=2), "version"),
        (exported(messages=[{"role": "boss", "text": "x"}]), "messages.0.role"),
        (exported(messages=[{"role": "user"}]), "messages.0.text"),
        (exported(messages="x"), "messages"),
        (exported(parameters=[]), "parameters"),
    ],
)
async def test_a_wrong_file_is_refused_and_nothing_is_kept(
    chats: Conversations, text: str, place: str
) -> None:
    with pytest.raises(BadValue, match=f"not a conversation.*{place}"):
        await chats.restore(text)
    with pytest.raises(TooLarge):
        await chats.restore(exported(messages=[{"role": "user", "text": "x" * (TEXT_LIMIT + 1)}]))
    assert await chats.list() == []


async def test_hostile_texts_are_stored(chats: Conversations) -> None:
    chat = await chats.create(title="a\0b\ud800", system="\0")
    await chats.set(chat.id, parameters={"k": "\0\ud800"})
    await say(chats, chat.id, "x\0y\ud800")
    assert [e.text for e in await chats.entries(chat.id)] == ["xy?"]
    assert "'; drop" not in await titles(chats, "'; drop table messages; --")
    assert (await chats.get(chat.id)).count == 1


def test_folding_is_stable() -> None:
    for text in ("É", "ﬁn", "ẞ", "Ω", "ǅ", "İ"):
        assert fold_case(fold_case(text)) == fold_case(text)


@pytest.mark.slow
async def test_a_hundred_thousand_chats_list_at_once(
    database: Database, chats: Conversations
) -> None:
    last = await chats.create(title="the last")
    now = last.created
    heads = [
        {"number": n, "id": f"c{n}", "title": f"chat {n}", "search": f"chat {n}", "model": "", "system": "",
         "parameters": {}, "created": now, "updated": now, "count": 1}
        for n in range(10, 100_010)
    ]  # fmt: skip
    entries = [
        {"number": n, "id": f"m{n}", "conversation": n, "role": "user", "text": "", "reasoning": "",
         "created": now, "model": "", "finish": "", "error": "", "usage": {}, "search": f"words {n} more"}
        for n in range(10, 100_010)
    ]  # fmt: skip
    await database.awrite(lambda c: c.execute(insert(table), heads) and None)
    await database.awrite(lambda c: c.execute(insert(messages), entries) and None)
    figures = {}
    for query, found in (("", 50), ("words", 50), ("words 77 more", 1), ("nowhere", 0)):
        began = time.perf_counter()
        assert len(await chats.list(query)) == found
        figures[query] = time.perf_counter() - began
    assert figures[""] < 0.1 and max(figures.values()) < 3, figures
    print(figures)
