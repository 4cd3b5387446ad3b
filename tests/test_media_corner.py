"""The media corner of the page: what its handlers do, and that foreign values stay text."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine
from engine.media_kinds import Format, Found, Taken
from tests.sites import ARTICLE, Site
from ui.media import Corner
from ui.media_views import Job, Shown, card, clock, jobs

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def corner(build: Any, site: Site) -> Corner:
    own: Engine = build(fetch_hosts=f"127.0.0.1:{site.host.port}")
    return Corner(own, "found", "jobs")  # type: ignore[arg-type]


def reader(session: str = "aaaaaaaa") -> Any:
    return SimpleNamespace(
        cookies={"atelier_page": session}, session_hash=session, headers={"accept-language": "fr"},
        username=None,
    )  # fmt: skip


async def painted(steps: Any) -> dict[str, str]:
    """What the last of an event's updates paint."""
    last: dict[str, str] = {}
    async for updates in steps:
        last |= {k: v for k, v in updates.items() if isinstance(v, str)}
    return last


async def test_an_address_is_looked_at_taken_and_sent_on(corner: Corner, site: Site):
    site.pages["/news"] = (ARTICLE.encode(), "text/html")
    page = await painted(corner.ask(f" {site.url('/news')} ", reader()))
    assert "High water" in page["found"] and "Récupérer" in page["found"]
    told = '{"act": "take", "then": "translate"}#1'
    await painted(corner.act(told, reader()))
    [ticket] = [t for t in corner.engine.jobs.list() if t.kind == "media"]
    await corner.engine.media.finished(ticket.id)
    shown = (await corner.look('{"all": "1"}#2', reader()))["jobs"]
    assert 'data-then="translate"' in shown and 'data-name="High water.md"' in shown
    assert 'data-url="v1/files/stream/High%20water.md"' in shown
    assert 'data-kind="text/markdown"' in shown and 'data-moving="0"' in shown
    # another browser sees neither the card nor the job
    other = await corner.look('{"all": "1"}#3', reader("bbbbbbbb"))
    assert "High water" not in other["found"] + other["jobs"]
    await corner.engine.media.close()


async def test_a_refusal_is_a_sentence(corner: Corner):
    page = await painted(corner.ask("http://localhost/", reader()))
    assert "The address lies in a private network" in page["found"]
    page = await painted(corner.ask("ftp://a.example/", reader()))
    assert 'role="alert"' in page["found"]


async def test_who_may_cancel(corner: Corner, site: Site):
    async def never(path: str, headers: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    site.host.say = never
    ticket = corner.engine.media.begin(site.url("/x"), session="aaaaaaaa")
    told = f'{{"act": "cancel", "job": "{ticket.id}"}}#1'
    await painted(corner.act(told, reader("bbbbbbbb")))
    assert corner.engine.jobs.get(ticket.id).phase != "cancelled"
    await painted(corner.act(told, reader()))
    assert corner.engine.jobs.get(ticket.id).phase == "cancelled"


def test_foreign_values_are_text():
    one = Format(EVIL, "mp4", True, True, note=EVIL)
    found = Found(
        EVIL, EVIL, "video", EVIL, EVIL, 3723.4, 5, 10, 20, EVIL, EVIL, EVIL, EVIL,
        formats=(one, one), by_site=True,
    )  # fmt: skip
    ticket = SimpleNamespace(
        id=EVIL, title=EVIL, phase="done", done=1, total=2, error=EVIL, speed=1.0, seconds_left=2.0
    )
    html = card(Shown("u", found), "ru") + card(Shown(EVIL, error=EVIL), "en")
    html += jobs([Job(ticket, Taken(found, f"a/{EVIL}", "video/mp4", 5, EVIL), EVIL)], "pt")  # type: ignore[arg-type]
    assert "<img src=x" not in html and "onerror" in html
    assert "1:02:03" in html and clock(59.6) == "1:00"
