"""Servers that are not to be trusted, canaries that count who comes, and addresses that should not lead to them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Handler = Callable[[str, dict[str, str], asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Canary:
    """A listener that nobody may reach; `hits` counts who did."""

    port: int = 0
    hits: int = 0
    lines: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            self.lines.append(await asyncio.wait_for(reader.readline(), 0.5))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """A canary on one port of every loopback address there is."""
    bird = Canary()
    servers = [await asyncio.start_server(bird.serve, "127.0.0.1", 0)]
    bird.port = servers[0].sockets[0].getsockname()[1]
    for host in ("::1", "127.0.0.2", "127.1.2.3"):
        with suppress(OSError):
            servers.append(await asyncio.start_server(bird.serve, host, bird.port))
    try:
        yield bird
    finally:
        for server in servers:
            server.close()


@dataclass
class Stranger:
    """A server of a test's own; `say` answers what was asked, raw."""

    say: Handler
    port: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            pairs = [line.partition(":") for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            self.asked.append((path, headers))
            await self.say(path, headers, writer)
        writer.close()


@asynccontextmanager
async def stranger(say: Handler) -> AsyncIterator[Stranger]:
    one = Stranger(say)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()


def plain(body: bytes, kind: str = "text/plain", status: str = "200 OK", more: str = "") -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def ill(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    """Every way to misbehave, by path."""
    await _ILL[path.partition("?")[0]](writer)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _bomb(writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(bytes(40_000_000), 1)
    writer.write(plain(body, more="Content-Encoding: gzip\r\n"))
    await writer.drain()


async def _claims(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx")
    await writer.drain()


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()


async def _garbled(writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"no gzip at all", more="Content-Encoding: gzip\r\n"))
    await writer.drain()


async def _brotli(writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"\x0b\x02\x80", more="Content-Encoding: br\r\n"))
    await writer.drain()


async def _loop(writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"", status="302 Found", more="Location: /loop?a\r\n"))
    await writer.drain()


async def _noise(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff SSH-2.0 nothing\r\n\r\n")
    await writer.drain()


async def _wide(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\nx")
    await writer.drain()


_ILL = {
    "/endless": _endless, "/drip": _drip, "/drip-head": _drip_head, "/silent": _silent,
    "/bomb": _bomb, "/claims": _claims, "/cut": _cut, "/garbled": _garbled, "/brotli": _brotli,
    "/loop": _loop, "/noise": _noise, "/wide": _wide,
}  # fmt: skip

# Hosts that mean loopback, or something else that lies inside, to some reader of addresses.
HOSTS = (
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001",
    "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "0177.1", "017700000001", "0x7F.0x0.0x0.0x1", "127.0.0.01",
    "00000177.0.0.1", "127.000.000.001", "127.0.0.1.", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1",
    "127．0．0．1", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "localhost", "LOCALHOST", "localhost.", "lo\u212aalhost",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "a.localhost",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::]", "[::127.0.0.1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:0:0]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::127.0.0.1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]", "[2001:0:0:0:0:0:80ff:fffe]", "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]",
    "[::1%25lo]", "[::1%251]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[5f00::1]",
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "169.254.170.2", "100.64.0.1",
    "100.100.100.200", "192.0.0.192", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "0251.0376.0251.0376", "0xa9fea9fe", "2852039166",
)  # fmt: skip
# Whole addresses; {port} is the canary's.
WHOLE = (
    "http://a.example\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@a.example/",
    "http://a.example@127.0.0.1:{port}/", "http://a.example:80@127.0.0.1:{port}/",
    "http://a:b@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@a.example/", "http://127.0.0.1:{port}?@a.example/",
    "http://a.example%00@127.0.0.1:{port}/", "http://127.0.0.1:{port}%2f@a.example/",
    "http://127.0.0.1%00.a.example:{port}/", "http://127.0.0.1\t:{port}/", "http://127.0.0.1\n:{port}/",
    "ht\ttp://127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\", "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http:////127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}/", "hTTps://127.0.0.1:{port}/", "https://[::1]:{port}/",
    "file:///etc/passwd", "file://127.0.0.1:{port}/", "FILE:///etc/passwd", "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET", "dict://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/",
    "wss://127.0.0.1:{port}/", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "data:text/plain,x", "javascript:alert(1)", "jar:http://127.0.0.1:{port}!/", "netdoc://127.0.0.1:{port}/",
    "ldap://127.0.0.1:{port}/", "tftp://127.0.0.1:{port}/", "sftp://127.0.0.1:{port}/", "blob:http://127.0.0.1:{port}/",
    "view-source:http://127.0.0.1:{port}/", "about:blank", "", " ", "http://", "http://:{port}/", "https://:@/",
    "http://[::1", "http://[]:{port}/", "http://[127.0.0.1]:{port}/", "http://[::1]]:{port}/",
    "http://127.0.0.1:{port}:80/", "http://127.0.0.1:+{port}/", "http://127.0.0.1:0x50/", "http://127.0.0.1:-1/",
    "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://\u202e127.0.0.1:{port}/", "http://127.0.0.1\u200b:{port}/",
    "http://127.0.0.1\u00ad:{port}/", "http://\ufeff127.0.0.1:{port}/", "\ufeffhttp://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nX-Injected: 1", "http://a.example:22/", "http://a.example:25/",
    "http://a.example:6379/", "http://a.example:11211/", "http://a.example:587/", "http://.:{port}/",
    "http://..:{port}/", "http://-:{port}/", "http://a..example:{port}/", "http://" + "a" * 300 + ":{port}/",
    "http://" + "a." * 4000 + ":{port}/", "http://127.0.0.1;{port}/", "http://127.0.0.1,a.example:{port}/",
    "http://127.0.0.1&a.example:{port}/", "http://127.0.0.1 a.example:{port}/", "http://xn--:{port}/",
    "http://xn--a:{port}/", "url:http://127.0.0.1:{port}/", "http://http://127.0.0.1:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/", "http://1.1.1.1 &@127.0.0.1:{port}# @3.3.3.3/",
)  # fmt: skip
# What a name may be found to be: every one of these lists holds something that is not public.
FOUND = (
    ["127.0.0.1"], ["::1"], ["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "127.0.0.1"], ["10.1.2.3"],
    ["192.168.1.1"], ["172.31.255.255"], ["169.254.169.254"], ["100.127.255.255"], ["0.0.0.0"], ["::"],
    ["::ffff:127.0.0.1"], ["::ffff:10.0.0.1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["2002:a00:1::"], ["fe80::1%1"],
    ["fd00:ec2::254"], ["192.0.0.192"], ["198.19.0.1"], ["224.0.0.251"], ["255.255.255.255"],
    ["2001:db8::1"], ["2001:4860:4860::8888", "::1"], ["fec0::1"], ["::127.0.0.1"], [],
)  # fmt: skip
