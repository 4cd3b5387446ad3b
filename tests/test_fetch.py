"""The one guarded fetcher: where it never goes, and what it does not wait or make room for."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from engine import AtelierError, Settings, fetch
from engine.addresses import Rules, is_public, read_url
from engine.errors import BadFormat, BadValue, Busy, Forbidden, TimedOut, TooLarge, Unavailable
from engine.fetch import Fetcher
from tests.strangers import (
    FOUND,
    HOSTS,
    WHOLE,
    Canary,
    canary,
    ill,
    plain,
    stranger,
)

PUBLIC = "93.184.216.34"


@pytest.fixture
async def bird(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Canary]:
    """A canary; connections to anything but loopback are refused at once, so nothing leaves the machine."""
    loop_class = type(asyncio.get_running_loop())
    connect = loop_class.sock_connect

    async def held(self: Any, sock: socket.socket, address: Any) -> None:
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError
        await connect(self, sock, address)

    monkeypatch.setattr(loop_class, "sock_connect", held)
    async with canary() as one:
        yield one


@pytest.fixture
def fetcher(settings: Settings) -> Callable[..., Fetcher]:
    def make(lookup: Any = fetch.look_up, **values: Any) -> Fetcher:
        return Fetcher(settings.model_copy(update=values), lookup)

    return make


async def refusal(fetcher: Fetcher, url: str) -> str:
    """The error's code; the address was never opened."""
    try:
        answer = await fetcher.read(url)
    except AtelierError as error:
        assert "Traceback" not in error.message and "0x" not in error.message
        return error.code
    return f"opened {answer.data[:20]!r}"


async def test_three_hundred_addresses_never_reach_a_canary(
    bird: Canary, fetcher: Callable[..., Fetcher], record_property: Callable[[str, object], None]
):
    """Directly, over redirects and over names whose numbers are not what they should be."""
    codes: dict[str, str] = {}
    tried = 0
    guarded = fetcher()
    addresses = [
        f"{scheme}://{host}:{bird.port}/" for host in HOSTS for scheme in ("http", "https")
    ]
    addresses += [whole.replace("{port}", str(bird.port)) for whole in WHOLE]
    for url in addresses:
        codes[url] = await refusal(guarded, url)
        tried += 1

    targets = [f"http://{host}:{bird.port}/" for host in HOSTS]
    targets += [w.replace("{port}", str(bird.port)) for w in WHOLE if "\n" not in w and w.strip()]

    async def lead(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        location = targets[int(path[1:])].encode("utf-8", "surrogateescape")
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
        writer.write(head)
        await writer.drain()

    async with stranger(lead) as host:
        led = fetcher(fetch_hosts=f"127.0.0.1:{host.port}")
        for number in range(len(targets)):
            # A redirect without a host ("/x", "") leads back to the stranger itself, which then is out of targets.
            codes[f"302 {targets[number]}"] = await refusal(led, f"{host.url}/{number}")
            tried += 1

    for found in FOUND:

        async def lookup(name: str, port: int, found: list[str] = found) -> list[str]:
            return found

        codes[f"DNS {found}"] = await refusal(fetcher(lookup), f"http://a.example:{bird.port}/")
        tried += 1

    opened = {url: code for url, code in codes.items() if code.startswith("opened")}
    record_property("addresses", tried)
    record_property("hits", bird.hits)
    assert tried >= 300
    assert bird.hits == 0, bird.lines
    assert opened == {}


async def test_a_name_that_changes_its_numbers_is_asked_once(
    bird: Canary, fetcher: Callable[..., Fetcher]
):
    """DNS rebinding: what was judged is what is connected to, whatever the name says a moment later."""
    asked: list[str] = []

    async def flips(name: str, port: int) -> list[str]:
        asked.append(name)
        return [PUBLIC] if len(asked) % 2 else ["127.0.0.1"]

    guarded = fetcher(flips)
    for n in range(40):
        asked.clear()
        assert await refusal(guarded, f"http://n{n}.example:{bird.port}/") == "UNAVAILABLE"
        assert len(asked) == 1
    assert bird.hits == 0


async def test_a_proxy_of_the_environment_is_not_used(
    bird: Canary, fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{bird.port}")

    async def lookup(name: str, port: int) -> list[str]:
        return [PUBLIC]

    assert await refusal(fetcher(lookup), "http://a.example/") == "UNAVAILABLE"
    assert bird.hits == 0


async def test_nothing_of_ours_goes_along(fetcher: Callable[..., Fetcher]):
    """No cookie comes back, no credential is sent, and what a redirect holds of them is refused."""

    async def cookies(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        more = "Set-Cookie: a=b; Path=/\r\n" + ("" if path == "/end" else "Location: /end\r\n")
        writer.write(plain(b"fine", status="200 OK" if path == "/end" else "302 Found", more=more))
        await writer.drain()

    async with stranger(cookies) as host:
        guarded = fetcher(fetch_hosts=f"127.0.0.1:{host.port}")
        got = await guarded.read(f"{host.url}/a")
        assert (got.data, got.url, got.kind) == (b"fine", f"{host.url}/end", "text/plain")
    for _, headers in host.asked:
        assert not {"cookie", "authorization", "proxy-authorization", "referer"} & set(headers)
        assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "error"),
    {
        "/endless": TooLarge, "/bomb": TooLarge, "/claims": TooLarge, "/drip": TimedOut,
        "/drip-head": TimedOut, "/silent": TimedOut, "/cut": Unavailable, "/garbled": BadFormat,
        "/brotli": BadFormat, "/loop": BadValue, "/noise": Unavailable, "/wide": Unavailable,
    }.items(),
)  # fmt: skip
async def test_what_misbehaves_is_left(
    path: str, error: type[AtelierError], fetcher: Callable[..., Fetcher], monkeypatch: Any
):
    monkeypatch.setattr(fetch, "OPENING", 1.0)
    monkeypatch.setattr(fetch, "GRACE", 0.5)
    began = time.monotonic()
    async with stranger(ill) as host:
        guarded = fetcher(fetch_hosts=f"127.0.0.1:{host.port}", fetch_bytes=2_000_000)
        with pytest.raises(error):
            await guarded.read(host.url + path)
        assert guarded._open == 0
    assert time.monotonic() - began < 8


async def test_a_slow_reader_is_not_a_slow_server(
    fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch, "GRACE", 0.1)

    async def steady(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(plain(bytes(400_000)))
        await writer.drain()

    async with stranger(steady) as host:
        total = 0
        async with fetcher(fetch_hosts="127.0.0.1").open(host.url) as answer:
            async for piece in answer.pieces():
                total += len(piece)
                await asyncio.sleep(0.05)
    assert total == 400_000


async def test_so_many_may_be_open(fetcher: Callable[..., Fetcher], monkeypatch: Any):
    monkeypatch.setattr(fetch, "AT_ONCE", 0)
    with pytest.raises(Busy):
        await fetcher().read("http://a.example/")


async def test_offline_only_named_hosts_of_this_machine_are_opened(
    fetcher: Callable[..., Fetcher],
):
    async def hello(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"hello"))
        await writer.drain()

    async with stranger(hello) as host:
        guarded = fetcher(offline=True, fetch_hosts="127.0.0.1, 8.8.8.8")
        assert (await guarded.read(host.url)).data == b"hello"
        for url in ("http://example.org/", "http://8.8.8.8/"):
            with pytest.raises(Unavailable, match="offline"):
                await guarded.read(url)


@pytest.mark.parametrize(
    ("named", "url", "admitted"),
    [
        ("nas.lan", "http://nas.lan/", True),
        ("NAS.lan.", "https://nas.lan:8443/", True),
        ("nas.lan:8080", "http://nas.lan:8080/", True),
        ("nas.lan:8080", "http://nas.lan/", False),
        ("nas.lan", "http://x.nas.lan/", False),
        ("[::1]:80", "http://[::1]/", True),
        ("::1", "http://[::1]:81/", True),
        ("10.0.0.5", "http://10.0.0.5:81/", True),
        ("10.0.0.5", "http://10.0.0.50/", False),
    ],
)
def test_named_hosts(named: str, url: str, admitted: bool):
    rules = Rules.of([named])
    target = read_url(url)
    assert rules.admits(target) is admitted
    if not admitted:
        with pytest.raises(Forbidden):
            rules.check(target, [ipaddress.ip_address("10.0.0.1")], "url")


def test_public_numbers():
    for text in (
        "8.8.8.8",
        "1.1.1.1",
        PUBLIC,
        "2606:4700::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
    ):
        assert is_public(ipaddress.ip_address(text)), text
    for found in FOUND:
        assert not found or not all(is_public(ipaddress.ip_address(text)) for text in found), found


def test_addresses_that_people_paste_are_read():
    same = "https://example.org/a%20b?x=1&y=%C3%A9"
    assert read_url(f"  {same}#there \n").text == same
    assert read_url("https://пример.рф/страница").host == "xn--e1afmkfd.xn--p1ai"
    assert read_url("http://Example.ORG:8080/Ü").text == "http://example.org:8080/%C3%9C"
