"""Ask through the Host dialect: plain text as it is made, then the rows of the usage ledger.

pip install requests
python host_ask.py "What can you do?"
"""

from __future__ import annotations

import os
import sys

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
HEADERS = {"Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"}


def main() -> None:
    models = requests.get(f"{URL}/api/v1/ai/models", headers=HEADERS, timeout=10).json()
    body = {
        "agent": os.environ.get("ATELIER_MODEL") or models[0],
        "content": " ".join(sys.argv[1:]) or "Hello! Who are you?",
        "project": "examples",
    }
    ask = f"{URL}/api/v1/ai/ask_async"
    with requests.post(ask, json=body, headers=HEADERS, stream=True, timeout=600) as answer:
        answer.raise_for_status()
        answer.encoding = "utf-8"
        for piece in answer.iter_content(chunk_size=None, decode_unicode=True):
            print(piece, end="", flush=True)
    print()
    rows = requests.get(
        f"{URL}/api/v1/admin/dashboard",
        params={"project": "examples", "limit": "3"},
        headers=HEADERS,
        timeout=10,
    ).json()
    for row in rows:
        print(f"[{row['date']}: {row['model_name']}, {row['total_tokens']} tokens]")


if __name__ == "__main__":
    main()
