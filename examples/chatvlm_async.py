"""Read several pictures at the same time through the ChatVLM dialect with `aiohttp`.

pip install aiohttp
python chatvlm_async.py page1.png page2.jpg
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
HEADERS = {"Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"}
SAMPLES = Path(__file__).resolve().parent.parent / "assets/samples"


async def read(http: aiohttp.ClientSession, picture: Path) -> str:
    """The text of a picture."""
    with picture.open("rb") as file:
        form = aiohttp.FormData()
        form.add_field("file", file, filename=picture.name)
        async with http.post(f"{URL}/ocr", data=form, params={"language": "auto"}) as answer:
            told = await answer.json()
    return str(told["text"] if answer.ok else told["detail"])


async def main() -> None:
    given = [Path(name) for name in sys.argv[1:]]
    pictures = given or [SAMPLES / name for name in ("note-en.png", "letter-fr.png", "sign.png")]
    async with aiohttp.ClientSession(headers=HEADERS) as http:
        texts = await asyncio.gather(*(read(http, picture) for picture in pictures))
    for picture, text in zip(pictures, texts, strict=True):
        print(f"[{picture.name}]\n{text}\n")


if __name__ == "__main__":
    asyncio.run(main())
