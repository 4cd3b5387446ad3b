"""Every knob, once: its default, its reason and its variable. Flags over environment over `.env` over defaults.

A leaf: knows nothing of models, HTTP or the page. Each field's variable is `ATELIER_` and its name in
capitals, unless it has names of its own; each flag is `--` and its name with dashes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from engine.door import Door, named

ROOT = Path(__file__).resolve().parent.parent


class Settings(Door):
    """All settings; frozen once built, passed to whoever needs them, never read from a global."""

    model_config = SettingsConfigDict(
        env_prefix="ATELIER_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    # Models
    models_file: Path | None = Field(
        None, description="More catalog rows; also data_dir/models.toml."
    )
    default_chat: str = Field(
        "", description="Default chat model; empty: the last chosen, or the starter."
    )
    default_vision: str = named(
        "", "The model that pictures are asked of unless another was chosen.",
        "ATELIER_DEFAULT_VISION", "OLLAMA_VISION_MODEL",
    )  # fmt: skip
    ocr_escalation: bool = Field(
        True,
        description="Read uncertain lines again with a larger model, if one is in memory and idle.",
    )
    voice_listener: str = Field(
        "whisper-small",
        description="Who hears in spoken conversations, once it is here; until then the default.",
    )
    voice_speaker: str = Field(
        "", description="Who speaks in spoken conversations; empty: the default that speaks."
    )
    voice: str = Field(
        "", description='The voice of spoken conversations; empty: the language\'s own ("Elise").'
    )
    voice_system: str = Field(
        "Your answer is spoken aloud. Answer in a few short, plain sentences, in the language you are"
        " spoken to, without lists, headings, tables, code or symbols.",
        description="How models answer in spoken conversations, unless a request says it.",
    )
    device: str = Field(
        "auto", description='Where models run: "auto", "cpu", "cuda", "cuda:1", "mps".'
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weights' type; auto: bfloat16 where the device computes it fast."
    )
    quantisation: Literal["auto", "none", "int8", "int4"] = Field(
        "auto", description="Smaller weights; auto: only for a model that does not fit otherwise."
    )
    offload: bool = Field(
        False, description="Keep a part of every model in RAM beside the GPU; slow, but it fits."
    )
    memory_budget: int = Field(
        0, ge=0, description="Bytes models may hold on a device; 0: 90 % of a GPU, 70 % of the RAM."
    )
    keep_alive: float = Field(
        300, description="Seconds a model stays loaded unused; 0 none, -1 for good."
    )
    parallel: int = Field(16, ge=1, le=256, description="Requests one chat model answers at once.")
    remote_parallel: int = Field(64, ge=1, description="Requests to other servers at once.")
    max_waiting: int = Field(
        256, ge=1, description="Requests that may wait for a device; then 503."
    )
    time_limit: float = Field(
        600, gt=0, description="Seconds a request may run once its model is loaded."
    )
    context_limit: int = Field(0, ge=0, description="Cap on context tokens; 0: the model's own.")
    prefill_chunk: int = Field(
        256, ge=16, description="Prompt tokens read between two steps of running answers."
    )
    prefix_memory: int = Field(
        -1,
        ge=-1,
        description="Bytes of conversations a chat model keeps for next turns; 0 none, -1: 5 % of the device.",
    )
    offline: bool = Field(
        False, description="Model libraries never reach out: sets their offline switches."
    )
    auto_download: bool = Field(
        False,
        description="Fetch a model when it is first asked for, if its licence is an open one.",
    )
    ocr_workers: int = Field(
        0, ge=0, le=64, description="Pages read at once; 0: one for each core, at most 8."
    )
    parallel_downloads: int = Field(2, ge=1, le=16, description="Models fetched at once.")
    hf_token: str = named(
        "",
        "Token for gated and private models of the hub.",
        "ATELIER_HF_TOKEN",
        "HF_TOKEN",
        repr=False,
    )
    replay_seconds: float = Field(
        300, ge=0, description="How long a request's events can be followed after its end."
    )
    replay_bytes: int = Field(
        32_000_000, ge=0, description="Memory for such events; the oldest go first."
    )
    allow_remote_code: str = Field(
        "", description='Repositories whose own code may run: "org/name@revision", comma-separated.'
    )

    # Creatures (GET /v1/generate), under the names that service's users know
    pokemon_images_dir: Path = named(
        Path("assets/creatures"),
        "Folder of the creatures' pictures.",
        "ATELIER_POKEMON_IMAGES_DIR",
        "POKEMON_IMAGES_DIR",
    )
    pokemon_image_pattern: str = named(
        "image_{:02d}.png",
        "How the pictures are called, by their number.",
        "ATELIER_POKEMON_IMAGE_PATTERN",
        "POKEMON_IMAGE_PATTERN",
    )
    pokemon_min_index: int = named(
        0,
        "The first picture's number.",
        "ATELIER_POKEMON_MIN_INDEX",
        "POKEMON_MIN_INDEX",
        ge=0,
        le=9999,
    )
    pokemon_max_index: int = named(
        23,
        "The last picture's number.",
        "ATELIER_POKEMON_MAX_INDEX",
        "POKEMON_MAX_INDEX",
        ge=0,
        le=9999,
    )
    pokemon_generation_backend: Literal["files", "sdxl"] = named(
        "files",
        "Pictures from the folder, or drawn by a model.",
        "ATELIER_POKEMON_GENERATION_BACKEND",
        "POKEMON_GENERATION_BACKEND",
    )
    pokemon_bearer_token: str = named(
        "",
        "Bearer token of GET /v1/generate alone.",
        "ATELIER_POKEMON_BEARER_TOKEN",
        "POKEMON_BEARER_TOKEN",
        repr=False,
    )
    pokemon_rate_limit_per_min: int | None = named(
        None,
        "Calls of GET /v1/generate a minute; 0 for no limit.",
        "ATELIER_POKEMON_RATE_LIMIT_PER_MIN",
        "POKEMON_RATE_LIMIT_PER_MIN",
        ge=0,
    )
    pokemon_name_backend: Literal["local", "remote"] = named(
        "local",
        "Names made here, or by the model at OPENAI_BASE_URL.",
        "ATELIER_POKEMON_NAME_BACKEND",
        "POKEMON_NAME_BACKEND",
    )
    sdxl_turbo_model: str = named(
        "stabilityai/sdxl-turbo",
        "The model that draws creatures.",
        "ATELIER_SDXL_TURBO_MODEL",
        "SDXL_TURBO_MODEL",
    )
    sdxl_width: int = named(
        512, "Width of a drawn creature.", "ATELIER_SDXL_WIDTH", "SDXL_WIDTH", ge=16, le=4096
    )
    sdxl_height: int = named(
        512, "Height of a drawn creature.", "ATELIER_SDXL_HEIGHT", "SDXL_HEIGHT", ge=16, le=4096
    )
    sdxl_steps: int = named(
        1, "Denoising steps of a drawn creature.", "ATELIER_SDXL_STEPS", "SDXL_STEPS", ge=1, le=500
    )

    # Other servers
    ollama_base_url: str = named(
        "", "An Ollama server, whose models join the catalog.",
        "ATELIER_OLLAMA_BASE_URL", "OLLAMA_BASE_URL",
    )  # fmt: skip
    openai_base_url: str = named(
        "", 'An OpenAI-compatible server ("http://host:8000/v1"), whose models join the catalog.',
        "ATELIER_OPENAI_BASE_URL", "OPENAI_BASE_URL",
    )  # fmt: skip
    openai_model: str = named(
        "", "The model of OPENAI_BASE_URL that chats are for unless another was chosen.",
        "ATELIER_OPENAI_MODEL", "OPENAI_MODEL",
    )  # fmt: skip
    openai_api_key: str = named(
        "",
        "Key for the OpenAI-compatible server of OPENAI_BASE_URL.",
        "ATELIER_OPENAI_API_KEY",
        "OPENAI_API_KEY",
        repr=False,
    )
    openai_timeout: float = named(
        60.0,
        "Seconds between two pieces of another server's answer.",
        "ATELIER_OPENAI_TIMEOUT",
        "OPENAI_TIMEOUT",
        gt=0,
    )
    connect_timeout: float = Field(
        5.0, gt=0, description="Seconds another server may take to accept a connection."
    )
    first_token_timeout: float = Field(
        300.0,
        gt=0,
        description="Seconds until another server's first token; it may have to load the model.",
    )
    discovery_seconds: float = Field(
        60.0, ge=0, description="Between two looks at other servers' models; 0: only when asked."
    )
    probe_local: bool = Field(
        True, description="Look for an Ollama on this machine while no other server is set."
    )

    # Containers
    containers_prefix: str = named(
        "brenda", "Containers whose names begin so may be seen and started; empty: none by name.",
        "ATELIER_CONTAINERS_PREFIX", "CONTAINERS_PREFIX",
    )  # fmt: skip
    containers_label: str = Field(
        "", description='Containers with this label ("key" or "key=value") may be as well.'
    )
    docker_host: str = named(
        "", 'The container engine ("unix:///run/podman/podman.sock"); empty: the first socket found.',
        "ATELIER_DOCKER_HOST", "DOCKER_HOST",
    )  # fmt: skip
    # Addresses on the web
    fetch_urls: bool = Field(
        False, description="Pictures in API calls may be http(s) addresses, which the server opens."
    )
    fetch_hosts: str = Field(
        "",
        description='Hosts that may be opened though they are private: "nas.lan, 10.0.0.5:8080".',
    )
    fetch_bytes: int = Field(
        50_000_000, ge=1, description="Largest page or picture that is read from an address."
    )
    fetch_seconds: float = Field(20, gt=0, description="Seconds that reading it may take.")
    media_bytes: int = Field(
        4_000_000_000, ge=1, description="Largest sound, film or file that is taken from the web."
    )
    media_seconds: float = Field(3600, gt=0, description="Seconds that taking it may last.")
    media_sites: str = Field(
        "youtube.*, vimeo.*, dailymotion.*, soundcloud.*, bandcamp.*, archive.org.*, twitch.*, ted.*, "
        "arte.*, bbc.*, peertube.*, reddit.*, applepodcasts.*, npr.*, nasa.*, generic, html5",
        description="What yt-dlp may look for: its extractors' names as patterns; empty: nothing.",
    )

    # Logs
    log_level: str = named("INFO", "DEBUG, INFO, WARN or ERROR.", "ATELIER_LOG_LEVEL", "LOG_LEVEL")
    log_json: bool = named(False, "Logs as JSON lines.", "ATELIER_LOG_JSON", "LOG_JSON")
    log_request_body: bool = named(
        False,
        "Log what is asked of the creature service.",
        "ATELIER_LOG_REQUEST_BODY",
        "LOG_REQUEST_BODY",
    )
    log_remote_content: bool = named(
        False,
        "Log what another server answers when it is asked for a name.",
        "ATELIER_LOG_REMOTE_CONTENT",
        "LOG_REMOTE_CONTENT",
    )
    log_image_b64: bool = named(
        False, "Log creatures' pictures; large.", "ATELIER_LOG_IMAGE_B64", "LOG_IMAGE_B64"
    )

    @classmethod
    def from_args(cls, argv: Sequence[str]) -> Settings:
        """Settings with command-line flags on top. Exits with a usage message on an unknown flag."""
        parser = argparse.ArgumentParser(
            prog="app.py", description="Atelier: every AI modality behind one page and one API."
        )
        for name, field in cls.model_fields.items():
            flag = "--" + name.replace("_", "-")
            if field.annotation is bool:
                parser.add_argument(
                    flag,
                    action=argparse.BooleanOptionalAction,
                    default=None,
                    help=field.description,
                )
            else:
                parser.add_argument(
                    flag, default=None, help=(field.description or "").replace("%", "%%")
                )
        given = {k: v for k, v in vars(parser.parse_args(argv)).items() if v is not None}
        return cls(**given)

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can connect."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @property
    def is_exposed(self) -> bool:
        """True when others can connect and no token is asked for: nothing may be destroyed then."""
        return not self.token and (self.share or not self.is_loopback)

    def listed(self, name: str) -> tuple[str, ...]:
        """The comma-separated setting `name` as a tuple."""
        return tuple(part.strip() for part in str(getattr(self, name)).split(",") if part.strip())
