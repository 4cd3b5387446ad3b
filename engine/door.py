"""The first settings: how the server is reached, and what it keeps where. The base of `engine.settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings

SPACES = os.environ.get("SYSTEM") == "spaces"


def _data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "atelier"


def named(default: Any, reason: str, *names: str, **limits: Any) -> Any:
    """A field that other names than `ATELIER_…` set too: those the published APIs' clients know."""
    return Field(default, description=reason, validation_alias=AliasChoices(*names), **limits)


class Door(BaseSettings):
    """Address, token, limits; data folder, retention."""

    # The door
    host: str = Field(
        "0.0.0.0" if SPACES else "127.0.0.1",
        description="Address to listen on; anything but loopback should have a token.",
    )
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 7860 is Gradio's.")
    share: bool = Field(False, description="Also open a public Gradio link (needs the network).")
    token: str = Field(
        "", description="Bearer token of page and API; empty means open.", repr=False
    )
    admin_token: str = Field(
        "", description="Bearer token of the admin calls; empty means the token above.", repr=False
    )
    hosts: str = Field("", description="More host names to answer to, comma-separated; * for any.")
    cors_origins: str = Field("", description="Origins a browser may call from; * for any.")
    rate_limits: str = Field(
        "",
        description='Rates for every caller ("100/minute;1000/hour"), "seed" for the seeds\' own.',
    )
    redis_url: str = named(
        "",
        "Shares rates, answers, sign-ins, sessions and stop between processes.",
        "ATELIER_REDIS_URL",
        "REDIS_URL",
    )
    body_limit: int = Field(100_000_000, ge=1, description="Largest request body in bytes.")
    header_timeout: float = Field(
        10.0, gt=0, description="Seconds a client may take for its headers."
    )
    shutdown_timeout: int = Field(
        4, ge=0, description="Seconds that open answers get after SIGTERM."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate file; certs/cert.pem if it is there."
    )
    tls_key: Path | None = Field(None, description="Key file; certs/key.pem if it is there.")
    workers: int = named(
        1, "Server processes; each holds its own models.", "ATELIER_WORKERS", "WORKERS"
    )

    # What is kept
    data_dir: Path = Field(
        default_factory=_data_dir,
        description="Database, uploads and user models; outside the checkout.",
    )
    database_url: str = Field("", description="Another database than SQLite in the data folder.")
    keep_text: bool = Field(True, description="Store prompts and answers in the usage ledger.")
    retention_days: float = Field(30, ge=0, description="Days the ledger keeps texts; 0 for ever.")
    documents_kept: int = Field(
        1000, ge=0, description="Documents that may be stored for reading in the background."
    )
    documents_bytes: int = Field(
        5_000_000_000, ge=0, description="Bytes that the stored documents may take together."
    )
    documents_days: float = Field(
        30, ge=0, description="Days a stored document stays after its last change; 0 for ever."
    )
    files_dir: Path | None = Field(
        None, description="Folder of the files; data_dir/files if unset."
    )
    files_quota: int = Field(
        0,
        ge=0,
        description="Bytes that the files may take, the trash included; 0: what the disk has.",
    )
    files_spare: int = Field(
        100_000_000, ge=0, description="Bytes of the disk that files leave free."
    )
    upload_limit: int = Field(
        2_000_000_000, ge=1, description="Largest body in bytes of an upload to the files."
    )
    unpack_limit: int = Field(
        10_000_000_000, ge=0, description="Bytes that an archive may unpack to."
    )
    trash_days: float = Field(
        7, ge=0, description="Days that deleted files can be brought back; 0: they go at once."
    )
    reattach_seconds: float = Field(
        20,
        ge=0,
        description="How long an answer goes on after its last page closed, so a reload finds it.",
    )
