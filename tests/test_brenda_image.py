"""Brenda's picture calls: labels and their shares, captions, and the text of a picture."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from engine import Settings
from tests import eyes
from tests.eyes import Seer, picture, serve_seer
from tests.serving import Served

pytestmark = pytest.mark.slow

ANALYZE, OCR = "/v1/ai/image/analyze", "/v1/ai/image/ocr"


@pytest.fixture
def http(seeing: tuple[Served, Seer]) -> Iterator[httpx.Client]:
    seeing[1].asked.clear()
    with seeing[0].client() as client:
        yield client


def encoded(colour: str = "red", **more: Any) -> str:
    return base64.b64encode(picture(colour, **more)).decode()


def test_labels(http: httpx.Client, seeing: tuple[Served, Seer]):
    body = {"image": encoded("green"), "labels": ["red", "green", " red ", "blue"]}
    answer = http.post(ANALYZE, json=body, headers={"X-Session-ID": "labels"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [row["label"] for row in told["labels"]] == ["green", "red", "blue"]
    assert abs(sum(row["score"] for row in told["labels"]) - 1) < 1e-6
    assert told["best"] == "green" and told["model"] == "labeller" and "caption" not in told
    [row] = seeing[0].rows(session="labels")
    assert (row.dialect, row.task, row.status) == ("brenda", "label", "ok")


@pytest.mark.parametrize("labels", [{}, {"labels": []}, {"labels": None}], ids=repr)
def test_without_labels_there_is_a_caption(http: httpx.Client, labels: dict[str, Any]):
    told = http.post(ANALYZE, json={"image": f"data:image/png;base64,{encoded()}", **labels}).json()
    assert told["best"] == "red" and told["labels"][0]["label"] == "red"
    assert told["caption"].startswith("red 40x30: Describe")


def test_ocr(http: httpx.Client):
    answer = http.post(OCR, json={"image": encoded("blue"), "lang": "fr"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told.pop("processing_time") > 0
    assert told == {
        "text": "blue 40x30",
        "lang": "fr",
        "lines": [{"text": "blue 40x30", "score": 0.9, "box": [0.0, 0.0, 40.0, 30.0]}],
        "model": "reader",
    }


def test_the_language_may_be_left_out(http: httpx.Client):
    assert http.post(OCR, json={"image": encoded()}).json()["lang"] == "auto"


@pytest.mark.parametrize("path", [ANALYZE, OCR])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"image": ""}, 400),
        ({"image": "%%%"}, 400),
        ({"image": "http://127.0.0.1/a.png"}, 400),
        ({"image": None}, 422),
        ({"image": base64.b64encode(b"<svg></svg>").decode()}, 415),
        ({"image": base64.b64encode(picture(size=(300, 300))[:300]).decode()}, 415),
        ({"model": "nobody"}, 404),
        ({"model": "echo"}, 400),
    ],
)
def test_refusals(http: httpx.Client, path: str, change: dict[str, Any], status: int):
    body = {"image": encoded(), "labels": ["a"], "lang": "en"} | change
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"detail", "error"}


@pytest.mark.parametrize(
    "labels",
    [[""], ["x" * 201], [f"label {n}" for n in range(1001)]],
    ids=["empty", "long", "many"],
)
def test_labels_have_bounds(http: httpx.Client, labels: list[str]):
    answer = http.post(ANALYZE, json={"image": encoded(), "labels": labels})
    assert answer.status_code == 400 and "labels" in answer.json()["detail"]


def test_a_picture_that_cannot_be_read_is_an_error(http: httpx.Client):
    answer = http.post(OCR, json={"image": encoded("black")})
    assert answer.status_code == 500 and "dark" in answer.json()["detail"]


def test_unknown_fields_are_named(http: httpx.Client):
    for path in (ANALYZE, OCR):
        answer = http.post(path, json={"image": encoded(), "labels": ["a"], "language": "fr"})
        assert "language" in answer.headers["x-ignored-params"]


def test_a_model_that_sees_labels_where_none_is_made_for_it(settings: Settings):
    without = tuple(spec for spec in eyes.SPECS if "label" not in spec.does)
    with serve_seer(settings, specs=without) as (server, model):
        body = {"image": encoded(), "labels": ["a", "b"]}
        told = httpx.post(server.url + ANALYZE, json=body).json()
        asked = [request.messages[-1].text for request in model.asked]
    assert told["model"] == "eyes" and [row["score"] for row in told["labels"]] == [0.5, 0.5]
    assert [text.partition(": ")[2][0] for text in asked] == ["a", "b"]


def test_without_a_model_that_labels_or_sees(settings: Settings):
    blind = tuple(s for s in eyes.SPECS if "label" not in s.does and "image" not in s.accepts)
    with serve_seer(settings, specs=blind) as (server, model):
        answer = httpx.post(server.url + ANALYZE, json={"image": encoded(), "labels": ["a"]})
        assert answer.status_code in {404, 503} and "Models tab" in answer.json()["detail"]
        assert not model.asked
