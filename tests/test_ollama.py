"""The Ollama dialect, driven by the `ollama` package itself."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest

from engine import Engine, Settings
from tests import echo, speaker
from tests.eyes import picture
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow  # a server

PNG = picture()


def city(city: str) -> str:
    """Tell the weather.

    Args:
        city: where
    """
    return city


@pytest.fixture(scope="module")
def family() -> speaker.Family:
    return speaker.Family()


@pytest.fixture(scope="module")
def served_models(
    tmp_path_factory: pytest.TempPathFactory, family: speaker.Family
) -> Iterator[Served]:
    settings = Settings(  # type: ignore[call-arg]
        data_dir=tmp_path_factory.mktemp("ollama"), device="cpu", _env_file=None, probe_local=False
    )
    families = {"speaker": family, "echo": echo}
    specs = (*speaker.SPECS, *echo.SPECS)
    with serve(settings, engine=Engine.build(settings, families=families, specs=specs)) as server:
        yield server


@pytest.fixture
def client(served_models: Served) -> Iterator[ollama.Client]:
    with ollama.Client(host=served_models.url) as client:
        yield client


@pytest.fixture
def heard(family: speaker.Family) -> Callable[[], Any]:
    """The last request that reached the model."""
    family.speaker.heard.clear()
    return lambda: family.speaker.heard[-1]


def user(content: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **more}]


# Models -------------------------------------------------------------------------------------------


def test_list(client: ollama.Client):
    found = {model.model: model for model in client.list().models}
    assert set(found) == {
        "starter-chat:latest",
        "vectors:latest",
        "eyes:latest",
        "echo:latest",
        "echo-batch:latest",
    }
    starter = found["starter-chat:latest"]
    assert starter.size and starter.size > 8_000_000 and starter.modified_at
    assert starter.digest and len(starter.digest) == 64
    assert starter.digest != found["vectors:latest"].digest
    assert starter.details and starter.details.family == "llama"
    assert (starter.details.parameter_size, starter.details.quantization_level) == ("4.43M", "BF16")


def test_show(client: ollama.Client):
    card = client.show("starter-chat")
    assert card.capabilities == ["completion"] and card.modelinfo
    assert card.modelinfo["llama.context_length"] == 1024
    assert card.template and "<|im_start|>" in card.template
    assert client.show("vectors").capabilities == ["embedding"]
    assert client.show("eyes").capabilities == ["completion", "vision"]
    assert str(speaker.ROOT) not in json.dumps(card.model_dump(mode="json"))


@pytest.mark.parametrize("name", ["echo", "echo:latest", "ECHO", "Echo:Latest", "parrot:latest"])
def test_names_are_found_as_ollama_finds_them(client: ollama.Client, name: str):
    answer = client.chat(name, user("a"))
    assert answer.model == name and answer.message.content == "echo: a"


def test_ps_follows_keep_alive(client: ollama.Client):
    client.generate("starter-chat", keep_alive=0)
    assert "starter-chat:latest" not in {model.model for model in client.ps().models}
    assert client.generate("starter-chat", keep_alive="10m").done_reason == "load"
    assert 590 < left(client) <= 600
    client.chat("starter-chat", user("hi"), keep_alive=1800)
    assert 1790 < left(client) <= 1800
    client.chat("starter-chat", user("hi"), keep_alive="1h0m5s")
    assert 3595 < left(client) <= 3605
    client.chat("starter-chat", user("hi"), keep_alive=-1)
    assert left(client) > 100 * 365 * 86400
    assert client.chat("starter-chat", keep_alive=0).done_reason == "unload"
    assert "starter-chat:latest" not in {model.model for model in client.ps().models}


def left(client: ollama.Client) -> float:
    """Seconds the starter stays loaded."""
    [model] = [model for model in client.ps().models if model.model == "starter-chat:latest"]
    assert model.expires_at and model.size and model.size_vram == 0
    assert model.context_length == 1024
    return model.expires_at.timestamp() - time.time()


def test_an_answer_with_no_time_left_unloads_afterwards(client: ollama.Client):
    client.chat("starter-chat", user("hi"), keep_alive=0)
    assert until(lambda: "starter-chat:latest" not in {m.model for m in client.ps().models})


def test_unloading_waits_for_no_long_answer(client: ollama.Client):
    thread = threading.Thread(target=client.chat, args=("echo", user("!slow " + "la " * 100)))
    thread.start()
    assert until(lambda: "echo:latest" in {m.model for m in client.ps().models})
    began = time.monotonic()
    assert client.generate("echo", keep_alive=0).done_reason == "unload"
    assert time.monotonic() - began < 1.9
    thread.join()
    assert until(lambda: "echo:latest" not in {m.model for m in client.ps().models}, 30)


# Answers ------------------------------------------------------------------------------------------


def test_chat(client: ollama.Client):
    answer = client.chat("echo", user("hello there"))
    assert (answer.message.role, answer.message.content) == ("assistant", "echo: hello there")
    assert answer.done and answer.done_reason == "stop" and answer.created_at
    assert (answer.prompt_eval_count, answer.eval_count) == (2, 3)
    took = (answer.load_duration or 0) + (answer.prompt_eval_duration or 0)
    assert 0 < took + (answer.eval_duration or 0) <= (answer.total_duration or 0) < 30e9


def test_a_stream(client: ollama.Client):
    pieces = list(client.chat("echo", user("!slow a b c"), stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == "echo: !slow a b c"
    assert len(pieces) > 2 and [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [
        True
    ]
    assert pieces[-1].eval_count == 5 and pieces[0].eval_count is None


def test_generate(client: ollama.Client, heard: Callable[[], Any]):
    whole = client.generate("starter-chat", "one two", system="be short")
    assert whole.response == "one two" and whole.eval_count == 2
    assert [(m.role, m.text) for m in heard().messages] == [
        ("system", "be short"),
        ("user", "one two"),
    ]
    pieces = list(client.generate("starter-chat", "one two", raw=True, stream=True))
    assert "".join(piece.response or "" for piece in pieces) == "one two"
    assert heard().prompt == "one two" and not heard().messages


async def test_the_async_client(served_models: Served):
    async with ollama.AsyncClient(host=served_models.url) as client:
        assert (await client.list()).models
        assert (await client.chat("echo", user("a"))).message.content == "echo: a"
        said = ""
        async for piece in await client.chat("echo", user("a b"), stream=True):
            said += piece.message.content or ""
        assert said == "echo: a b"
        assert (await client.generate("echo", "x")).response == "echo: x"
        assert (await client.embed("vectors", ["ab"])).embeddings == [[2.0, 0.0, 1.0]]
        assert (await client.ps()).models and (await client.show("echo")).capabilities
        assert (await client.pull("starter-chat")).status == "success"
        with pytest.raises(ollama.ResponseError, match="stays"):
            await client.delete("echo")


def test_options_reach_the_model(client: ollama.Client, heard: Callable[[], Any]):
    options = {
        "num_predict": 5, "num_ctx": 4096, "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.1, "seed": 3,
        "stop": ["x", "y"], "repeat_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.4,
    }  # fmt: skip
    client.chat("starter-chat", user("hi"), options=options)
    got = heard()
    assert (got.max_tokens, got.context, got.temperature, got.top_k) == (5, 4096, 0.5, 7)
    assert (got.top_p, got.min_p, got.seed, got.stop) == (0.9, 0.1, 3, ("x", "y"))
    assert (got.repetition_penalty, got.presence_penalty, got.frequency_penalty) == (1.2, 0.3, 0.4)
    client.chat("starter-chat", user("hi"), options={"num_predict": -1, "seed": -1, "top_k": -1})
    assert (heard().max_tokens, heard().seed, heard().top_k) == (None, None, 0)
    cut = client.chat("starter-chat", user("a b c"), options={"num_predict": 2})
    assert (cut.message.content, cut.done_reason) == ("a b", "length")


def test_unread_fields_are_named(served_models: Served):
    body = {
        "model": "echo",
        "messages": user("x"),
        "options": {"mirostat": 1, "numa": True},
        "shift": True,
    }
    answer = httpx.post(f"{served_models.url}/api/chat", json=body)
    assert answer.headers["x-ignored-params"] == "shift, options.mirostat, options.numa"


@pytest.mark.parametrize(
    "form", ["json", {"type": "object", "properties": {"a": {"type": "string"}}}]
)
def test_formats(client: ollama.Client, heard: Callable[[], Any], form: Any):
    client.chat("starter-chat", user("hi"), format=form)
    assert heard().json_schema == (True if form == "json" else form)


def test_tools(client: ollama.Client, heard: Callable[[], Any]):
    answer = client.chat("starter-chat", user("!call"), tools=[city])
    assert heard().tools[0].name == "city" and "city" in heard().tools[0].parameters["properties"]
    [call] = answer.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("city", {"city": "Paris"})
    assert answer.message.content == "" and answer.done_reason == "stop"
    messages = [
        *user("!call"),
        answer.message,
        {"role": "tool", "content": "sun", "tool_name": "city"},
    ]
    client.chat("starter-chat", messages)
    _, asked, told = heard().messages
    assert asked.calls[0].arguments == '{"city":"Paris"}' and told.call_id == asked.calls[0].id
    [first, last] = client.chat("starter-chat", user("!call"), tools=[city], stream=True)
    assert first.message.tool_calls and not first.done and last.done


def test_a_call_that_was_cut_off_is_an_error(client: ollama.Client):
    with pytest.raises(ollama.ResponseError, match="not JSON") as caught:
        client.chat("starter-chat", user("!cut"), tools=[city])
    assert caught.value.status_code == 500
    with pytest.raises(ollama.ResponseError, match="not JSON"):
        list(client.chat("starter-chat", user("!cut"), tools=[city], stream=True))


def test_thinking_comes_apart(client: ollama.Client, heard: Callable[[], Any]):
    answer = client.chat("starter-chat", user("!think hi"))
    assert (answer.message.thinking, answer.message.content) == ("Let me see.", "!think hi")
    pieces = list(client.generate("starter-chat", "!think hi", stream=True))
    assert "".join(piece.thinking or "" for piece in pieces) == "Let me see."
    client.chat(
        "starter-chat",
        [*user("x"), {"role": "assistant", "content": "y", "thinking": "z"}, *user("x")],
    )
    assert heard().messages[1].reasoning == "z"
    client.chat("echo", user("hi"), think="low")  # its template is not known, so it may
    with pytest.raises(ollama.ResponseError, match='"starter-chat" does not support thinking'):
        client.chat("starter-chat", user("hi"), think=True)


def test_images_reach_the_model(client: ollama.Client, heard: Callable[[], Any]):
    client.chat("eyes", user("what", images=[PNG]))
    assert [part.kind for part in heard().messages[0].parts] == ["image", "text"]
    assert heard().messages[0].parts[0].data == PNG
    client.generate("eyes", "what", images=[base64.b64encode(PNG).decode()])
    assert heard().messages[0].parts[0].data == PNG
    with pytest.raises(ollama.ResponseError, match="does not accept pictures") as refused:
        client.chat("starter-chat", user("what", images=[PNG]))
    assert refused.value.status_code == 400


def test_log_probabilities(client: ollama.Client):
    answer = client.chat("starter-chat", user("a b"), logprobs=True, top_logprobs=2)
    assert answer.logprobs and [one.token for one in answer.logprobs] == ["a", "b"]
    assert answer.logprobs[0].top_logprobs and len(answer.logprobs[0].top_logprobs) == 2
    pieces = list(client.generate("starter-chat", "a b", logprobs=True, stream=True))
    assert [one.token for piece in pieces for one in piece.logprobs or ()] == ["a", "b"]


def test_embed(client: ollama.Client, heard: Callable[[], Any]):
    answer = client.embed("vectors", ["a b", "abcd"])
    assert answer.embeddings == [[3.0, 0.0, 1.0], [4.0, 0.0, 1.0]]
    assert answer.prompt_eval_count == 3 and answer.total_duration
    assert client.embed("vectors", "ab").embeddings == [[2.0, 0.0, 1.0]]
    assert client.embeddings("vectors", "abc").embedding == [3.0, 0.0, 1.0]
    assert client.embed("vectors", []).embeddings == []
    with pytest.raises(ollama.ResponseError, match="cannot embed"):
        client.embed("echo", "x")


# Refusals -----------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}, 400, "raw: true"),
    ("generate", {"prompt": "x", "suffix": "y"}, 400, "do not support insert"),
    ("generate", {"prompt": "x", "context": [1, 2]}, 400, "/api/chat"),
    ("generate", {"prompt": "x", "raw": True, "context": [1]}, 400, "raw mode"),
    ("generate", {"prompt": "x", "raw": True, "images": ["aGk="]}, 400, "raw mode"),
    ("generate", {"prompt": "x", "images": ["!"]}, 400, "images.0: this is not base64"),
    ("generate", {"prompt": "x", "options": {"temperature": 9}}, 400, "temperature"),
    ("generate", {"prompt": "x", "options": {"stop": [""]}}, 400, "stop"),
    ("chat", {"messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
    ("chat", {"messages": user("x", images=["http://169.254.169.254/"])}, 400, "fetches no URLs"),
    ("chat", {"messages": user("x"), "keep_alive": "soon"}, 400, "keep_alive"),
    ("chat", {"messages": user("x"), "tools": [{"type": "function"}]}, 400, "tools.0.function"),
    ("embed", {"input": [1, 2]}, 400, "input"),
    ("copy", {"source": "a", "destination": "b"}, 501, "models.toml"),
    ("create", {"from": "echo"}, 501, "models.toml"),
    ("push", {}, 501, "hf upload"),
    ("me", {}, 501, "account"),
]


@pytest.mark.parametrize(("call", "body", "status", "says"), REFUSED, ids=lambda v: str(v)[:40])
def test_refusals(served_models: Served, call: str, body: dict[str, Any], status: int, says: str):
    answer = httpx.post(f"{served_models.url}/api/{call}", json={"model": "starter-chat", **body})
    assert answer.status_code == status and says in answer.json()["error"]
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("path", ["chat", "generate", "embed", "show", "pull"])
def test_bodies_that_are_none(served_models: Served, path: str, content: bytes):
    answer = httpx.post(f"{served_models.url}/api/{path}", content=content)
    assert answer.status_code == 400 and answer.json().keys() == {"error"}


def test_curl_needs_no_content_type(served_models: Served):
    body = json.dumps({"model": "echo", "prompt": "a", "stream": False})
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = httpx.post(f"{served_models.url}/api/generate", content=body, headers=kind)
    assert answer.json()["response"] == "echo: a"
    evil = {"content-type": "text/plain", "origin": "https://evil.example"}
    answer = httpx.post(f"{served_models.url}/api/generate", content=body, headers=evil)
    assert answer.status_code == 403 and answer.json().keys() == {"error"}


def test_go_sends_nulls(served_models: Served):
    body = {
        "model": "echo", "prompt": "a", "suffix": "", "system": "", "template": "", "options": None, "format": None,
        "images": None, "context": None, "think": None, "keep_alive": None, "stream": False,
    }  # fmt: skip
    answer = httpx.post(f"{served_models.url}/api/generate", json=body)
    assert answer.json()["response"] == "echo: a"


def test_a_late_failure_is_a_line_of_the_stream(client: ollama.Client):
    stream = client.chat("echo", user("!fail now please"), stream=True)
    assert (next(stream).message.content or "").startswith("echo:")
    with pytest.raises(ollama.ResponseError) as caught:
        list(stream)
    assert "/etc/secret" not in str(caught.value)


def test_heads(served_models: Served):
    for path, status in (
        ("/", 200),
        ("/api/tags", 200),
        ("/api/version", 200),
        ("/api/blobs/x", 501),
    ):
        answer = httpx.head(served_models.url + path)
        assert (answer.status_code, answer.content) == (status, b"")


def test_only_ollamas_own_paths_speak_its_words(served_models: Served):
    url = served_models.url
    for path in ("/api/v1/ai/nothing", "/api/v1/admin/nothing", "/v1/nothing"):
        assert httpx.get(url + path).json().keys() == {"detail", "error"}
    listed = httpx.get(f"{url}/api/v1/ai/models").json()
    assert listed == ["starter-chat", "eyes", "echo", "echo-batch"]
    assert httpx.get(f"{url}/api/generate").json().keys() == {"error"}


@pytest.mark.parametrize("call", ["chat", "generate"])
def test_a_hang_up_stops_the_work(served_models: Served, client: ollama.Client, call: str):
    long = "!slow " + "la " * 400
    asked: dict[str, Any] = {"messages": user(long)} if call == "chat" else {"prompt": long}
    stream = getattr(client, call)("echo", stream=True, **asked)
    next(stream)
    stream.close()
    assert until(lambda: not served_models.running, 2)
    [row] = [r for r in served_models.rows(limit=1) if r.dialect == "ollama"]
    assert row.status == "cancelled" and row.output_tokens < 50
