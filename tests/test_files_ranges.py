"""Files over HTTP: ranges, conditions, and what a browser may do with what it is sent."""

from __future__ import annotations

import email
import random
import time
from collections.abc import Iterator
from email.policy import HTTP

import httpx
import pytest

from routers.files_answers import Unsatisfiable, spans_of
from tests.areas import DATA, send
from tests.serving import Served


@pytest.fixture
def client(area: Served) -> Iterator[httpx.Client]:
    with area.client() as made:
        yield made


@pytest.mark.parametrize("call", ["download", "stream"])
@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, 10240), ("bytes=-5", 10235, 10240), ("bytes=5-99999", 5, 10240),
     ("bytes=0-9,5-20", 0, 21), ("bytes=-99999", 0, 10240)],
)  # fmt: skip
def test_a_range(client: httpx.Client, call: str, asked: str, begin: int, end: int) -> None:
    answer = client.get(f"/v1/files/{call}/a.bin", headers={"range": asked})
    assert answer.status_code == 206 and answer.content == DATA[begin:end]
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/10240"
    assert answer.headers["content-length"] == str(end - begin)
    head = client.head(f"/v1/files/{call}/a.bin", headers={"range": asked})
    assert (
        head.status_code == 206
        and head.content == b""
        and head.headers["content-length"] == str(end - begin)
    )


def test_several_ranges(client: httpx.Client) -> None:
    answer = client.get("/v1/files/stream/a.bin", headers={"range": "bytes=20-29, 0-4 ,-3"})
    assert answer.status_code == 206 and int(answer.headers["content-length"]) == len(
        answer.content
    )
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = list(email.message_from_bytes(head + answer.content, policy=HTTP).iter_parts())
    assert [part["content-range"] for part in parts] == [
        "bytes 0-4/10240", "bytes 20-29/10240", "bytes 10237-10239/10240",
    ]  # fmt: skip
    assert [part.get_payload(decode=True) for part in parts] == [DATA[:5], DATA[20:30], DATA[-3:]]


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=-0", "bytes=99999-100000,-0"])
def test_no_such_range(client: httpx.Client, asked: str) -> None:
    answer = client.get("/v1/files/stream/a.bin", headers={"range": asked})
    assert answer.status_code == 416 and answer.headers["content-range"] == "bytes */10240"
    assert answer.json()["error"] == "OUT_OF_RANGE"


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=-", "bytes=", "bytes=" + ",".join(["0-1"] * 50)],
)
def test_a_senseless_range_is_ignored(client: httpx.Client, asked: str) -> None:
    answer = client.get("/v1/files/stream/a.bin", headers={"range": asked})
    assert answer.status_code == 200 and answer.content == DATA


def test_ranges_against_a_plain_reading() -> None:
    seeded = random.Random(1)
    began = time.perf_counter()
    for _ in range(3000):
        size = seeded.choice([0, 1, 10, 1000])
        specs = []
        for _ in range(seeded.randint(1, 4)):
            a, b = seeded.randrange(1200), seeded.randrange(1200)
            specs.append(seeded.choice([f"{a}-{b}", f"-{b % 40}", f"{a}-"]))
        wanted: set[int] = set()
        wrong = False
        for spec in specs:
            a, _, b = spec.partition("-")
            wrong = wrong or bool(a and b and int(a) > int(b))
            first = int(a) if a else max(0, size - int(b))
            last = int(b) if a and b else size - 1
            wanted |= set(range(first, min(last, size - 1) + 1))
        try:
            spans = spans_of("bytes=" + ",".join(specs), size)
        except Unsatisfiable:
            assert not wanted
            continue
        assert (spans is None) == wrong
        if spans is not None:
            assert [n for a, b in spans for n in range(a, b)] == sorted(wanted)
    assert time.perf_counter() - began < 20


def test_conditions(client: httpx.Client) -> None:
    url = "/v1/files/stream/a.bin"
    first = client.get(url)
    etag, date = first.headers["etag"], first.headers["last-modified"]
    for held in (
        {"if-none-match": etag},
        {"if-none-match": f'"x", W/{etag}'},
        {"if-none-match": "*"},
        {"if-modified-since": date},
    ):
        answer = client.get(url, headers=held)
        assert (
            answer.status_code == 304 and answer.content == b"" and answer.headers["etag"] == etag
        )
    assert (
        client.get(url, headers={"if-none-match": '"x"', "if-modified-since": date}).status_code
        == 200
    )
    for held in (etag, date):
        assert client.get(url, headers={"range": "bytes=0-1", "if-range": held}).status_code == 206
    for other in ('"other"', f"W/{etag}", "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
        assert client.get(url, headers={"range": "bytes=0-1", "if-range": other}).status_code == 200
    send(client, "a.bin", DATA, existing="replace")
    assert client.get(url, headers={"if-none-match": etag}).status_code == 200


def test_what_is_shown_cannot_run(client: httpx.Client) -> None:
    text = "text/plain; charset=utf-8"
    kinds = {
        "x.html": text,
        "x.js": text,
        "x.svg": "image/svg+xml",
        "x.pdf": "application/pdf",
        "x.mp3": "audio/mpeg",
    }
    for name, shown in kinds.items():
        send(client, name, b"<script>alert(1)</script>", existing="replace")
        answer = client.get(f"/v1/files/stream/{name}")
        policy = answer.headers["content-security-policy"]
        assert answer.headers["content-type"] == shown
        assert "script" not in policy and ("sandbox" in policy or name == "x.pdf")
        assert answer.headers["x-content-type-options"] == "nosniff"
        saved = client.get(f"/v1/files/download/{name}").headers["content-disposition"]
        assert saved.startswith("attachment;")
    odd = send(client, 'a"; x=é%.txt', b"1").json()["files"][0]["path"]
    saved = client.get("/v1/files/download/" + odd.replace("%", "%25")).headers[
        "content-disposition"
    ]
    assert saved.count(";") == 2 and saved.isascii()
