"""ChatVLM's uploads: reading one picture, a batch, questions; fields in form or query; bad input."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from PIL import Image

from tests.eyes import Seer, picture
from tests.serving import Served, until

pytestmark = pytest.mark.slow

File = tuple[str, bytes, str]


@pytest.fixture
def url(seeing: tuple[Served, Seer]) -> str:
    return seeing[0].url


@pytest.fixture
def model(seeing: tuple[Served, Seer]) -> Iterator[Seer]:
    """What the models were asked, from now on."""
    seeing[1].asked.clear()
    yield seeing[1]
    seeing[1].wait = 0.0


def upload(colour: str = "red", name: str = "a.png", **more: Any) -> File:
    return name, picture(colour, **more), "image/png"


def pdf(*colours: str) -> bytes:
    out = io.BytesIO()
    pages = [Image.open(io.BytesIO(picture(colour))) for colour in colours]
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=200)
    return out.getvalue()


# Reading one picture ------------------------------------------------------------------------------


def test_ocr(url: str, seeing: tuple[Served, Seer]):
    session = {"X-Session-ID": "one"}
    answer = httpx.post(f"{url}/ocr", files={"file": upload()}, headers=session)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told.pop("processing_time") > 0
    assert told == {
        "text": "red 40x30",
        "model": "reader",
        "image_size": [40, 30],
        "language": None,
        "pages": 1,
    }
    [row] = seeing[0].rows(session="one")
    assert (row.dialect, row.task, row.model, row.status) == ("chatvlm", "ocr", "reader", "ok")


@pytest.mark.parametrize("where", ["data", "params"], ids=["form", "query"])
def test_fields_may_stand_in_the_form_or_in_the_query(url: str, model: Seer, where: str):
    fields: Any = {where: {"model": "reader", "language": "Russian"}}
    told = requests.post(f"{url}/ocr", files={"file": upload()}, **fields, timeout=30).json()
    assert (told["model"], told["language"]) == ("reader", "Russian")
    assert model.asked[-1].language == "Russian"  # type: ignore[attr-defined]
    assert model.asked[-1].seconds == 30


def test_the_form_goes_before_the_query(url: str):
    told = httpx.post(
        f"{url}/ocr?language=fr&model=nobody", files={"file": upload()},
        data={"language": "pt", "model": "reader"},
    ).json()  # fmt: skip
    assert told["language"] == "pt"


def test_fields_nobody_reads_are_named(url: str):
    answer = httpx.post(
        f"{url}/ocr?langauge=fr", files={"file": upload()}, data={"prompt": "x", "bad\nname": "y"}
    )
    assert answer.headers["x-ignored-params"] == "prompt, langauge"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_formats_by_their_content(url: str, format: str):
    """The name and the declared type of an upload do not matter."""
    file = ("scan.exe", picture("blue", format=format), "application/octet-stream")
    assert httpx.post(f"{url}/ocr", files={"file": file}).json()["text"] == "blue 40x30"


def test_a_pdf_is_read_page_by_page(url: str):
    file = ("a.pdf", pdf("red", "green", "blue"), "application/pdf")
    told = httpx.post(f"{url}/ocr", files={"file": file}).json()
    assert [line.split()[0] for line in told["text"].split("\n\n")] == ["red", "green", "blue"]
    assert told["pages"] == 3 and told["image_size"][0] in {40, 41}


def test_pages_that_cannot_be_read_do_not_fail_the_others(url: str):
    file = ("a.pdf", pdf("red", "black"), "application/pdf")
    answer = httpx.post(f"{url}/ocr", files={"file": file})
    assert answer.status_code == 200 and answer.json()["text"].startswith("red")
    assert "black" not in answer.json()["text"]


def test_a_model_that_chats_reads_too(url: str, model: Seer):
    told = httpx.post(f"{url}/ocr", files={"file": upload()}, data={"model": "eyes"}).json()
    assert told["text"].startswith("red") and told["model"] == "eyes"
    assert told["image_size"] == [40, 30] and model.asked[-1].capability == "chat"


@pytest.mark.parametrize("path", ["/ocr", "/chat", "/batch/ocr"])
def test_a_model_that_is_not_here_says_how_to_get_it(url: str, path: str):
    field = "files" if "batch" in path else "file"
    answer = httpx.post(f"{url}{path}", files={field: upload()}, params={"model": "far-eyes"})
    assert answer.status_code == 503 and answer.json()["error"] == "NOT_DOWNLOADED", answer.text
    assert "Models tab" in answer.json()["detail"] and "retry-after" in answer.headers


# The calls of the published clients ---------------------------------------------------------------


def test_the_published_wrapper(url: str):
    """`files`, and `params` of which one may be None: the class that the service's guide shows."""
    for language, told in ((None, None), ("Russian", "Russian")):
        answer = requests.post(
            f"{url}/ocr",
            files={"file": io.BytesIO(picture())},
            params={"model": "reader", "language": language},
            timeout=30,
        )
        assert answer.json()["text"] == "red 40x30" and answer.json()["language"] == told
    answer = requests.post(
        f"{url}/chat",
        files={"file": io.BytesIO(picture())},
        data={"prompt": "Что это?", "model": "eyes"},
        timeout=30,
    )
    assert answer.json()["response"] == "red 40x30: Что это?"


def test_the_published_batch(url: str):
    files = [("files", (f"doc{n}.jpg", picture(c))) for n, c in enumerate(("red", "blue", "green"))]
    answer = requests.post(
        f"{url}/batch/ocr", files=files, params={"model": "reader"}, timeout=30
    ).json()
    assert f"{answer['successful']}/{answer['total']}" == "3/3"
    assert [item["text"][:3] for item in answer["results"]] == ["red", "blu", "gre"]


async def test_the_published_async_client(url: str):
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(picture("green")), filename="image.jpg")
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/ocr", data=form, params={"model": "reader"}) as answer,
    ):
        assert (await answer.json())["text"] == "green 40x30"


# Batches ------------------------------------------------------------------------------------------


def batch(url: str, *files: File, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/batch/ocr", files=[("files", file) for file in files], data=fields, timeout=30
    )


def test_one_bad_file_never_fails_the_others(url: str, model: Seer, seeing: tuple[Served, Seer]):
    broken = picture("blue", (400, 300))[:200]
    files = (
        upload("red", "good.png"),
        ("empty.png", b"", "image/png"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        ("broken.png", broken, "image/png"),
        ("large.bmp", b"BM" + bytes(10_000_001), "image/bmp"),
        upload("black", "dark.png"),
        upload("green", "../../last.png"),
    )
    answer = batch(url, *files)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["total"], told["successful"], told["failed"]) == (7, 2, 5)
    results = {row["filename"]: row for row in told["results"]}
    assert [row["filename"] for row in told["results"]] == [file[0] for file in files]
    assert results["good.png"]["text"] == "red 40x30"
    assert results["../../last.png"]["text"] == "green 40x30"
    assert all(results[name].keys() == {"filename", "text", "processing_time", "status"}
               for name in ("good.png", "../../last.png"))  # fmt: skip
    says = {
        "empty": "empty",
        "drawing": "SVG",
        "broken": "broken",
        "large": "10 MB",
        "dark": "dark",
    }
    for name, word in says.items():
        [row] = [row for row in told["results"] if row["filename"].startswith(name)]
        assert row["status"] == "error" and row["text"] == "" and word in row["error"], row
    assert len(model.asked) == 1, "what can be tried goes to the model together"


def test_times_of_a_batch(url: str, model: Seer):
    model.wait = 0.1
    told = batch(url, upload("red", "1"), upload("blue", "2"), upload("green", "3")).json()
    assert all(0.08 < row["processing_time"] < 1.0 for row in told["results"]), told


def test_a_batch_of_one_bad_file(url: str):
    told = batch(url, ("a.gif", b"GIF89a" + bytes(20), "image/gif")).json()
    assert (told["successful"], told["failed"]) == (0, 1)
    assert "GIF" in told["results"][0]["error"]


@pytest.mark.parametrize(
    ("count", "fields", "status", "says"),
    [
        (11, {}, 400, "10"),
        (0, {}, 422, "files"),
        (2, {"model": "nobody"}, 404, "Nearest"),
        (1, {"model": "nobody"}, 404, "Nearest"),
        (2, {"model": "labeller"}, 400, "labeller"),
        (2, {"language": "x" * 200}, 400, "language"),
    ],
)
def test_what_fails_a_whole_batch(
    url: str, count: int, fields: dict[str, str], status: int, says: str
):
    answer = batch(url, *(upload() for _ in range(count)), **fields)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"] and answer.json().keys() == {"detail", "error"}


def test_ten_files_are_a_batch(url: str):
    assert batch(url, *(upload() for _ in range(10))).json()["successful"] == 10


def test_pages_of_a_batch_go_to_their_files(url: str):
    told = batch(
        url, ("a.pdf", pdf("red", "black", "green"), "application/pdf"), upload("blue", "b")
    ).json()
    assert told["successful"] == 2
    first, second = told["results"]
    assert [part.split()[0] for part in first["text"].split("\n\n")] == ["red", "green"]
    assert "dark" in first["error"]
    assert second["text"] == "blue 40x30" and "error" not in second


def test_what_was_read_before_the_time_was_up_is_told(
    url: str, model: Seer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("routers.chatvlm_pictures.SECONDS", 0.25)
    model.wait = 0.4
    answer = batch(url, upload("red", "1"), upload("blue", "2"), upload("green", "3"))
    assert answer.status_code == 200, answer.text
    rows = answer.json()["results"]
    assert rows[0]["status"] == "success" and rows[-1]["status"] == "error", rows
    assert rows[-1]["error"]


# Questions ----------------------------------------------------------------------------------------


def test_chat(url: str, model: Seer, seeing: tuple[Served, Seer]):
    fields = {"prompt": "Опишите", "model": "eyes", "temperature": 0.7, "max_tokens": 512}
    session = {"X-Session-ID": "asking"}
    answer = httpx.post(f"{url}/chat", files={"file": upload()}, data=fields, headers=session)
    told = answer.json()
    assert told.pop("processing_time") > 0
    assert told == {"response": "red 40x30: Опишите", "model": "eyes", "prompt": "Опишите"}
    request: Any = model.asked[-1]
    assert (request.temperature, request.max_tokens, request.seconds) == (0.7, 512, 30)
    [row] = seeing[0].rows(session="asking")
    assert (row.dialect, row.task, row.status) == ("chatvlm", "chat", "ok")


@pytest.mark.parametrize("fields", [{}, {"prompt": ""}], ids=["absent", "empty"])
def test_a_picture_without_a_question_is_described(url: str, fields: dict[str, str]):
    told = httpx.post(f"{url}/chat", files={"file": upload()}, data=fields).json()
    assert told["prompt"] == "Describe this image"
    assert told["response"] == "red 40x30: Describe this image" and told["model"] == "eyes"


def test_chat_takes_the_query_too(url: str, model: Seer):
    asked = {"prompt": "hm", "model": "eyes-too", "temperature": "1", "max_tokens": "7"}
    told = httpx.post(f"{url}/chat", files={"file": upload()}, params=asked).json()
    assert told["model"] == "eyes-too" and told["prompt"] == "hm"
    request: Any = model.asked[-1]
    assert (request.temperature, request.max_tokens) == (1, 7)


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"temperature": "1.5"}, 400, "temperature"),
        ({"temperature": "-0.1"}, 400, "temperature"),
        ({"temperature": "nan"}, 400, "temperature"),
        ({"temperature": "warm"}, 422, "temperature"),
        ({"max_tokens": "0"}, 400, "max_tokens"),
        ({"max_tokens": "many"}, 422, "max_tokens"),
        ({"model": "nobody"}, 404, "Nearest"),
        ({"model": "echo"}, 400, "does not accept pictures"),
        ({"model": "reader"}, 400, "cannot chat"),
    ],
)
def test_bad_fields_of_a_question(url: str, fields: dict[str, str], status: int, says: str):
    answer = httpx.post(f"{url}/chat", files={"file": upload()}, data=fields)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"] and answer.json().keys() == {"detail", "error"}


def test_a_question_over_its_time(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("routers.chatvlm_pictures.SECONDS", 0.2)
    answer = httpx.post(
        f"{url}/chat", files={"file": upload()}, data={"prompt": "!slow !long"}, timeout=30
    )
    assert answer.status_code == 504 and answer.json()["error"] == "TIMED_OUT"


def test_a_hang_up_stops_the_reading(url: str, model: Seer, seeing: tuple[Served, Seer]):
    model.wait = 20
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/ocr", files={"file": upload()}, timeout=0.5)
    assert until(lambda: not seeing[0].running, 3)


async def test_many_at_once(url: str):
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        calls = [
            http.post("/chat" if n % 2 else "/ocr", files={"file": upload("blue")})
            for n in range(20)
        ]
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
