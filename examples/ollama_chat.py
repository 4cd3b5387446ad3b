"""Chat through the Ollama dialect with the `ollama` package, streamed.

pip install ollama
python ollama_chat.py "What can you do?"
"""

from __future__ import annotations

import os
import sys

from ollama import Client

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
TOKEN = os.environ.get("ATELIER_TOKEN", "none")


def main() -> None:
    client = Client(host=URL, headers={"Authorization": f"Bearer {TOKEN}"})
    models = [model.model or "" for model in client.list().models]
    for model in models:
        print(f"- {model}: {', '.join(client.show(model).capabilities or [])}")
    question = " ".join(sys.argv[1:]) or "Hello! Who are you?"
    pieces = client.chat(
        model=os.environ.get("ATELIER_MODEL") or "starter-chat",
        messages=[{"role": "user", "content": question}],
        options={"num_predict": 100},
        keep_alive="10m",
        stream=True,
    )
    for piece in pieces:
        print(piece.message.content, end="", flush=True)
        if piece.done:
            made, seconds = piece.eval_count or 0, (piece.eval_duration or 0) / 1e9
            rate = made / seconds if seconds else 0.0
            print(f"\n[{piece.prompt_eval_count} tokens in, {made} out, {rate:.0f} a second]")


if __name__ == "__main__":
    main()
