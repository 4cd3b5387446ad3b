"""Translation by the Brenda dialect: the languages, a text, and a whole file that keeps its layout.

pip install requests
python brenda_translate.py "Where is the station?" fr letter.docx
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
SUBTITLES = b"1\n00:00:01,000 --> 00:00:02,500\nHello!\n"


def main() -> None:
    text = (
        sys.argv[1]
        if len(sys.argv) > 1
        else "Where is the station?\n\n- I would like two coffees, please."
    )
    target = sys.argv[2] if len(sys.argv) > 2 else "fr"
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"
    found = http.get(f"{URL}/v1/ai/translation/languages", timeout=30).json()
    print("languages:", ", ".join(found["languages"]))

    body = {"text": text, "from_lang": "auto", "to_lang": target}
    answer = http.post(f"{URL}/v1/ai/translation/translate", json=body, timeout=600)
    answer.raise_for_status()
    value = answer.json()
    print(value["text"])
    print(f"[{value['model']}, {value['from_lang']}: {value['processing_time']:.2f} s]")
    for sentence in value["untranslated"]:
        print("the model does not know:", sentence)

    name, data = "film.srt", SUBTITLES
    if len(sys.argv) > 3:
        name, data = Path(sys.argv[3]).name, Path(sys.argv[3]).read_bytes()
    form = {"from_lang": "en" if data is SUBTITLES else "auto", "to_lang": target}
    made = http.post(
        f"{URL}/v1/translate/file", data=form, files={"file": (name, data)}, timeout=600
    )
    made.raise_for_status()
    if data is SUBTITLES:
        print(made.content.decode())
    else:
        print(made.headers["content-disposition"], f"{len(made.content)} bytes")


if __name__ == "__main__":
    main()
