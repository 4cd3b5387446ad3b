"""`python -m tests.ocr_server <data folder> <port>`: the real server with the family of `tests.typist` alone.

Each page that the row "noted" reads is a line in `journal` in the data folder, written before the page is answered.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import uvicorn

from app import create_app, server_options
from engine import Engine, Settings
from tests import typist
from tests.serving import tiny_page


def main(folder: str, port: str) -> None:
    settings = Settings(data_dir=Path(folder), device="cpu", port=int(port), _env_file=None)  # type: ignore[call-arg]
    (slow,) = (spec for spec in typist.SPECS if spec.id == "slow")
    options = {"pause": 0.05, "journal": str(Path(folder) / "journal")}
    specs = (*typist.SPECS, replace(slow, id="noted", options=options))
    engine = Engine.build(settings, families={"typist": typist}, specs=specs)
    uvicorn.run(create_app(settings, engine, tiny_page), **server_options(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
