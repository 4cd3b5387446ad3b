"""The Ollama Vision dialect: analysing, what is answered from memory, choosing a model, health, its rates."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest

from engine import Engine, Settings
from engine.families import remote
from tests import echo, eyes
from tests.eyes import Seer, picture, serve_seer
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow

ANALYZE = "/api/v1/ai/vision/analyze"
MODELS = "/api/v1/ai/vision/models"


@pytest.fixture
def model(seeing: tuple[Served, Seer]) -> Seer:
    """What the models were asked, from now on."""
    seeing[1].asked.clear()
    return seeing[1]


@pytest.fixture
def http(seeing: tuple[Served, Seer]) -> Iterator[httpx.Client]:
    with seeing[0].client() as client:
        yield client


def body(colour: str = "red", **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode(picture(colour)).decode()
    return {"image": f"data:image/png;base64,{encoded}", "prompt": "what is it", **more}


def test_analyze(http: httpx.Client):
    answer = http.post(ANALYZE, json=body(cache=False))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["response_text"] == "red 40x30: what is it"
    assert told["detected_objects"] == []
    assert told["scene_context"] == {"context": "", "width": 40, "height": 30, "format": "PNG"}
    assert told["model"] == "eyes" and 0 < told["processing_time"] < 10
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is not None
    assert answer.headers["x-cache"] == "miss"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["base64", "data-url"])
def test_every_accepted_format(http: httpx.Client, format: str, wrapped: bool):
    encoded = base64.b64encode(picture("blue", format=format)).decode()
    # What a data URL claims does not matter, what it holds does.
    image = f"data:image/png;base64,{encoded}" if wrapped else encoded
    told = http.post(ANALYZE, json=body(image=image, cache=False)).json()
    assert told["response_text"].startswith("blue 40x30:")
    assert told["scene_context"]["format"] == format


def test_context_reaches_the_model_and_the_answer(http: httpx.Client, model: Seer):
    told = http.post(ANALYZE, json=body(context="A toy shop.", cache=False)).json()
    assert told["scene_context"]["context"] == "A toy shop."
    [request] = model.asked
    assert request.messages[0].text == "Context: A toy shop.\n\nwhat is it"  # type: ignore[attr-defined]


def test_the_same_question_is_answered_from_memory(
    http: httpx.Client, model: Seer, seeing: tuple[Served, Seer]
):
    asked = body("green", prompt="how many")
    session = {"X-Session-ID": "cached"}
    first, second = (http.post(ANALYZE, json=asked, headers=session) for _ in range(2))
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    same = ("response_text", "detected_objects", "scene_context", "model", "timestamp")
    assert {k: first.json()[k] for k in same} == {k: second.json()[k] for k in same}
    assert second.json().keys() == first.json().keys()
    assert len(model.asked) == 1, "a hit asks no model"
    assert len(seeing[0].rows(session="cached")) == 1, "the ledger counts inferences"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "how many?"},
        {"context": "at night"},
        {"model": "eyes-too"},
        {"detect": True},
        {"image": base64.b64encode(picture("green", (41, 30))).decode()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_asked_anew(http: httpx.Client, model: Seer, change: dict[str, Any]):
    http.post(ANALYZE, json=body("green", prompt="how many"))
    model.asked.clear()
    answer = http.post(ANALYZE, json=body("green", prompt="how many") | change)
    assert answer.headers["x-cache"] == "miss" and model.asked


def test_without_cache_nothing_is_looked_up_or_kept(http: httpx.Client, model: Seer):
    asked = body("yellow")
    for _ in range(2):
        assert http.post(ANALYZE, json=asked | {"cache": False}).headers["x-cache"] == "miss"
    assert http.post(ANALYZE, json=asked).headers["x-cache"] == "miss"
    assert len(model.asked) == 3


def test_a_data_url_and_plain_base64_are_the_same_picture(http: httpx.Client):
    plain = base64.b64encode(picture("white")).decode()
    assert http.post(ANALYZE, json=body(image=plain)).headers["x-cache"] == "miss"
    again = body(image=f"data:image/png;base64,{plain}")
    assert http.post(ANALYZE, json=again).headers["x-cache"] == "hit"


def test_a_stopped_answer_is_not_kept(seeing: tuple[Served, Seer], model: Seer):
    """What somebody ended by hand is told to whoever asked, and to nobody after."""
    server, session = seeing[0], {"X-Session-ID": "stopping"}
    asked = body(prompt="!slow !long tell me")

    def cut_short() -> httpx.Response:
        model.asked.clear()
        got: list[httpx.Response] = []
        call = {"json": asked, "headers": session, "timeout": 30}
        thread = threading.Thread(
            target=lambda: got.append(httpx.post(server.url + ANALYZE, **call))
        )
        thread.start()
        assert until(lambda: model.asked or not thread.is_alive())
        httpx.post(f"{server.url}/v1/ai/stop", headers=session)
        thread.join()
        return got[0]

    for answer in (cut_short(), cut_short()):
        assert answer.status_code == 200 and answer.headers["x-cache"] == "miss"
        assert len(answer.json()["response_text"].split()) < 150


def test_detected_objects(http: httpx.Client, seeing: tuple[Served, Seer]):
    session = {"X-Session-ID": "finding"}
    told = http.post(ANALYZE, json=body(detect=True, cache=False), headers=session).json()
    assert told["detected_objects"] == [
        {"label": "red", "score": 0.8, "box": [0.0, 0.0, 40.0, 30.0]}
    ]
    assert told["response_text"].startswith("red")
    rows = seeing[0].rows(session="finding")
    assert sorted((row.task, row.model, row.dialect) for row in rows) == [
        ("chat", "eyes", "vision"),
        ("detect", "finder", "vision"),
    ]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"prompt": " "}, 400, "prompt"),
        ({"prompt": None}, 422, "prompt"),
        ({"model": "nobody"}, 404, "Nearest"),
        ({"model": "echo"}, 400, "does not accept pictures. These do: eyes"),
        ({"model": "reader"}, 400, "cannot chat"),
        ({"image": ""}, 400, "empty"),
        ({"image": "no base64!"}, 400, "base64"),
        ({"image": "data:image/png,red"}, 400, "base64"),
        ({"image": "https://example.org/a.png"}, 400, "fetches no URLs"),
        ({"image": base64.b64encode(b"%PDF-1.7").decode()}, 415, "PDF"),
        ({"image": base64.b64encode(b"hello").decode()}, 415, "PNG"),
        ({"image": 7}, 422, "image"),
        ({"cache": "perhaps"}, 422, "cache"),
    ],
)
def test_refusals(http: httpx.Client, change: dict[str, Any], status: int, says: str):
    answer = http.post(ANALYZE, json=body() | {"cache": False} | change)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"detail", "error"} and says in answer.json()["detail"]


def test_unknown_fields_are_named(http: httpx.Client):
    answer = http.post(ANALYZE, json=body(temperatur=1))
    assert answer.headers["x-ignored-params"] == "temperatur"


# Models -------------------------------------------------------------------------------------------


def test_models_that_see_and_are_here(http: httpx.Client):
    told = http.get(MODELS).json()
    assert {"name": "eyes", "size": "4.7GB"} in told["available_models"]
    assert {"name": "eyes-too", "size": "900MB"} in told["available_models"]
    assert "far-eyes" not in [row["name"] for row in told["available_models"]]
    assert all(row.keys() == {"name", "size"} for row in told["available_models"])


def test_switching(http: httpx.Client):
    try:
        answer = http.post(f"{MODELS}/eyes-too")
        assert answer.json() == {"status": "success", "current_model": "eyes-too"}
        assert http.get(MODELS).json()["current_model"] == "eyes-too"
        assert http.get("/api/v1/ai/health").json()["current_model"] == "eyes-too"
        assert http.post(ANALYZE, json=body(cache=False)).json()["model"] == "eyes-too"
        # Chats without pictures keep their own default.
        said = http.post("/v1/ai/generate", json={"messages": [{"role": "user", "content": "a"}]})
        assert said.json()["model"] == "eyes"
    finally:
        assert http.post(f"{MODELS}/eyes").json()["current_model"] == "eyes"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("nobody", 404, "NOT_FOUND"),
        ("llava:13b", 404, "NOT_FOUND"),
        ("a/b:c", 404, "NOT_FOUND"),
        ("echo", 400, "BAD_VALUE"),
        ("reader", 400, "BAD_VALUE"),
        ("far-eyes", 503, "NOT_DOWNLOADED"),
    ],
)
def test_what_cannot_be_switched_to(http: httpx.Client, name: str, status: int, code: str):
    answer = http.post(f"{MODELS}/{name}")
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert http.get(MODELS).json()["current_model"] == "eyes"


def test_a_switch_outlives_a_restart(settings: Settings):
    with serve_seer(settings) as (server, _):
        assert httpx.post(f"{server.url}{MODELS}/eyes-too").status_code == 200
    with serve_seer(settings) as (server, _):

        def current() -> Any:
            return httpx.get(f"{server.url}{MODELS}").json()["current_model"]

        assert until(lambda: current() == "eyes-too")


def test_the_published_variable_names_the_model(settings: Settings):
    own = settings.model_copy(update={"default_vision": "eyes-too"})
    with serve_seer(own) as (server, _):
        said = until(
            lambda: httpx.get(f"{server.url}{MODELS}").json()["current_model"] == "eyes-too"
        )
        assert said


# Nothing there ------------------------------------------------------------------------------------


def test_a_server_without_models_that_see(settings: Settings):
    with serve_seer(settings, specs=()) as (server, _), server.client() as http:
        assert http.get(MODELS).json() == {"available_models": [], "current_model": None}
        assert http.get("/api/v1/ai/health").json()["current_model"] is None
        answer = http.post(ANALYZE, json=body())
        assert answer.status_code == 503 and "Models tab" in answer.json()["detail"]


def test_detecting_without_a_model_for_it_says_so_and_asks_nothing(settings: Settings):
    blind = tuple(spec for spec in eyes.SPECS if "detect" not in spec.does)
    with serve_seer(settings, specs=blind) as (server, model), server.client() as http:
        answer = http.post(ANALYZE, json=body(detect=True))
        assert answer.status_code == 503 and answer.json()["error"] == "UNAVAILABLE"
        assert "detect" in answer.json()["detail"] and not model.asked


def test_answers_are_shared_over_redis(settings: Settings, redis_url: str):
    own = settings.model_copy(update={"redis_url": redis_url})
    asked = body("green", prompt=f"shared {redis_url}")
    with serve_seer(own) as (server, _):
        assert httpx.post(server.url + ANALYZE, json=asked).headers["x-cache"] == "miss"
    with serve_seer(own) as (server, model):
        assert httpx.post(server.url + ANALYZE, json=asked).headers["x-cache"] == "hit"
        assert not model.asked


# Health and rates ---------------------------------------------------------------------------------


def test_health_without_ollama(http: httpx.Client):
    told = http.get("/api/v1/ai/health").json()
    assert told["status"] == "healthy" and told["current_model"] == "eyes"
    assert told["ollama"] == {"reachable": False, "base_url": "http://localhost:11434"}


def test_the_published_rates(settings: Settings):
    own = settings.model_copy(update={"rate_limits": "seed"})
    with serve_seer(own) as (server, _), server.client() as http:
        codes = [http.post(ANALYZE, json=body()).status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]
        late = http.post(ANALYZE, json=body())
        assert (
            late.json()["error"] == "RATE_LIMITED" and 1 <= int(late.headers["retry-after"]) <= 60
        )
        assert http.get(MODELS).status_code == 200
        assert http.post(f"{MODELS}/eyes-too").status_code == 200
        again = http.post(f"{MODELS}/eyes")
        assert again.status_code == 429 and int(again.headers["retry-after"]) > 3000
        assert http.get(MODELS).json()["current_model"] == "eyes-too"


# Names of other servers' models -------------------------------------------------------------------


def test_names_are_ollamas_own(settings: Settings):
    """A model of another server goes by its bare name where that is free, by its id where it is not."""
    free = replace(
        eyes.row("ollama/llava:latest", "chat", "image", aliases=("llava:latest",)),
        lane="remote",
        size=4_733_363_377,
        options={"model": "llava:latest"},
    )
    taken = replace(
        eyes.row("ollama/eyes", "chat", "image"), lane="remote", options={"model": "eyes"}
    )
    with serve_seer(settings, specs=(*eyes.SPECS, free, taken)) as (server, _):
        told = httpx.get(f"{server.url}{MODELS}").json()["available_models"]
        assert {"name": "llava:latest", "size": "4.7GB"} in told
        assert {"name": "ollama/eyes", "size": ""} in told
        chosen = httpx.post(f"{server.url}{MODELS}/llava:latest").json()
        assert chosen["current_model"] == "llava:latest"


def test_ollamas_models_see_for_us(seeing: tuple[Served, Seer], settings: Settings):
    """OLLAMA_BASE_URL and OLLAMA_VISION_MODEL: another server's model answers, under its own name."""
    there = seeing[0]
    own = settings.model_copy(
        update={"ollama_base_url": there.url, "default_vision": "eyes-too:latest"}
    )
    engine = Engine.build(own, families={"remote": remote}, specs=())
    with serve(own, engine=engine) as here, here.client() as http:
        assert until(lambda: http.get(MODELS).json()["current_model"] == "eyes-too:latest")
        listed = [row["name"] for row in http.get(MODELS).json()["available_models"]]
        assert {"eyes:latest", "eyes-too:latest"} <= set(listed) and "echo:latest" not in listed
        told = http.post(ANALYZE, json=body(context="A toy.")).json()
        assert told["response_text"] == "red 40x30: Context: A toy. what is it"
        assert told["model"] == "eyes-too:latest"
        assert http.post(f"{MODELS}/eyes:latest").json()["current_model"] == "eyes:latest"
        assert http.post(ANALYZE, json=body()).json()["model"] == "eyes:latest"
        assert http.post(ANALYZE, json=body(model="echo:latest")).status_code == 400
        health = http.get("/api/v1/ai/health").json()
        assert health["ollama"] == {"reachable": True, "base_url": there.url}
        assert health["current_model"] == "eyes:latest"


def test_health_tells_when_ollama_is_gone(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("routers.vision.FRESH", 0.0)
    own = settings.model_copy(update={"data_dir": settings.data_dir / "here"})
    with ExitStack() as stack:
        there, _ = stack.enter_context(serve_seer(settings))
        own = own.model_copy(update={"ollama_base_url": there.url})
        engine = Engine.build(own, families={"remote": remote}, specs=())
        with serve(own, engine=engine) as here, here.client() as http:
            for reachable in (True, False):
                told = http.get("/api/v1/ai/health").json()
                assert told["ollama"] == {"reachable": reachable, "base_url": there.url}
                assert told["status"] == "healthy", "it works with models of its own"
                stack.close()


def test_an_ollama_that_starts_later_is_waited_for(seeing: tuple[Served, Seer], settings: Settings):
    """Both are often started together: its model is the one that sees as soon as it is there."""
    own = settings.model_copy(
        update={"ollama_base_url": "http://127.0.0.1:1", "default_vision": "eyes-too:latest"}
    )
    engine = Engine.build(
        own, families={"remote": remote, "echo": echo}, specs=(replace(eyes.EYES, family="echo"),)
    )
    with serve(own, engine=engine) as here, here.client() as http:
        assert until(lambda: here.engine.servers.get("ollama").healthy is False)
        assert http.get(MODELS).json()["current_model"] == "eyes"
        # It listens now.
        started = replace(here.engine.servers.get("ollama"), url=seeing[0].url)
        here.engine.servers._servers["ollama"] = started
        here.call(here.engine.servers.refresh())
        assert http.get(MODELS).json()["current_model"] == "eyes-too:latest"
