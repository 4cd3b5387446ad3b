"""Our answers beside those of a real Ollama 0.17.4, recorded once in `tests/golden/ollama/`.

Recorded with the starter model imported there; long vectors and lists of tensors are cut. Compared are statuses,
types of content, and the names, order and types of all fields; every difference stands in a table here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import Engine, Settings
from tests import speaker
from tests.serving import Served, serve

pytestmark = pytest.mark.slow  # a server and its goldens

GOLDEN = Path(__file__).parent / "golden" / "ollama"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def chat(content: Any = "Hello! I am", **more: Any) -> tuple[str, str, Any]:
    body = {"model": "starter-chat", "messages": [{"role": "user", "content": content}], **more}
    return "POST", "/api/chat", body


def generate(**more: Any) -> tuple[str, str, Any]:
    return "POST", "/api/generate", {"model": "starter-chat", **more}


SHORT = {"options": {"num_predict": 3, "temperature": 0}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "version": ("GET", "/api/version", None),
    "chat": chat(stream=False, **SHORT),
    "chat_stream": chat(**SHORT),
    "chat_load": ("POST", "/api/chat", {"model": "starter-chat"}),
    "generate": generate(stream=False, prompt="Hello! I am", **SHORT),
    "generate_stream": generate(prompt="Hello! I am", **SHORT),
    "generate_raw": generate(stream=False, raw=True, prompt="Once", **SHORT),
    "generate_load": generate(keep_alive="5m"),
    "chat_logprobs": chat(stream=False, logprobs=True, top_logprobs=2, **SHORT),
    "chat_logprobs_stream": chat(logprobs=True, top_logprobs=2, **SHORT),
    "chat_json": chat(stream=False, format="json", **SHORT),
    "tags": ("GET", "/api/tags", None),
    "ps": ("GET", "/api/ps", None),
    "show": ("POST", "/api/show", {"model": "starter-chat"}),
    "chat_unload": ("POST", "/api/chat", {"model": "starter-chat", "keep_alive": 0}),
    "generate_unload": generate(keep_alive=0),
    "unknown_chat": ("POST", "/api/chat", {"model": "nope", "messages": [{"role": "user"}]}),
    "unknown_generate": ("POST", "/api/generate", {"model": "nope", "prompt": "x"}),
    "unknown_show": ("POST", "/api/show", {"model": "nope"}),
    "unknown_delete": ("DELETE", "/api/delete", {"model": "nope"}),
    "unknown_embed": ("POST", "/api/embed", {"model": "nope", "input": "x"}),
    "no_model_show": ("POST", "/api/show", {}),
    "bad_body": ("POST", "/api/chat", {"model": "starter-chat", "messages": "hi"}),
    "bad_options": generate(prompt="x", options={"temperature": "hot"}),
    "bad_format": chat(stream=False, format="xml"),
    "bad_think": chat(think=True),
    "bad_think_word": chat(think="much"),
    "bad_tools": chat(tools=[TOOL], stream=False),
    "bad_image": generate(prompt="x", images=["!!"]),
    "bad_raw": generate(prompt="x", raw=True, system="y"),
    "suffix": generate(prompt="x", suffix="y"),
    "bad_top_logprobs": chat(top_logprobs=21),
    "bad_keep_alive": chat(keep_alive="soon"),
    "embed": ("POST", "/api/embed", {"model": "vectors", "input": ["one", "two"]}),
    "embed_nothing": ("POST", "/api/embed", {"model": "vectors", "input": []}),
    "embeddings": ("POST", "/api/embeddings", {"model": "vectors", "prompt": "one"}),
    "pull_unknown": ("POST", "/api/pull", {"model": "", "stream": False}),
    "wrong_method": ("GET", "/api/chat", None),
}
# Fields that only one of the two has, and why.
OURS = {
    "version": {"atelier"},  # our own version beside that of the API
    "show": {"license"},  # the row's; the import has none
}
THEIRS = {
    "generate": {"context"},  # token ids to send back, given up by Ollama in favour of /api/chat
    "generate_stream": {"context"},
    "show": {
        "tensors",
        "model_info",
    },  # the tensors of a GGUF file; other names of numbers, see below
}
# (their status, ours), and why.
STATUSES = {
    "bad_options": (500, 400),  # the fault is the asker's
    "bad_format": (500, 400),
    "bad_tools": (400, 200),  # models without a template for tools are told of them in words
}


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(  # type: ignore[call-arg]
        data_dir=tmp_path_factory.mktemp("ollama"), device="cpu", _env_file=None, probe_local=False
    )
    families = {"speaker": speaker.Family()}
    with serve(
        settings, engine=Engine.build(settings, families=families, specs=speaker.SPECS)
    ) as s:
        yield s


def shape(value: Any) -> Any:
    """A value's shape: names in their order, kinds of values; of a list that of its first."""
    match value:
        case dict():
            return [(name, shape(inner)) for name, inner in value.items()]
        case list():
            return ["list", *map(shape, value[:1])]
        case bool() | None:
            return repr(value)
        case int() | float():
            return "number"
        case _:
            return "time" if TIME.fullmatch(str(value)) else "text"


def shapes(body: str, without: set[str]) -> list[Any]:
    """The shapes of a body's lines, one of each run of equal ones."""
    found: list[Any] = []
    for line in filter(None, body.splitlines()):
        value = json.loads(line)
        one = shape({name: inner for name, inner in value.items() if name not in without})
        found += [one] if one not in found[-1:] else []
    return found


def recorded(name: str) -> tuple[int, str, str]:
    """Status, type of content and body of the real answer."""
    head, _, body = (GOLDEN / f"{name}.txt").read_text("utf-8").partition("\n\n")
    status, _, kind = head.partition("\n")
    return int(status), kind.removeprefix("content-type: "), body


def ask(server: Served, name: str) -> httpx.Response:
    method, path, body = REQUESTS[name]
    httpx.post(f"{server.url}/api/generate", json={"model": "starter-chat"})
    return httpx.request(method, server.url + path, json=body)


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_have_ollamas_shape(ollama: Served, name: str):
    answer, (status, kind, body) = ask(ollama, name), recorded(name)
    assert (status, answer.status_code) == STATUSES.get(name, (status, status))
    if name == "wrong_method" or name in STATUSES:
        assert answer.json()
        return
    assert answer.headers["content-type"].split(";")[0] == kind.split(";")[0]
    ours = shapes(answer.text, OURS.get(name, set()) | THEIRS.get(name, set()))
    assert ours == shapes(body, THEIRS.get(name, set()) | OURS.get(name, set()))


def test_the_numbers_of_a_model_agree(ollama: Served):
    ours, theirs = ask(ollama, "show").json(), json.loads(recorded("show")[2])
    same = {
        name
        for name, value in theirs["model_info"].items()
        if ours["model_info"].get(name) == value
    }
    assert same >= {
        "general.architecture",
        "general.parameter_count",
        "llama.attention.head_count",
        "llama.attention.key_length",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.vocab_size",
    }
    assert ours["capabilities"] == theirs["capabilities"]
    assert ours["details"]["parameter_size"] == theirs["details"]["parameter_size"]
    assert "temperature                    0" in ours["parameters"].splitlines()


@pytest.mark.parametrize(
    "name", ["unknown_chat", "unknown_generate", "no_model_show", "bad_raw", "bad_think"]
)
def test_errors_begin_with_ollamas_words(ollama: Served, name: str):
    ours, theirs = ask(ollama, name).json()["error"], json.loads(recorded(name)[2])["error"]
    assert ours.startswith(theirs)


def test_no_golden_is_left_over():
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(REQUESTS)


def test_shapes_tell_differences():
    assert shapes('{"a":1,"b":"x"}', set()) != shapes('{"b":"x","a":1}', set())
    assert shapes('{"a":1}\n{"a":2}\n{"a":"x"}', set()) == shapes('{"a":3}\n{"a":"y"}', set())
    assert shapes('{"a":1,"c":2}', {"c"}) == shapes('{"a":7}', set())
    assert shape("2026-11-20T22:02:37.7Z") == "time" != shape("hi")
