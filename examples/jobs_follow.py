"""Follow an answer from elsewhere: one connection asks, a second one breaks off and takes it up where it was.

pip install requests
python jobs_follow.py "Tell me about yourself."
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
ID = f"follow-{uuid.uuid4().hex[:8]}"
HEADERS = {
    "Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}",
    "X-Session-ID": f"session-{ID}",  # who knows it may follow and cancel
}


def ask(text: str) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if model := os.environ.get("ATELIER_MODEL"):
        body["model"] = model
    headers = {**HEADERS, "X-Request-ID": ID}
    answer = requests.post(f"{URL}/v1/chat/completions", json=body, headers=headers, timeout=600)
    answer.raise_for_status()


def follow(after: int) -> Iterator[tuple[int, dict[str, object]]]:
    """The answer's numbered events beyond a number, to the end."""
    number = after
    events = f"{URL}/v1/jobs/{ID}/events?after={after}"
    with requests.get(events, headers=HEADERS, stream=True, timeout=600) as answer:
        answer.raise_for_status()
        for raw in answer.iter_lines():
            line = raw.decode()
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: {"):
                yield number, json.loads(line[6:])


def main() -> None:
    text = " ".join(sys.argv[1:]) or "Hello! Who are you?"
    asking = threading.Thread(target=ask, args=(text,))
    asking.start()
    job = f"{URL}/v1/jobs/{ID}"
    while asking.is_alive() and requests.get(job, headers=HEADERS, timeout=10).status_code == 404:
        time.sleep(0.05)
    last = 0
    for number, event in follow(after=0):
        last = number
        if event["type"] == "text":
            print(event["delta"], end="", flush=True)
            break  # the connection is lost; the answer goes on
    for _, event in follow(after=last):
        print(event.get("delta", ""), end="", flush=True)
    asking.join()
    ticket = requests.get(job, headers=HEADERS, timeout=10).json()
    print(f"\n[{ticket['phase']}: {ticket['title']}]")


if __name__ == "__main__":
    main()
