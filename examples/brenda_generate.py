"""A session through the Brenda dialect: load a model, ask it, and ask it again as a stream.

pip install requests
python brenda_generate.py "What can you do?"
"""

from __future__ import annotations

import json
import os
import sys

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")


def main() -> None:
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"
    http.headers["X-Session-ID"] = "example-brenda"
    models = http.get(f"{URL}/v1/ai/models", timeout=10).json()["models"]
    model = os.environ.get("ATELIER_MODEL") or models[0]
    loaded = http.post(f"{URL}/v1/ai/load_model", json={"model_name": model}, timeout=600).json()
    print(f"[{loaded['model']} loaded in {loaded['load_time']:.1f} s]")

    question = {"role": "user", "content": " ".join(sys.argv[1:]) or "Hello! Who are you?"}
    body = {"model": model, "messages": [question]}
    whole = http.post(f"{URL}/v1/ai/generate", json={**body, "stream": False}, timeout=600)
    whole.raise_for_status()
    print(whole.json()["message"]["content"])
    print(f"[{whole.json()['usage']}]")

    with http.post(
        f"{URL}/v1/ai/generate", json={**body, "stream": True}, stream=True, timeout=600
    ) as stream:
        stream.raise_for_status()
        for line in stream.iter_lines():
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                print(json.loads(line[6:]).get("content", ""), end="", flush=True)
    print()


if __name__ == "__main__":
    main()
