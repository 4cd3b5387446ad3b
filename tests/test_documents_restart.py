"""The server killed while it reads a document: the next one goes on where it was and reads nothing twice."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from bench.servers import Server, free_port, serve
from tests import typist
from tests.serving import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAGES = 30
MINE = {"x-session-id": "mine"}


def started(folder: Path) -> tuple[list[str], int]:
    port = free_port()
    return [sys.executable, "-m", "tests.ocr_server", str(folder), str(port)], port


def client(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=MINE, timeout=60)


def test_kill_9_in_the_middle_of_a_document(tmp_path: Path):
    env = {"ATELIER_PROBE_LOCAL": "false"}
    with serve(*started(tmp_path), env) as server:
        server.wait()
        with client(server) as http:
            file = ("long.tiff", typist.tiff(PAGES))
            sent = http.post("/v1/ocr/documents", files={"files": file}, data={"model": "noted"})
            (paper,) = sent.json()["documents"]
            url = f"/v1/ocr/documents/{paper['id']}"
            assert until(lambda: http.get(url).json()["done"] >= 10, 60)
        server.process.kill()
        server.process.wait()
    journal = (tmp_path / "journal").read_text("utf-8").split()
    assert 10 <= len(journal) < PAGES
    with serve(*started(tmp_path), env) as server:
        server.wait()
        with client(server) as http:
            before = http.get(url).json()
            assert before["phase"] in {"running", "queued"} and before["done"] >= 10
            assert until(lambda: http.get(url).json()["phase"] == "done", 60)
            after = http.get(url).json()
            assert (after["done"], after["failed"]) == (PAGES, 0)
            pages = http.get(f"{url}/pages").json()["pages"]
            assert [page["number"] for page in pages] == list(range(1, PAGES + 1))
            assert pages[20]["lines"][0]["text"] == "Page 21, line 0"
    read = Counter((tmp_path / "journal").read_text("utf-8").split())
    assert set(read) == {str(number) for number in range(1, PAGES + 1)}
    twice = [number for number, times in read.items() if times > 1]
    assert len(twice) <= 2, twice  # what was under way when it was killed
