"""A model that sees, from its folder to an answer through HTTP: as a user would bring it and ask it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Settings
from tests import tiny_vision
from tests.serving import Served, serve
from tests.tiny_vision import picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("seeing")
    folder = tiny_vision.make_checkpoint(base / "mine", "qwen3_vl")
    settings = Settings(data_dir=base / "data", device="cpu", probe_local=False, _env_file=None)  # type: ignore[call-arg]
    with serve(settings, engine=Engine.build(settings)) as server, server.client() as client:
        (card,) = client.post("/v1/models/add", json={"source": str(folder)}).json()["models"]
        assert card["id"] == "mine" and card["accepts"] == ["image"] and card["does"] == ["chat"]
        server.engine.choose("chat", "mine", "image")
        yield server


def body(*parts: bytes | str, **fields: Any) -> dict[str, Any]:
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(part).decode()}"},
        }
        for part in parts
    ]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}


def test_a_picture_without_a_model_goes_to_the_one_that_was_chosen(server):
    with server.client() as client:
        seen = client.post("/v1/chat/completions", json=body("what", picture(1), n=2)).json()
        text = client.post("/v1/chat/completions", json=body("what")).json()
        words = client.post("/v1/chat/completions", json=body("what", model="mine")).json()
    assert seen["model"] == "mine" and len(seen["choices"]) == 2
    assert text["model"] != "mine"
    assert seen["usage"]["prompt_tokens"] >= words["usage"]["prompt_tokens"] + 6  # the picture's


def test_ollamas_dialect_takes_them_too(server):
    data = base64.b64encode(picture(2)).decode()
    asked = {"role": "user", "content": "what", "images": [data]}
    options = {"num_predict": 4}
    with server.client() as client:
        whole = client.post(
            "/api/chat",
            json={"model": "mine", "messages": [asked], "stream": False, "options": options},
        ).json()
    assert whole["eval_count"] == 4 and whole["prompt_eval_count"] > 15


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"GIF89a" + b"\0" * 40, 415, "a GIF"),
        (picture(1, (300, 300))[:200], 415, "broken"),
        (picture(1, (2000, 1)), 400, "shape"),
    ],
    ids=["gif", "broken", "line"],
)
def test_a_bad_picture_is_a_real_status_in_streams_too(server, data, status, said, stream):
    with server.client() as client:
        asked = body("what", picture(1), data, model="mine", stream=stream)
        answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == status and said in answer.json()["error"]["message"]
    assert server.running == 0


def test_a_blind_model_is_refused_before_anything_runs(server):
    with server.client() as client:
        answer = client.post(
            "/v1/chat/completions", json=body("what", picture(1), model="starter-chat")
        )
    assert answer.status_code == 400
    assert "does not accept pictures. These do: " in answer.json()["error"]["message"]


@pytest.mark.parametrize("how", ["int8", "int4"])
def test_quantised_it_still_sees_with_its_tower_untouched(server, how):
    import torch

    with server.client() as client:
        loaded = client.post("/v1/models/load", json={"model": "mine", "quantisation": how})
        assert loaded.json()["form"] == how, loaded.text
        seen = client.post("/v1/chat/completions", json=body("what", picture(1))).json()
        assert seen["usage"]["completion_tokens"] == 4
    model = server.engine.lane._models._residents["mine"].backend._model
    linear = [m for m in model.model.visual.modules() if hasattr(m, "in_features")]
    assert linear and all(
        type(m) is torch.nn.Linear
        and type(m.weight.data) is torch.Tensor
        and m.weight.is_floating_point()
        for m in linear
    )
    inner = model.model.language_model.layers[0].mlp.up_proj
    assert type(inner) is not torch.nn.Linear or type(inner.weight.data) is not torch.Tensor


def test_in_bfloat16_it_is_batched_as_well(tmp_path: Path):
    from engine.families import hf_chat
    from engine.registry import ModelSpec
    from tests.test_hf_vision import see
    from tests.tiny import Listener

    folder = tiny_vision.make_checkpoint(tmp_path, "qwen2_5_vl")
    spec = ModelSpec(
        id="m", does=frozenset({"chat"}), family="hf_chat", path=str(folder),
        options={"dtype": "bfloat16"},
    )  # fmt: skip
    backend = hf_chat.load(spec, Settings(device="cpu", parallel=3))
    listener = Listener()
    backend.join(see("what", picture(1)), listener)
    for _ in range(200):
        if not listener.over:
            backend.step()
    assert listener.finish and type(backend._runner).__name__ == "Slots"
    backend.close()


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava"])
def test_the_older_layout_of_the_hub_is_read_too(tmp_path: Path, kind: str):
    """Flat configs, the picture rule in a file of its own, the chat template in JSON."""
    from tests.test_hf_vision import ready, see
    from tests.tiny import Listener

    texts = []
    for folder in (tmp_path / "new", tmp_path / "old"):
        tiny_vision.make_checkpoint(folder, kind)
        if folder.name == "old":
            _age(folder, flat=kind.startswith("qwen"))
        backend, listener = ready(folder), Listener()
        backend.join(see("what", picture(1)), listener)
        while not listener.over:
            backend.step()
        texts.append(listener.text)
        backend.close()
    assert texts[0] == texts[1] and texts[0]


def _age(folder: Path, flat: bool) -> None:
    processor = json.loads((folder / "processor_config.json").read_text())
    pictures = processor.pop("image_processor") | {"processor_class": processor["processor_class"]}
    processor.pop("video_processor", None)
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    if not flat:
        (folder / "processor_config.json").write_text(json.dumps(processor))
        return
    (folder / "processor_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text.pop("model_type", None)
    scaling = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    old = {**text, **config, "rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    (folder / "config.json").write_text(json.dumps(old))
