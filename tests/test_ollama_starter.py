"""The `ollama` package against the starter model itself: real tokens, real refusals."""

from __future__ import annotations

from collections.abc import Iterator

import ollama
import pytest

from engine import Engine, Settings
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ollama.Client]:
    folder = tmp_path_factory.mktemp("starter")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None, probe_local=False)
    with serve(settings, engine=Engine.build(settings)) as server:
        with ollama.Client(host=server.url) as client:
            yield client


def test_streamed_equals_whole(client: ollama.Client):
    whole = client.chat("starter-chat", HELLO, options={"temperature": 0})
    pieces = list(client.chat("starter-chat", HELLO, options={"temperature": 0}, stream=True))
    assert whole.message.content
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert pieces[-1].eval_count == whole.eval_count
    assert (whole.eval_count or 0) > 2 and (whole.prompt_eval_count or 0) > 5
    assert (
        client.generate("starter-chat", "Hello!", options={"temperature": 0}).response
        == whole.message.content
    )


def test_a_seed_repeats_an_answer(client: ollama.Client):
    options = {"temperature": 1.5, "seed": 7, "num_predict": 12}
    first = client.generate("starter-chat", "Tell me something", options=options)
    assert first.done_reason == "length" and first.eval_count == 12
    assert (
        client.generate("starter-chat", "Tell me something", options=options).response
        == first.response
    )


def test_pictures_are_refused(client: ollama.Client):
    with pytest.raises(ollama.ResponseError, match="does not accept pictures") as caught:
        client.chat("starter-chat", [{**HELLO[0], "images": [b"\x89PNG\r\n\x1a\n"]}])
    assert caught.value.status_code == 400


def test_the_context_is_a_limit(client: ollama.Client):
    with pytest.raises(ollama.ResponseError, match="1,024") as caught:
        client.generate("starter-chat", "word " * 3000)
    assert caught.value.status_code == 400


def test_embedding_models_embed(client: ollama.Client):
    assert client.show("starter-embed").capabilities == ["embedding"]
    answer = client.embed("starter-embed", ["a cat", "a dog"])
    assert (
        len(answer.embeddings) == 2 and len(answer.embeddings[0]) == len(answer.embeddings[1]) > 8
    )
    assert answer.prompt_eval_count
