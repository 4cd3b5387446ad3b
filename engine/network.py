"""What other people's libraries may send over the network: nothing of their own accord, nothing at all offline."""

from __future__ import annotations

import os

from engine.settings import Settings

SILENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DO_NOT_TRACK": "1",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def set_switches(settings: Settings) -> None:
    """Set the libraries' own switches; they read them when they are imported, so this comes before."""
    os.environ.update(SILENT)
    if settings.offline:
        os.environ.update(OFFLINE)
