"""The other servers we know of, and their models as rows of the catalog, looked for in the background.

They come from OLLAMA_BASE_URL, OPENAI_BASE_URL, from whoever adds one while we run (kept in the
database, with what was found last), or from the usual ports of this machine.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import logging
import re
import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from engine.errors import AtelierError, BadValue, Conflict, Unavailable, Unknown
from engine.families._upstream import Patience, Upstream, address, is_loopback
from engine.footprints import Choices
from engine.listings import ANYTHING, Found, Held, ollama_held, ollama_models, openai_models
from engine.registry import ModelSpec, Registry
from engine.servers import Kind, Server, Source, is_discovered, is_echo, read, spec_of, write
from engine.settings import Settings

# Where Ollama, LM Studio, vLLM and llama.cpp listen unless told otherwise.
PORTS: tuple[tuple[int, Kind, str], ...] = (
    (11434, "ollama", "ollama"),
    (1234, "openai", "lm-studio"),
    (8000, "openai", "vllm"),
    (8080, "openai", "llama-cpp"),
)
KEY = "servers"  # of the remembered choices
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
PROBE_SECONDS = 0.5
RETRY_SECONDS = 1.0  # until the next look at a server that is down; doubles up to the usual pause
log = logging.getLogger("atelier.servers")


class Servers:
    """All other servers. `list` is instant; asking them happens in a task of its own.

    Args:
        registry: takes the models in, under `<server>/<name>` and under the bare name where that is free.
        choices: keeps the servers that were added, with their keys.
        able: False where no family could serve their models; then nothing is looked for.
    """

    def __init__(
        self, settings: Settings, registry: Registry, choices: Choices, able: bool = True
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._choices = choices
        self._able = able
        self._patience = Patience.of(settings)
        self._servers: dict[str, Server] = {}
        self._restored = False
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._looking = asyncio.Lock()
        if able:
            self._from_settings()

    def _from_settings(self) -> None:
        ours = self._settings
        if ours.ollama_base_url:
            url = _plain(ours.ollama_base_url, "ollama")
            self._put(Server("ollama", url, "ollama", "environment"))
        if ours.openai_base_url:
            url = _plain(ours.openai_base_url, "openai")
            key = SecretStr(ours.openai_api_key)
            self._put(Server("openai", url, "openai", "environment", key))
            self._put(replace(self._servers["openai"], models=self._with_given((), "openai")))

    def start(self, opening: Awaitable[Any] | None = None) -> None:
        """Look now and then every `discovery_seconds`; first wait for the database to be open."""
        if self._able:
            self._task = asyncio.create_task(self._look(opening))
        else:
            self._looked.set()

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def looked(self) -> None:
        """Wait until every server was asked once."""
        await self._looked.wait()

    def list(self) -> builtins.list[Server]:
        """All servers, those of the environment first."""
        return list(self._servers.values())

    def get(self, name: str) -> Server:
        """One server. Unknown: there is none of this name."""
        if name not in self._servers:
            known = ", ".join(self._servers) or "none yet"
            raise Unknown(f"No server is called '{name[:80]}'. There are: {known}.", param="name")
        return self._servers[name]

    def restore(self) -> None:
        """Take in what was added before the last restart, once the database is open. Repeating it is harmless."""
        if self._restored or not self._able:
            return
        self._restored = True
        for server in read(self._choices.get(KEY) or "[]"):
            known = self._servers.get(server.name)
            if known is None and server.source == "added":
                self._put(server)
            elif known is not None and known.url == server.url:
                self._put(replace(known, models=self._with_given(server.models, known.name)))

    async def add(
        self, url: str, kind: Kind | Literal["auto"] = "auto", key: str = "", name: str = ""
    ) -> Server:
        """Take a server in and ask it at once; one that is known by this address is asked again.

        Args:
            kind: its dialect; auto: asked for, Ollama's first.
            key: its bearer token.
            name: what its models' ids begin with; empty: made of the address.

        Raises:
            BadValue: no address, or no name. Conflict: another server has this name.
            Unavailable: offline, or it does not answer and `kind` is auto.
        """
        self._refuse_offline(url)
        await _prepare()
        plain, kind = await self._kind(url, key) if kind == "auto" else (_plain(url, kind), kind)
        known = next((s for s in self.list() if s.url == plain), None)
        name = name or (known.name if known else self._name(plain, kind))
        if not NAME.fullmatch(name):
            raise BadValue(
                "A server's name is made of small letters, digits, '.', '_' and '-'.", param="name"
            )
        taken = self._servers.get(name)
        if taken is not None and taken is not known:
            raise Conflict(f"A server is called '{name}' already. Choose another name.")
        if known is not None and known.source == "environment":
            raise Conflict(f"This server is set by the environment already, as '{known.name}'.")
        if known is not None:
            self._servers.pop(known.name)
        self._put(Server(name, plain, kind, "added", SecretStr(key)))
        await self.refresh(name)
        self._keep()
        return self.get(name)

    async def remove(self, name: str) -> None:
        """Forget a server and its models.

        Raises:
            Unknown: there is none. Conflict: the environment names it.
        """
        if self.get(name).source == "environment":
            raise Conflict(
                f"'{name}' is set by {name.upper()}_BASE_URL. Take it out there and restart."
            )
        del self._servers[name]
        self._publish()
        self._keep()

    async def refresh(self, name: str = "") -> builtins.list[Server]:
        """Ask one server, or all at once, and bring the catalog up to date. Never raises for one that is down."""
        async with self._looking:
            await _prepare()
            meant = [self.get(name)] if name else self.list()
            before = {server.name: server.models for server in self.list()}
            for asked, seen in zip(
                meant, await asyncio.gather(*map(self._asked, meant)), strict=True
            ):
                if self._servers.get(asked.name) != asked:  # removed or changed meanwhile
                    continue
                self._servers[asked.name] = seen
                if seen.source == "found" and not seen.healthy:
                    del self._servers[asked.name]
            if before != {server.name: server.models for server in self.list()}:
                self._publish()
                self._keep()
        return [self._servers[server.name] for server in meant if server.name in self._servers]

    async def probe(self) -> builtins.list[Server]:
        """Look at the usual ports of this machine and take in what answers; the servers found now."""
        found = await self._probe(PORTS, "added")
        self._keep()
        return found

    async def _probe(
        self, ports: Iterable[tuple[int, Kind, str]], source: Source
    ) -> builtins.list[Server]:
        found = []
        for port, kind, name in ports:
            url = _plain(f"http://127.0.0.1:{port}", kind)
            known = name in self._servers or any(_same(s.url, url) for s in self.list())
            if known or not await _listens(port):
                continue
            await _prepare()
            seen = await self._asked(Server(name, url, kind, source))
            if seen.healthy:
                self._put(seen)
                found.append(seen)
        return found

    async def _look(self, opening: Awaitable[Any] | None) -> None:
        if opening is not None:
            with suppress(AtelierError):
                await asyncio.shield(opening)
        self.restore()
        longest, soon = self._settings.discovery_seconds, RETRY_SECONDS
        while True:
            if not self._servers and self._settings.probe_local:
                await self._probe(PORTS[:1], "found")
            if self._servers:
                await self.refresh()
            self._looked.set()
            if not longest:
                return
            if all(server.healthy for server in self._servers.values()):
                soon = RETRY_SECONDS
                await asyncio.sleep(longest)
            else:  # it may only be starting, as when both are started together
                await asyncio.sleep(min(soon, longest))
                soon *= 2

    async def _asked(self, server: Server) -> Server:
        """The server with what it says now."""
        try:
            self._refuse_offline(server.url)
            models, held = await self._told(server)
        except AtelierError as error:
            if server.healthy is not False:
                log.warning("%s: %s", server.name, error.message)
            return replace(server, healthy=False, error=error.message, held=(), checked=time.time())
        if server.healthy is not True:
            log.info("%s: %d models", server.name, len(models))
        return replace(
            server, healthy=True, error="", models=self._with_given(models, server.name),
            held=held, checked=time.time(),
        )  # fmt: skip

    async def _told(self, server: Server) -> tuple[tuple[Found, ...], tuple[Held, ...]]:
        key, title = server.key.get_secret_value(), f"the server '{server.name}'"
        upstream = Upstream(server.url, key, self._patience, title)
        try:
            if server.kind == "openai":
                return tuple(await openai_models(upstream)), ()
            known = {model.name: model for model in server.models}
            return (
                tuple(await ollama_models(upstream, known)),
                tuple(await ollama_held(upstream)),
            )
        finally:
            await upstream.close()

    def _with_given(self, models: tuple[Found, ...], name: str) -> tuple[Found, ...]:
        """OPENAI_MODEL is there even where the server does not list it."""
        given = self._settings.openai_model
        if name != "openai" or not given or any(model.name == given for model in models):
            return models
        return (Found(given, accepts=ANYTHING), *models)

    async def _kind(self, url: str, key: str) -> tuple[str, Kind]:
        """The address and the dialect that a server answers in."""
        kinds: tuple[Kind, ...] = (
            ("openai",) if address(url).endswith("/v1") else ("ollama", "openai")
        )
        why = ""
        for kind in kinds:
            plain = _plain(url, kind)
            seen = await self._asked(Server("server", plain, kind, "added", SecretStr(key)))
            if seen.healthy:
                return plain, kind
            why = seen.error
        raise Unavailable(why)

    def _name(self, url: str, kind: Kind) -> str:
        if kind == "ollama" and kind not in self._servers:
            return kind
        parts = urlsplit(url)
        host = re.sub(r"[^a-z0-9.-]", "-", (parts.hostname or "server").lower()).strip(".-")
        plain = f"{host}-{parts.port}" if parts.port else host
        return plain[:40] if plain[:40] not in self._servers else f"{plain[:36]}-{kind[:2]}"

    def _refuse_offline(self, url: str) -> None:
        if self._settings.offline and not is_loopback(address(url)):
            raise Unavailable(
                "That server is on another machine, and this one is offline. Switch offline off first."
            )

    def _put(self, server: Server) -> None:
        self._servers[server.name] = server
        self._publish()

    def _publish(self) -> None:
        """Give the catalog all rows of all servers in place of those it had; at once, for every thread."""
        specs: list[ModelSpec] = []
        own = self._registry.names(besides=is_discovered)
        taken = set(own)
        for server in self.list():
            for model in server.models:
                if model.does and not is_echo(server, model):
                    specs.append(spec_of(server, model, taken))
        self._registry.swap(is_discovered, [spec for spec in specs if spec.id not in own])

    def _keep(self) -> None:
        """Remember the servers that were added, and the last models of all."""
        self._choices.set(KEY, write(self.list()))


def _plain(url: str, kind: Kind) -> str:
    """The address that the dialect's paths are put behind."""
    if kind == "openai":
        return address(url, "/v1")
    return address(re.sub(r"/(v1|api)/?$", "", url.strip()))


def _same(a: str, b: str) -> bool:
    return urlsplit(a).netloc == urlsplit(b).netloc


async def _listens(port: int) -> bool:
    """Whether anybody listens on this port of this machine; costs next to nothing."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


async def _prepare() -> None:
    """Import the HTTP client where it does not hold the loop up: it takes a tenth of a second."""
    await asyncio.to_thread(importlib.import_module, "aiohttp")
