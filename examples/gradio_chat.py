"""Chat through the page's own API with `gradio_client`.

pip install gradio_client
python gradio_chat.py "What can you do?"
"""

from __future__ import annotations

import os
import sys

from gradio_client import Client

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
TOKEN = os.environ.get("ATELIER_TOKEN", "none")


def main() -> None:
    client = Client(f"{URL}/", headers={"Authorization": f"Bearer {TOKEN}"}, verbose=False)
    question = " ".join(sys.argv[1:]) or "Hello! Who are you?"
    print(client.predict(message=question, api_name="/chat"))


if __name__ == "__main__":
    main()
