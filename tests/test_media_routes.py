"""Media of the web over HTTP, and pictures that are given as addresses, in every dialect's words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from engine import Settings
from tests.eyes import Seer, picture, serve_seer
from tests.serving import Served, until
from tests.sites import ARTICLE, WORDS, Site
from tests.strangers import stranger
from tests.test_dialect_pictures import ANSWER, WAYS

pytestmark = pytest.mark.slow
MEDIA = "/v1/ai/media/url"


@dataclass
class Web:
    """A server of ours that may open one site, and that site."""

    server: Served
    seer: Seer
    site: Site

    def post(self, path: str, /, **body: object) -> httpx.Response:
        return httpx.post(self.server.url + path, json=body, timeout=60)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    site = Site()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("web"), device="cpu", fetch_urls=True, fetch_hosts="127.0.0.1",
        _env_file=None,
    )  # type: ignore[call-arg]  # fmt: skip
    with serve_seer(settings) as (server, seer):
        host = stranger(site.say)
        site.host = server.call(host.__aenter__())
        site.pages |= {
            "/news": (ARTICLE.encode(), "text/html"),
            "/blue.png": (picture("blue"), "image/png"),
            "/notes.txt": (b"hello", "text/plain"),
            "/bytes": (bytes(range(256)) * 8, "application/zip"),
        }
        yield Web(server, seer, site)
        server.call(host.__aexit__(None, None, None))


def test_an_address_is_analysed(web: Web):
    answer = web.post(f"{MEDIA}/analyze", url=web.site.url("/blue.png"), more=1)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ignored-params"] == "more"
    value = answer.json()
    assert value["url"] == web.site.url("/blue.png")
    assert (value["type"], value["title"], value["duration"], value["formats"]) == (
        "image",
        "blue.png",
        None,
        [],
    )
    assert (value["width"], value["height"], value["content_type"]) == (40, 30, "image/png")
    assert value["size"] == len(picture("blue"))


def test_a_page_is_extracted_and_kept(web: Web):
    value = web.post(f"{MEDIA}/extract", url=web.site.url("/news"), path="web").json()
    assert WORDS.strip() in value["text"] and value["type"] == "page"
    assert value["path"] == "web/High water.md"
    kept = web.server.engine.settings.data_dir / "files" / value["path"]
    assert WORDS.strip() in kept.read_text()
    assert httpx.get(f"{web.server.url}/v1/jobs/{value['job']}").json()["phase"] == "done"


def test_a_job_is_followed_and_asked_for_its_result(web: Web):
    session = {"X-Session-ID": "mine"}
    with httpx.Client(base_url=web.server.url, headers=session, timeout=60) as client:
        begun = client.post(f"{MEDIA}/extract", json={"url": web.site.url("/bytes"), "wait": False})
        assert begun.status_code == 202
        events = client.get(begun.json()["events"]).text
        assert "event: progress" in events and events.endswith("data: [DONE]\n\n")
        done = client.get(f"{MEDIA}/extract/{begun.json()['job']}")
        assert done.json()["size"] == 2048 and done.json()["path"].endswith(".zip")
        assert client.get(f"{MEDIA}/extract/media-none").status_code == 404


def test_bytes_are_passed_on_with_ranges(web: Web):
    url, body = web.site.url("/bytes"), bytes(range(256)) * 8
    whole = web.post(f"{MEDIA}/stream", url=url)
    assert (whole.status_code, whole.content) == (200, body)
    assert whole.headers["content-length"] == "2048" and whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''bytes"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = httpx.post(
        f"{web.server.url}{MEDIA}/stream", json={"url": url}, headers={"range": "bytes=256-511"}
    )
    assert (part.status_code, part.content) == (206, bytes(range(256)))
    assert part.headers["content-range"] == "bytes 256-511/2048"
    far = httpx.post(
        f"{web.server.url}{MEDIA}/stream", json={"url": url}, headers={"range": "bytes=-1000000-"}
    )
    assert far.status_code == 200


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("file:///etc/passwd", 400, "BAD_VALUE"),
        ("http://localhost:{port}/", 403, "FORBIDDEN"),
        ("http://169.254.169.254/latest/meta-data/", 403, "FORBIDDEN"),
        ("http://a:b@127.0.0.1:{port}/", 400, "BAD_VALUE"),
        ("http://127.0.0.1:{port}/nothing", 400, "BAD_VALUE"),
        ("http://127.0.0.1:9/", 403, "FORBIDDEN"),
        ("http://127.0.0.1:{closed}/", 503, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("call", ["analyze", "extract", "stream"])
def test_refusals_are_real_statuses(web: Web, call: str, url: str, status: int, code: str):
    address = url.replace("{port}", str(web.site.host.port)).replace("{closed}", "59999")
    answer = web.post(f"{MEDIA}/{call}", url=address)
    expected = (
        (503, "UNAVAILABLE") if ":9/" in url else (status, code)
    )  # the host is named: any port
    assert (answer.status_code, answer.json()["error"]) == expected
    assert answer.json().keys() == {"detail", "error"}


def test_who_hangs_up_ends_the_job(web: Web):
    async def endless(path: str, headers: object, writer: object) -> None:
        import asyncio

        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n\r\nPK\3\4")  # type: ignore[attr-defined]
        while True:
            writer.write(bytes(4096))  # type: ignore[attr-defined]
            await writer.drain()  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)

    host = stranger(endless)  # type: ignore[arg-type]
    one = web.server.call(host.__aenter__())
    jobs = web.server.engine.jobs
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{web.server.url}{MEDIA}/extract", json={"url": f"{one.url}/x.zip"}, timeout=1.5
            )
        assert until(lambda: [t.phase for t in jobs.list() if t.title == "x.zip"] == ["cancelled"])
        assert not list((web.server.engine.settings.data_dir / "files").glob("x*"))
    finally:
        web.server.call(host.__aexit__(None, None, None))


@pytest.mark.parametrize("name", WAYS)
def test_a_picture_may_be_an_address_in_every_chat(web: Web, name: str):
    way = WAYS[name]
    text = json.dumps(way.body("VALUE")).replace("data:image/png;base64,VALUE", "VALUE")
    body = json.loads(text.replace("VALUE", web.site.url("/blue.png")))
    answer = web.post(way.path, **{**body, "stream": False})
    assert answer.status_code == 200, answer.text
    plain = answer.headers["content-type"].startswith("text/plain")
    assert way.text(answer.text if plain else answer.json()) == ANSWER
    inside = json.loads(text.replace("VALUE", f"http://localhost:{web.site.host.port}/blue.png"))
    refused = web.post(way.path, **{**inside, "stream": False})
    assert refused.status_code == 403
    assert "private network" in way.says(refused.json())


def test_other_calls_take_addresses_too(web: Web):
    url = web.site.url("/blue.png")
    labels = web.post("/v1/ai/image/analyze", image=url, labels=["red", "blue"]).json()
    assert labels["best"] == "blue"
    read = web.post("/v1/ocr/read", documents=[url]).json()
    assert "blue" in json.dumps(read)
    both = {"role": "user", "content": "x", "images": [url] * 17}
    many = web.post("/v1/ai/generate", messages=[both])
    assert many.status_code == 400 and "at most 16" in many.json()["detail"]


def test_what_is_no_picture_is_refused_by_its_content(web: Web):
    turn = {"role": "user", "content": "x", "images": [web.site.url("/notes.txt")]}
    answer = web.post("/v1/ai/generate", messages=[turn])
    assert answer.status_code == 415 and answer.json()["error"] == "BAD_FORMAT"


def test_analysing_costs_no_time_twice(web: Web):
    web.post(f"{MEDIA}/analyze", url=web.site.url("/news"))
    asked, began = len(web.site.host.asked), time.monotonic()
    web.post(f"{MEDIA}/analyze", url=web.site.url("/news"))
    assert len(web.site.host.asked) == asked and time.monotonic() - began < 5
