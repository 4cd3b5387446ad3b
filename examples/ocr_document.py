"""Send a document, follow its pages as they are read in the background, save it as a PDF that can be searched.

pip install requests
python ocr_document.py scan.pdf fr
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
SAMPLES = Path(__file__).resolve().parent.parent / "assets" / "samples"
HEADERS = {
    "Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}",
    "X-Session-ID": f"ocr-{uuid.uuid4().hex[:8]}",  # the document belongs to it
}


def send(file: Path, language: str) -> dict[str, Any]:
    fields = {"language": language, "text_layer": "false"}
    if model := os.environ.get("ATELIER_MODEL"):
        fields["model"] = model
    with file.open("rb") as data:
        answer = requests.post(
            f"{URL}/v1/ocr/documents", files={"files": (file.name, data)}, data=fields,
            headers=HEADERS, timeout=60,
        )  # fmt: skip
    if not answer.ok:
        sys.exit(answer.json()["detail"])
    document: dict[str, Any] = answer.json()["documents"][0]
    return document


def follow(id: str) -> Iterator[dict[str, Any]]:
    """What happens to the document, to its end."""
    events = f"{URL}/v1/jobs/{id}/events"
    with requests.get(events, headers=HEADERS, stream=True, timeout=600) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])


def main() -> None:
    given = sys.argv[1:]
    file = Path(given[0]) if given else next(iter(sorted(SAMPLES.glob("*.pdf"))))
    document = send(file, given[1] if len(given) > 1 else "")
    path = f"{URL}/v1/ocr/documents/{document['id']}"
    print(f"{document['name']}: {document['count']} pages")
    for event in follow(document["id"]):
        if event.get("type") == "page":
            read = event["error"] or f"{len(event['text'].split())} words by {event['model']}"
            print(f"- page {event['number']}: {read}")
    pdf = requests.get(f"{path}/export?format=pdf", headers=HEADERS, timeout=600)
    pdf.raise_for_status()
    folder = Path.cwd() if given else Path(tempfile.mkdtemp())
    target = folder / f"{file.stem}-searchable.pdf"
    target.write_bytes(pdf.content)
    requests.delete(path, headers=HEADERS, timeout=60).raise_for_status()
    print(f"{target}: {len(pdf.content)} bytes")


if __name__ == "__main__":
    main()
