"""What other people's libraries may send over the network: nothing of their own accord, nothing at all offline."""

from __future__ import annotations

import os
import sys

from engine.settings import Settings

SILENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DO_NOT_TRACK": "1",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def set_switches(settings: Settings) -> None:
    """Set the libraries' own switches; they read them when they are imported, so this comes before."""
    os.environ.update(SILENT)
    if settings.offline:
        os.environ.update(OFFLINE)
        hub = sys.modules.get("huggingface_hub.constants")
        if hub is not None:  # an engine that is built late, in a notebook for instance
            hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
