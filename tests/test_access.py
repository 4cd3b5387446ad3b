"""Tokens, ranks, sessions that expire, and guesses that are slowed down."""

from __future__ import annotations

import pytest

from engine import Access, Limited, NoToken, Settings
from tests.fakes import Clock


def access(clock: Clock | None = None, **values: str) -> Access:
    return Access(Settings(**values), clock or Clock())


def test_without_tokens_everyone_may_do_everything():
    door = access()
    assert door.is_open
    assert door.rank(None) == door.rank("whatever") == "admin"


def test_one_token_serves_both():
    door = access(token="secret")
    assert not door.is_open
    assert (door.rank("secret"), door.rank("Secret"), door.rank(""), door.rank(None)) == (
        "admin",
        None,
        None,
        None,
    )


def test_two_tokens():
    door = access(token="user", admin_token="admin")
    assert (door.rank("user"), door.rank("admin"), door.rank("x")) == ("user", "admin", None)


def test_an_admin_token_alone_guards_only_its_calls():
    door = access(admin_token="admin")
    assert door.is_open
    assert (door.rank(None), door.rank("admin")) == ("user", "admin")


@pytest.mark.parametrize("token", ["é", "\udcff", "x" * 100_000, "\0"])
def test_odd_tokens_are_just_wrong(token: str):
    assert access(token="secret").rank(token) is None


async def test_sessions_expire_and_end():
    clock = Clock()
    door = access(clock, token="secret")
    session = await door.sign_in("secret", "a")
    assert session != "secret" and len(session) >= 32
    assert door.rank(None, session) == "admin"
    assert door.rank(None, "made up") is None
    clock.pass_(31 * 86_400)
    assert door.rank(None, session) is None
    other = await door.sign_in("secret", "a")
    await door.sign_out(other)
    assert door.rank(None, other) is None


async def test_guesses_are_limited_by_address():
    clock = Clock()
    door = access(clock, token="secret")
    for _ in range(10):
        with pytest.raises(NoToken):
            await door.sign_in("guess", "a")
    with pytest.raises(Limited) as caught:
        await door.sign_in("secret", "a")
    assert caught.value.retry_after and caught.value.retry_after > 200
    assert await door.sign_in("secret", "b")
    clock.pass_(301)
    assert await door.sign_in("secret", "a")
