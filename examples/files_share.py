"""Share files: upload them, look, read a part, pack a folder, delete it and bring it back.

pip install requests
python files_share.py holiday.jpg notes.txt
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860") + "/v1/files"
SAMPLES = Path(__file__).resolve().parent.parent / "assets" / "samples"
SESSION = requests.Session()
SESSION.headers["Authorization"] = f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"


def call(method: str, path: str, **options: Any) -> requests.Response:
    answer = SESSION.request(method, f"{URL}/{path}", timeout=120, **options)
    if not answer.ok:
        sys.exit(answer.json()["detail"])
    return answer


def upload(files: list[Path], folder: str) -> None:
    held = [("files", (file.name, file.open("rb"))) for file in files]
    try:
        sent = call(
            "POST", "upload", files=held, data={"path": folder, "existing": "rename"}
        ).json()
    finally:
        for _, (_, file) in held:
            file.close()
    for entry in sent["files"]:
        print(f"- {entry['path']}: {entry['size']} bytes")


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]] or sorted(SAMPLES.glob("*.png"))[:2]
    folder = f"shared-{uuid.uuid4().hex[:6]}"
    upload(files, folder)
    listed = call("GET", f"list/{quote(folder)}").json()["entries"]
    part = call("GET", f"stream/{quote(listed[0]['path'])}", headers={"Range": "bytes=0-15"})
    print(f"{part.status_code} {part.headers['Content-Range']}: {part.content!r}")
    packed = call("POST", "directory/compress", json={"path": folder, "zip_name": folder}).json()
    print(f"{packed['path']}: {packed['size']} bytes")
    gone = call("DELETE", "directory/delete", json={"path": folder}).json()
    back = call("POST", "restore", json={"id": gone["id"]}).json()
    print(f"{back['path']} was deleted and is back")
    if not sys.argv[1:]:  # leave nothing behind
        call("DELETE", "directory/delete", json={"path": folder})
        call("DELETE", "delete", json={"path": packed["path"]})


if __name__ == "__main__":
    main()
