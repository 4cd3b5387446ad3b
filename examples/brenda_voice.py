"""A spoken conversation through the Brenda dialect: says a sentence (by eSpeak NG, or a recording of yours), prints
what was heard and the answer as it is written, and saves the spoken answer.

pip install requests        (and Debian's espeak-ng, unless you bring a WAV)
python brenda_voice.py "Hello! Who are you?"
python brenda_voice.py question.wav
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
HELLO = "Hello! Who are you?"
OUT = Path(tempfile.gettempdir()) / "atelier-answer.wav"


def recording(given: str) -> bytes:
    """The WAV that is named, or eSpeak NG saying the text."""
    if given.endswith(".wav"):
        return Path(given).read_bytes()
    return subprocess.run(["espeak-ng", "--stdout", given], capture_output=True, check=True).stdout


def talk(http: requests.Session, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The frames of one turn."""
    answer = http.post(f"{URL}/v1/ai/chaining/chat", json=body, stream=True, timeout=600)
    if (
        answer.status_code in {404, 503} and "text" not in body
    ):  # nobody there understands speech yet
        print(f"[{answer.json()['detail']} Sent as text.]")
        given = " ".join(sys.argv[1:]) or HELLO
        answer = http.post(
            f"{URL}/v1/ai/chaining/chat", json={"text": given}, stream=True, timeout=600
        )
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def main() -> None:
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"
    http.headers["X-Session-ID"] = "example-voice"
    given = " ".join(sys.argv[1:]) or HELLO
    spoken = {"audio": base64.b64encode(recording(given)).decode()}
    pieces: list[bytes] = []
    for frame in talk(http, spoken):
        if frame["type"] == "heard":
            print(f"> {frame['content']}")
        elif frame["type"] == "text":
            print(frame["content"], end="", flush=True)
        elif frame["type"] == "audio":
            pieces.append(base64.b64decode(frame["content"]))
        elif frame["type"] == "error":
            print(f"\n[{frame['error']}: {frame['detail']}]")
        elif frame["type"] == "timings" and frame["total"]:
            print(f"\n[first sound after {frame['first_audio']} s]")
    save(pieces)


def save(pieces: list[bytes]) -> None:
    """All WAVs as one."""
    if not pieces:
        raise SystemExit("[nothing was spoken]")
    with wave.open(str(OUT), "wb") as out:
        for piece in pieces:
            with wave.open(io.BytesIO(piece)) as part:
                if piece is pieces[0]:
                    out.setparams(part.getparams())
                out.writeframes(part.readframes(part.getnframes()))
        seconds = out.getnframes() / out.getframerate()
    print(f"[{OUT}: {seconds:.1f} s of sound]")


if __name__ == "__main__":
    main()
