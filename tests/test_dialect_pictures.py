"""One question about a picture through every chat dialect; and bad pictures, refused in each one's words."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import ollama
import openai
import pytest
from PIL import Image

from tests.eyes import Seer, picture
from tests.serving import Served

pytestmark = pytest.mark.slow

ASKED = "what is it"
ANSWER = f"blue 40x30: {ASKED}"


@dataclass(frozen=True)
class Way:
    """A dialect's call: its path, its body, the answer's text, whole or streamed, and an error's sentence."""

    path: str
    body: Callable[[str], dict[str, Any]]
    text: Callable[[Any], str]
    streamed: Callable[[str], str] | None
    says: Callable[[dict[str, Any]], str]


def detail(error: dict[str, Any]) -> str:
    assert error.keys() == {"detail", "error"}
    return str(error["detail"])


def openai_error(error: dict[str, Any]) -> str:
    assert error["error"].keys() == {"message", "type", "param", "code"}
    return str(error["error"]["message"])


def ollama_error(error: dict[str, Any]) -> str:
    assert error.keys() == {"error"}
    return str(error["error"])


def frames(text: str) -> list[Any]:
    return [json.loads(frame) for frame in re.findall(r"^data: (\{.*)$", text, re.M)]


def openai_body(image: str) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": ASKED},
    ]
    return {"messages": [{"role": "user", "content": parts}]}


def turn(image: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": ASKED, "images": [image]}]}


def openai_stream(text: str) -> str:
    return "".join(f["choices"][0]["delta"].get("content") or "" for f in frames(text))


def lines(field: Callable[[Any], str]) -> Callable[[str], str]:
    return lambda text: "".join(field(json.loads(line)) for line in text.splitlines())


WAYS = {
    "openai": Way(
        "/v1/chat/completions", openai_body,
        lambda answer: answer["choices"][0]["message"]["content"], openai_stream, openai_error,
    ),
    "ollama": Way(
        "/api/chat", turn, lambda answer: answer["message"]["content"],
        lines(lambda line: line["message"]["content"]), ollama_error,
    ),
    "ollama-generate": Way(
        "/api/generate", lambda image: {"prompt": ASKED, "images": [image]},
        lambda answer: answer["response"], lines(lambda line: line["response"]), ollama_error,
    ),
    "brenda": Way(
        "/v1/ai/generate", turn, lambda answer: answer["message"]["content"],
        lambda text: "".join(frame["content"] for frame in frames(text)), detail,
    ),
    "host": Way(
        "/api/v1/ai/ask_sync", lambda image: {"content": ASKED, "images": [image]},
        lambda answer: str(answer), None, detail,
    ),
    "host-streamed": Way(
        "/api/v1/ai/ask_async", lambda image: {"content": ASKED, "images": [image]},
        lambda answer: str(answer), None, detail,
    ),
    "vision": Way(
        "/api/v1/ai/vision/analyze",
        lambda image: {"image": image, "prompt": ASKED, "cache": False},
        lambda answer: answer["response_text"], None, detail,
    ),
}  # fmt: skip
STREAMED = {name: way for name, way in WAYS.items() if way.streamed}


@pytest.mark.parametrize("name", WAYS)
def test_every_dialect_sees_the_same(seeing: tuple[Served, Seer], name: str):
    way, server = WAYS[name], seeing[0]
    body = way.body(base64.b64encode(picture("blue")).decode())
    session = {"X-Session-ID": f"whole-{name}"}
    answer = httpx.post(server.url + way.path, json={**body, "stream": False}, headers=session)
    assert answer.status_code == 200, answer.text
    plain = answer.headers["content-type"].startswith("text/plain")
    assert way.text(answer.text if plain else answer.json()) == ANSWER
    [row] = server.rows(session=session["X-Session-ID"])
    assert (row.dialect, row.model, row.status) == (name.partition("-")[0], "eyes", "ok")
    assert row.input == [{"role": "user", "content": ASKED}], "the ledger keeps no pictures"


@pytest.mark.parametrize("name", STREAMED)
def test_every_stream_sees_the_same(seeing: tuple[Served, Seer], name: str):
    way = STREAMED[name]
    body = way.body(base64.b64encode(picture("blue")).decode())
    answer = httpx.post(seeing[0].url + way.path, json={**body, "stream": True})
    assert way.streamed and way.streamed(answer.text) == ANSWER


def test_uploads_see_the_same(seeing: tuple[Served, Seer]):
    files = {"file": ("a.png", picture("blue"))}
    answer = httpx.post(f"{seeing[0].url}/chat", files=files, data={"prompt": ASKED})
    assert answer.json()["response"] == ANSWER


def test_the_packages_send_pictures(seeing: tuple[Served, Seer]):
    url, image = seeing[0].url, picture("blue")
    said = openai.OpenAI(base_url=f"{url}/v1", api_key="x").chat.completions.create(
        model="eyes", messages=openai_body(base64.b64encode(image).decode())["messages"]
    )
    assert said.choices[0].message.content == ANSWER
    with ollama.Client(host=url) as client:
        told = client.chat("eyes", [{"role": "user", "content": ASKED, "images": [image]}])
        assert told.message.content == ANSWER
        assert client.generate("eyes", ASKED, images=[image]).response == ANSWER


def test_several_pictures_in_their_order(seeing: tuple[Served, Seer]):
    images = [base64.b64encode(picture(colour)).decode() for colour in ("red", "green")]
    turns = [{"role": "user", "content": ASKED, "images": images}]
    answer = httpx.post(f"{seeing[0].url}/v1/ai/generate", json={"messages": turns}).json()
    assert answer["message"]["content"] == f"red 40x30, green 40x30: {ASKED}"


# Pictures as they are found -----------------------------------------------------------------------


def saved(image: Image.Image, format: str, **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **more)
    return out.getvalue()


def turned() -> bytes:
    """Lying on its side, with the note that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.new("RGB", (40, 30), (40, 60, 220)), "JPEG", exif=exif)


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 400 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(20001 * 100))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


BLUE = (40, 60, 220)
ODD = {
    "1x1": (saved(Image.new("RGB", (1, 1), BLUE), "PNG"), "blue 1x1"),
    "1x65535": (saved(Image.new("RGB", (1, 65535), BLUE), "PNG"), "blue 1x65535"),
    "cmyk": (saved(Image.new("RGB", (40, 30), BLUE).convert("CMYK"), "JPEG"), "blue 40x30"),
    "16-bit": (saved(Image.new("I;16", (40, 30), 65535), "PNG"), "white 40x30"),
    "turned": (turned(), "blue 30x40"),
    "animated": (
        saved(Image.new("RGB", (40, 30), BLUE), "WEBP", save_all=True, lossless=True,
              append_images=[Image.new("RGB", (40, 30), (220, 30, 30))]),
        "blue 40x30",
    ),
    "transparent": (saved(Image.new("RGBA", (40, 30), (0, 0, 0, 0)), "PNG"), "white 40x30"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_are_seen(seeing: tuple[Served, Seer], kind: str):
    data, seen = ODD[kind]
    body = turn(base64.b64encode(data).decode())
    answer = httpx.post(f"{seeing[0].url}/v1/ai/generate", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"]["content"] == f"{seen}: {ASKED}"


WHOLE = saved(Image.effect_noise((300, 200), 80).convert("RGB"), "JPEG")
BAD = {
    "truncated": (WHOLE[: len(WHOLE) // 2], 415, "broken"),
    "header-only": (picture()[:20], 415, "broken"),
    "svg": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", 415, "SVG"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(40), 415, "HEIC"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415, "PostScript"),
    "gif": (b"GIF89a" + bytes(30), 415, "GIF"),
    "pdf": (b"%PDF-1.7\n" + bytes(30), 415, "PDF"),
    "text": (b"hello", 415, "PNG"),
    "bomb": (bomb(), 413, "pixels"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", WAYS)
def test_bad_pictures(seeing: tuple[Served, Seer], name: str, kind: str):
    """A real status before any header, also where a stream was asked for, in the dialect's own words."""
    way, (data, status, says) = WAYS[name], BAD[kind]
    body = {**way.body(base64.b64encode(data).decode()), "stream": way.streamed is not None}
    answer = httpx.post(seeing[0].url + way.path, json=body)
    assert answer.status_code == status, answer.text
    assert says in way.says(answer.json())


FIELDS = {
    "empty": ("", 400, "empty"),
    "no-base64": ("not base64!", 400, "base64"),
    "an-address": ("https://example.org/a.png", 400, "fetches no URLs"),
    "a-file": ("file:///etc/passwd", 400, "base64"),
}


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("name", WAYS)
def test_what_is_no_picture_at_all(seeing: tuple[Served, Seer], name: str, kind: str):
    way, (value, status, says) = WAYS[name], FIELDS[kind]
    body = json.loads(
        json.dumps(way.body("VALUE")).replace("data:image/png;base64,VALUE", "VALUE")
        .replace("VALUE", value)
    )  # fmt: skip
    answer = httpx.post(seeing[0].url + way.path, json={**body, "stream": False})
    assert answer.status_code == status, answer.text
    assert says in way.says(answer.json())


@pytest.mark.parametrize("name", WAYS)
def test_a_model_that_cannot_see_says_so(seeing: tuple[Served, Seer], name: str):
    way = WAYS[name]
    field = "agent" if name.startswith("host") else "model"
    body = {**way.body(base64.b64encode(picture()).decode()), field: "echo", "stream": False}
    answer = httpx.post(seeing[0].url + way.path, json=body)
    assert answer.status_code == 400
    assert "does not accept pictures. These do: eyes" in way.says(answer.json())


def test_a_session_with_a_blind_model_still_sees(seeing: tuple[Served, Seer]):
    """The model chosen for a session answers its chats; its pictures go to one that sees."""
    url, session = seeing[0].url, {"X-Session-ID": "blind"}
    httpx.post(f"{url}/v1/ai/load_model", json={"model_name": "echo"}, headers=session)
    body = turn(base64.b64encode(picture("blue")).decode())
    answer = httpx.post(f"{url}/v1/ai/generate", json=body, headers=session).json()
    assert (answer["model"], answer["message"]["content"]) == ("eyes", ANSWER)
    del body["messages"][0]["images"]
    answer = httpx.post(f"{url}/v1/ai/generate", json=body, headers=session).json()
    assert answer["model"] == "echo"


@pytest.mark.parametrize("path", ["/ocr", "/chat"])
@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "pdf"])
def test_bad_uploads(seeing: tuple[Served, Seer], path: str, kind: str):
    data, status, says = BAD[kind]
    answer = httpx.post(f"{seeing[0].url}{path}", files={"file": ("a.png", data, "image/png")})
    assert answer.status_code == status, answer.text
    assert says in detail(answer.json())


@pytest.mark.parametrize("path", ["/ocr", "/chat"])
@pytest.mark.parametrize(
    ("size", "status"), [(0, 400), (10_000_000, 415), (10_000_001, 413), (10_100_000, 413)]
)
def test_sizes_of_uploads(seeing: tuple[Served, Seer], path: str, size: int, status: int):
    files = {"file": ("a.png", b"\x89" * size, "image/png")}
    answer = httpx.post(f"{seeing[0].url}{path}", files=files, timeout=30)
    assert answer.status_code == status, answer.text


def test_a_large_upload_is_refused_unread(seeing: tuple[Served, Seer]):
    head = "POST /ocr HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90000000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x"
    with seeing[0].connect() as sock:
        sock.sendall(head.encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/ocr", b"{}", "application/json"),
        ("/ocr", b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        ("/ocr", b"file=abc", "application/x-www-form-urlencoded"),
        ("/chat", b"", "multipart/form-data"),
        ("/batch/ocr", b"[]", "application/json"),
    ],
)
def test_bodies_of_the_wrong_shape(
    seeing: tuple[Served, Seer], path: str, content: bytes, kind: str
):
    answer = httpx.post(f"{seeing[0].url}{path}", content=content, headers={"content-type": kind})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json().keys() == {"detail", "error"}
