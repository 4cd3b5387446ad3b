"""Creatures with name and rarity; the pictures are written into a temporary folder.

python creatures.py
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
TOKEN = os.environ.get("POKEMON_BEARER_TOKEN") or os.environ.get("ATELIER_TOKEN", "")
COUNT = 3


def make() -> Any:
    """One creature, as the service tells it."""
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    request = urllib.request.Request(f"{URL}/v1/generate", headers=headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="creatures-"))
    for _ in range(COUNT):
        try:
            made = make()
        except urllib.error.HTTPError as error:  # UNAUTHORIZED, RATE_LIMITED, GENERATION_FAILED
            print(error.code, json.load(error))
            return
        told = made["metadata"]
        picture = base64.b64decode(str(made["imageBase64"]))
        file = folder / f"{told['id']}.png"
        file.write_bytes(picture)
        print(f"{told['name']} · rarity {told['rarity']} · {len(picture)} bytes · {file.name}")
    print(f"in {folder}")


if __name__ == "__main__":
    main()
