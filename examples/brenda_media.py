"""Media of the web: what lies at an address, and taking it into the files as a job that is followed.

python examples/brenda_media.py https://example.org/watch --path videos
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import httpx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = os.environ.get("MEDIA_URL", "https://example.org/")
    parser.add_argument("url", nargs="?", default=usual)
    parser.add_argument("--base", default=os.environ.get("ATELIER_URL", "http://127.0.0.1:7860"))
    parser.add_argument("--token", default=os.environ.get("ATELIER_TOKEN", ""))
    parser.add_argument("--format", default="", help='a format\'s id, "audio"; empty: the best')
    parser.add_argument("--path", default="", help="the folder in the files")
    given = parser.parse_args()
    headers = {"Authorization": f"Bearer {given.token}"} if given.token else {}
    headers["X-Session-ID"] = "media-example"
    media = "/v1/ai/media/url"
    with httpx.Client(base_url=given.base, headers=headers, timeout=120) as client:
        found = told(client.post(f"{media}/analyze", json={"url": given.url}))
        print(f"{found['type']}: {found['title']}")
        for one in found["formats"]:
            print(
                f"  {one['id']:>8}  {one['ext']:<5} {one['height'] or '':>5}  {one['size'] or ''}"
            )
        body = {"url": given.url, "format": given.format, "path": given.path, "wait": False}
        begun = told(client.post(f"{media}/extract", json=body))
        with client.stream("GET", begun["events"], timeout=None) as events:
            for line in events.iter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line[6:])
                    if event.get("type") == "progress":
                        print(f"  {event['done']} of {event['total']} bytes")
        taken = told(client.get(f"{media}/extract/{begun['job']}"))
        print(taken["path"] or taken["text"])


def told(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON; the server's own sentence where it refused."""
    if answer.is_error:
        raise SystemExit(answer.json()["detail"])
    value: dict[str, Any] = answer.json()
    return value


if __name__ == "__main__":
    main()
