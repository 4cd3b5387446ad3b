"""A small client of the ChatVLM dialect: the text of pictures, one or many, and questions about them.

pip install requests
python chatvlm_client.py page.png "What is this about?"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
SAMPLES = Path(__file__).resolve().parent.parent / "assets/samples"


class ChatVLM:
    """A server's calls; a model that is not named is the server's default for the task."""

    def __init__(self, url: str = URL, token: str = "none") -> None:
        self.url = url
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"

    def health(self) -> dict[str, Any]:
        """The server's state, its GPU, the models in memory."""
        return self._read(self.http.get(f"{self.url}/health", timeout=10))

    def ocr(self, picture: Path, language: str | None = None, model: str | None = None) -> str:
        """The text of a picture."""
        with picture.open("rb") as file:
            answer = self.http.post(
                f"{self.url}/ocr",
                files={"file": file},
                params={"model": model, "language": language},
                timeout=600,
            )
        return str(self._read(answer)["text"])

    def ocr_all(self, pictures: Sequence[Path], model: str | None = None) -> list[dict[str, Any]]:
        """What came of each of up to ten pictures; one that is bad does not fail the others."""
        with ExitStack() as stack:
            files = [("files", stack.enter_context(picture.open("rb"))) for picture in pictures]
            answer = self.http.post(
                f"{self.url}/batch/ocr", files=files, params={"model": model}, timeout=600
            )
        results: list[dict[str, Any]] = self._read(answer)["results"]
        return results

    def chat(self, picture: Path, prompt: str, model: str | None = None) -> str:
        """The answer to a question about a picture."""
        with picture.open("rb") as file:
            answer = self.http.post(
                f"{self.url}/chat",
                files={"file": file},
                data={"prompt": prompt, "model": model, "temperature": 0.2, "max_tokens": 256},
                timeout=600,
            )
        return str(self._read(answer)["response"])

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        if not answer.ok:
            raise SystemExit(f"{answer.status_code}: {answer.json()['detail']}")
        told: dict[str, Any] = answer.json()
        return told


def main() -> None:
    client = ChatVLM(token=os.environ.get("ATELIER_TOKEN", "none"))
    picture = Path(sys.argv[1]) if sys.argv[1:] else SAMPLES / "note-en.png"
    print(f"[{client.health()['status']}]")
    print(client.ocr(picture, language="English"))
    for result in client.ocr_all([picture, SAMPLES / "letter-fr.png", Path(__file__)]):
        first = result["text"].partition("\n")[0]
        print(f"- {result['filename']}: {result['status']}: {result.get('error') or first}")
    print(client.chat(SAMPLES / "shapes.png", " ".join(sys.argv[2:]) or "What is in the picture?"))


if __name__ == "__main__":
    main()
