"""Chat through the OpenAI dialect with the `openai` package, streamed.

pip install openai
python openai_chat.py "What can you do?"
"""

from __future__ import annotations

import os
import sys

from openai import OpenAI

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
TOKEN = os.environ.get("ATELIER_TOKEN", "none")


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=TOKEN)
    model = os.environ.get("ATELIER_MODEL") or client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": " ".join(sys.argv[1:]) or "Hello! Who are you?"}],
        max_tokens=100,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        elif chunk.usage:
            print(f"\n[{chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} out]")


if __name__ == "__main__":
    main()
