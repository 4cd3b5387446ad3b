"""Another server as a value: what is known of it, its rows in the catalog, and how it is kept.

Knows neither how nor when to ask it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import orjson
from pydantic import SecretStr

from engine.listings import Found, Held
from engine.registry import ModelSpec
from engine.requests import Capability

Kind = Literal["ollama", "openai"]
Source = Literal["environment", "added", "found"]
log = logging.getLogger("atelier.servers")


@dataclass(frozen=True, slots=True)
class Server:
    """Another server and what is known of it.

    Args:
        name: the first part of its models' ids.
        healthy: it answered when it was asked last; None: not asked yet.
        error: why it did not.
        models: its models; the last ones known while it is down.
        held: those it holds in memory (Ollama alone says).
        checked: seconds since the epoch when it was asked last; 0: never.
    """

    name: str
    url: str
    kind: Kind
    source: Source
    key: SecretStr = field(default=SecretStr(""), repr=False)
    healthy: bool | None = None
    error: str = ""
    models: tuple[Found, ...] = ()
    held: tuple[Held, ...] = ()
    checked: float = 0.0


def is_discovered(spec: ModelSpec) -> bool:
    """True for a row that came from a server."""
    return "server" in spec.options


def is_echo(server: Server, model: Found) -> bool:
    """True for a model that came round: two Ateliers that list each other would list for ever."""
    path = [server.name, *model.name.split("/")[:-1]]
    return any(path.count(part) > 2 for part in path)


def spec_of(server: Server, model: Found, taken: set[str]) -> ModelSpec:
    """The row of a model; the names it gets are added to those that are taken."""
    names = [model.name]
    if server.kind == "ollama" and model.name.endswith(":latest"):
        names.append(model.name.removesuffix(":latest"))
    first = f"{server.name}/{model.name}"
    aliases = [a for a in (*(f"{server.name}/{n}" for n in names[1:]), *names) if a not in taken]
    taken.update((first, *aliases))
    options: dict[str, Any] = {
        "server": server.name,
        "kind": server.kind,
        "base_url": server.url,
        "model": model.name,
    }
    if server.key.get_secret_value():
        options["api_key"] = server.key
    return ModelSpec(
        id=first,
        does=frozenset(cast(tuple[Capability, ...], model.does)),
        family="remote",
        title=f"{model.name} · {server.name}",
        params=model.params,
        size=model.size,
        context=model.context,
        aliases=tuple(aliases),
        accepts=frozenset(model.accepts),
        lane="remote",
        options=options,
    )


def write(servers: Iterable[Server]) -> str:
    """The servers as JSON to keep; the keys of those that were added too, the environment's not."""
    rows = [
        {
            "name": server.name,
            "url": server.url,
            "kind": server.kind,
            "source": server.source,
            "key": server.key.get_secret_value() if server.source == "added" else "",
            "models": [asdict(model) for model in server.models],
        }
        for server in servers
        if server.source != "found"
    ]
    return orjson.dumps(rows).decode()


def read(text: str) -> list[Server]:
    """The servers as they were kept; none where the text is not ours."""
    try:
        return [_server(row) for row in orjson.loads(text)]
    except (TypeError, KeyError, ValueError):
        log.warning("The servers that were added cannot be read; add them again.")
        return []


def _server(row: dict[str, Any]) -> Server:
    models = tuple(map(_found, row["models"]))
    return Server(**row | {"key": SecretStr(row["key"]), "models": models})


def _found(row: dict[str, Any]) -> Found:
    return Found(**row | {"does": tuple(row["does"]), "accepts": tuple(row["accepts"])})
