"""Ask about a picture through the Ollama Vision dialect, twice: the second answer comes from memory.

pip install requests
python vision_analyze.py picture.png "How many circles are there?"
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
HEADERS = {"Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"}
SAMPLES = Path(__file__).resolve().parent.parent / "assets/samples"


def main() -> None:
    vision = f"{URL}/api/v1/ai/vision"
    models = requests.get(f"{vision}/models", headers=HEADERS, timeout=10).json()
    for model in models["available_models"]:
        chosen = " (current)" if model["name"] == models["current_model"] else ""
        print(f"- {model['name']} {model['size']}{chosen}")

    picture = Path(sys.argv[1]) if sys.argv[1:] else SAMPLES / "shapes.png"
    body: dict[str, Any] = {
        "image": f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}",
        "prompt": " ".join(sys.argv[2:]) or "What is in the picture?",
        "cache": True,
    }
    for _ in range(2):
        answer = requests.post(f"{vision}/analyze", json=body, headers=HEADERS, timeout=600)
        if not answer.ok:
            raise SystemExit(f"{answer.status_code}: {answer.json()['detail']}")
        told = answer.json()
        print(told["response_text"])
        seconds, cache = told["processing_time"], answer.headers["X-Cache"]
        print(f"[{told['model']}, {seconds:.2f} s, cache {cache}]")


if __name__ == "__main__":
    main()
