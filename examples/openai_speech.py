"""Speak a text with the `openai` package; the file grows while the next sentence is being made.

pip install openai
python openai_speech.py "Bonjour tout le monde." Elise speech.mp3
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")


def main() -> None:
    given = sys.argv[1:]
    text = given[0] if given else "Good morning! Each sentence is sent as soon as it is spoken."
    voice = given[1] if len(given) > 1 else "alloy"
    target = Path(given[2] if len(given) > 2 else Path(tempfile.mkdtemp()) / "speech.mp3")
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("ATELIER_TOKEN", "none"))
    began, first, size = time.perf_counter(), 0.0, 0
    with (
        client.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice=voice,
            input=text,
            response_format=target.suffix[1:],  # type: ignore[arg-type]
        ) as answer,
        target.open("wb") as file,
    ):
        for piece in answer.iter_bytes():
            first = first or time.perf_counter() - began
            size += file.write(piece)
    print(f"{target.name}: {size} bytes, the first after {first:.2f} s")


if __name__ == "__main__":
    main()
