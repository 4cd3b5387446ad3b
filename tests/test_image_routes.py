"""Drawing over HTTP: Brenda's calls and OpenAI's, the latter with the `openai` package."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from PIL import Image

from engine import Engine, Settings
from engine.recipes import read_recipe
from tests import drawer
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow  # a server


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("d"), device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(settings, families={"drawer": drawer}, specs=drawer.SPECS)
    with serve(settings, engine=engine) as running:
        yield running


@pytest.fixture(scope="module")
def client(drawing: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{drawing.url}/v1", api_key="none", max_retries=0)


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def png(colour: str = "red", hole: bool = False) -> bytes:
    picture = Image.new("RGBA", (32, 32), colour)
    if hole:
        picture.paste((0, 0, 0, 0), (8, 8, 24, 24))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def post(drawing: Served, path: str, **body: Any) -> Any:
    with drawing.client() as http:
        return http.post(f"/v1/ai/image/{path}", json=body)


def frames(text: str) -> list[Any]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_brenda_draws(drawing: Served) -> None:
    answer = post(
        drawing, "generate", prompt="a red hat", width=90, height=64, steps=2, seed=5, odd=1
    )
    told = answer.json()
    assert answer.status_code == 200 and answer.headers["x-ignored-params"] == "odd"
    assert (told["width"], told["height"], told["steps"], told["seed"]) == (88, 64, 2, 5)
    assert told["model"] == "drawer" and told["note"] == "Rounded to 88x64."
    assert opened(told["image"]).getpixel((1, 1)) == (255, 0, 0)
    recipe = read_recipe(base64.b64decode(told["image"]))
    assert recipe is not None and recipe["prompt"] == "a red hat"
    row = drawing.rows(limit=1)[0]
    assert (row.task, row.dialect, row.status) == ("image", "brenda", "ok")
    several = post(drawing, "generate", prompt="blue", count=2, seed=1).json()
    assert [one["seed"] for one in several["images"]] == [1, 2]
    assert post(drawing, "models").status_code == 405


def test_brenda_streams_progress(drawing: Served) -> None:
    told = frames(post(drawing, "generate", prompt="green", steps=3, stream=True).text)
    assert [one["type"] for one in told[:-1]][-1] == "image" and told[-1] == "[DONE]"
    steps = [one for one in told[:-1] if one["type"] == "progress"]
    assert steps[-1] == {"type": "progress", "step": 3, "steps": 3}
    shown = frames(post(drawing, "generate", prompt="green", stream=True, preview=True).text)
    assert any(one.get("preview") for one in shown[:-1])


def test_brenda_refines(drawing: Served) -> None:
    picture = base64.b64encode(png()).decode()
    told = post(drawing, "refine", image=picture, prompt="blue", strength=0.4, steps=2).json()
    recipe = read_recipe(base64.b64decode(told["image"]))
    assert recipe is not None and recipe["mode"] == "image"
    with drawing.client() as http:
        assert http.get("/v1/ai/image/models").json() == {"models": ["drawer"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("generate", {"prompt": ""}, 400, ""),
        ("generate", {}, 422, "prompt"),
        ("generate", {"prompt": "a", "steps": 0}, 400, "steps"),
        ("generate", {"prompt": "a", "steps": 10_000}, 400, "steps"),
        ("generate", {"prompt": "a", "width": 100_000}, 400, "width"),
        ("generate", {"prompt": "a", "model": "nobody"}, 404, "nobody"),
        ("refine", {"prompt": "a"}, 422, "image"),
        ("refine", {"prompt": "a", "image": "AAAA"}, 415, ""),
        ("refine", {"prompt": "a", "image": "%%"}, 400, "image"),
        ("refine", {"prompt": "a", "image": base64.b64encode(png()).decode(), "strength": 2}, 400, "strength"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    drawing: Served, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    answer = post(drawing, path, **body)
    assert answer.status_code == status and param in answer.json()["detail"]


def test_breaking_in_mid_way(drawing: Served) -> None:
    answer = post(drawing, "generate", prompt="red !fail")
    assert answer.status_code == 500 and answer.json()["error"] == "GENERATION_FAILED"
    assert "/etc" not in answer.text
    early = post(drawing, "generate", prompt="red !fail !slow", steps=400, stream=True)
    assert early.status_code == 500, "what breaks before headers are out is a real status"
    assert early.json()["error"] == "GENERATION_FAILED"


def test_hanging_up_stops_it(drawing: Served) -> None:
    with drawing.client() as http:
        body = {"prompt": "red !slow", "steps": 500, "stream": True}
        with http.stream("POST", "/v1/ai/image/generate", json=body) as answer:
            next(answer.iter_lines())
    assert until(lambda: drawing.running == 0)
    assert until(lambda: drawing.rows(limit=1)[0].status == "cancelled")


def test_openai_generates(client: openai.OpenAI) -> None:
    told = client.images.generate(prompt="a blue hat", n=2, size="64x64")
    assert len(told.data or ()) == 2 and told.size == "64x64"
    assert opened(str(told.data[0].b64_json)).format == "PNG"  # type: ignore[index]
    linked = client.images.generate(prompt="blue", response_format="url", output_format="webp")
    head, _, body = str(linked.data[0].url).partition(",")  # type: ignore[index]
    assert head == "data:image/webp;base64" and opened(body).format == "WEBP"


def test_openai_streams_partial_pictures(client: openai.OpenAI) -> None:
    events = list(
        client.images.generate(prompt="green", stream=True, partial_images=2, size="64x64")
    )
    kinds = [event.type for event in events]
    assert kinds[-1] == "image_generation.completed" and "image_generation.partial_image" in kinds
    assert kinds.count("image_generation.partial_image") <= 2
    assert opened(events[-1].b64_json).size == (64, 64)


def test_openai_edits(client: openai.OpenAI) -> None:
    told = client.images.edit(image=("a.png", png()), prompt="a red hat")
    assert opened(str(told.data[0].b64_json)).format == "PNG"  # type: ignore[index]
    client.images.edit(image=("a.png", png(hole=True)), prompt="red", size="64x64")
    events = list(
        client.images.edit(
            image=("a.png", png()), mask=("m.png", png(hole=True)), prompt="red", stream=True
        )
    )
    assert events[-1].type == "image_edit.completed"
    with pytest.raises(openai.BadRequestError, match="transparent"):
        client.images.edit(image=("a.png", png()), mask=("m.png", png()), prompt="red")


def test_openai_refuses_in_its_words(client: openai.OpenAI) -> None:
    for fields in ({"size": "big"}, {"n": 11}, {"prompt": ""}, {"size": "100000x1"}):
        with pytest.raises(openai.BadRequestError):
            client.images.generate(**{"prompt": "a", **fields})  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.images.generate(prompt="a", model="nobody")
    with pytest.raises(openai.InternalServerError) as told:
        client.images.generate(prompt="red !fail")
    assert told.value.code == "generation_failed"
