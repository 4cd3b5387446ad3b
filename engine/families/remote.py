"""Models on other servers, over their own dialect or OpenAI's.

A catalog row names the server: `family = "remote"`, `lane = "remote"`,
`options = { kind = "openai", base_url = "http://host:8000/v1", model = "its name there" }`, with
`kind = "ollama"` for Ollama's dialect. Without `base_url` it is the one of the settings.
More options: `api_key`, and for Ollama `options = { num_ctx = 8192 }`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from engine.errors import BadValue, Unavailable
from engine.families._ollama import Ollama
from engine.families._openai import OpenAI
from engine.families._upstream import Patience, Upstream, address, is_loopback
from engine.registry import ModelSpec
from engine.settings import Settings

SPECS: tuple[ModelSpec, ...] = ()


def load(spec: ModelSpec, settings: Settings) -> Ollama | OpenAI:
    """A client for the row's server; nothing is sent yet.

    Raises:
        BadValue: the row names no server, or a dialect that is none.
        Unavailable: offline, and the server is not on this machine.
    """
    kind = spec.options.get("kind", "openai")
    if kind not in {"ollama", "openai"}:
        raise BadValue(f'{spec.id}: options.kind is "ollama" or "openai".')
    url = str(spec.options.get("base_url") or getattr(settings, f"{kind}_base_url"))
    if not url:
        raise BadValue(f'{spec.id} needs options.base_url, such as "http://127.0.0.1:8000/v1".')
    url = address(url, "/v1" if kind == "openai" else "")
    if settings.offline and not is_loopback(url):
        raise Unavailable(
            f"{spec.id} is on another machine, and this server is offline. Choose a model of this "
            "machine, or switch offline off."
        )
    title = f"the server of {spec.id}"
    upstream = Upstream(url, _key(spec, settings, url), Patience.of(settings), title)
    return Ollama(spec, upstream) if kind == "ollama" else OpenAI(spec, upstream)


def _key(spec: ModelSpec, settings: Settings, url: str) -> str:
    """The row's own key; the settings' key goes to the settings' server alone."""
    own: Any = spec.options.get("api_key") or ""
    if own:
        return str(own.get_secret_value() if hasattr(own, "get_secret_value") else own)
    theirs = settings.openai_base_url
    same = not theirs or urlsplit(address(theirs)).netloc == urlsplit(url).netloc
    return settings.openai_api_key if same else ""
