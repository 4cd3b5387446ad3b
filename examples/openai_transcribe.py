"""Write a recording down through the `openai` package: words as they are heard, then subtitles.

pip install openai
python openai_transcribe.py talk.mp3 fr
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
SAMPLES = Path(__file__).resolve().parent.parent / "assets" / "samples"


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("ATELIER_TOKEN") or "none")
    given = sys.argv[1:]
    file = Path(given[0]) if given else SAMPLES / "speech-en.mp3"
    language = given[1] if len(given) > 1 else "en"
    model = os.environ.get("ATELIER_MODEL") or "whisper-1"
    heard = client.audio.transcriptions.create(
        model=model, file=file, language=language, stream=True
    )
    for event in heard:
        if event.type == "transcript.text.delta":
            print(event.delta, end="", flush=True)
    subtitles = client.audio.transcriptions.create(
        model=model, file=file, language=language, response_format="srt"
    )
    print(f"\n\n{subtitles}")


if __name__ == "__main__":
    main()
