"""The creature service: names, rarity, backends and what stands in for them; its door, rates, log and pictures."""

from __future__ import annotations

import base64
import io
import json
import logging
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine import Caller, Engine, ModelSpec, Settings
from engine.bestiary import (
    CHOICES,
    RARITIES,
    REFUSED,
    Names,
    Traits,
    imagine,
    is_decent,
    new_id,
    rarity,
)
from engine.creatures import extract_name
from engine.errors import GenerationFailed
from engine.events import Done, Text
from engine.registry import Emit
from engine.requests import ChatRequest
from engine.settings import ROOT
from tests import drawer
from tests.serving import Served

ID = re.compile(r"pkm_[A-Z2-9]{12}")


class Namer:
    """A family whose model answers what it was told to."""

    said: str = ""

    def load(self, spec: ModelSpec, settings: Settings) -> Namer:
        return self

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        if self.said == "!fail":
            raise ValueError("no")
        emit(Text(self.said))
        emit(Done())

    def close(self) -> None: ...


@asynccontextmanager
async def service(settings: Settings, said: str = "", **values: Any) -> AsyncIterator[Engine]:
    namer = Namer()
    namer.said = said
    specs = (
        ModelSpec("openai/llama3.2:1b", frozenset({"chat"}), "namer", memory=1),
        *drawer.SPECS,
    )
    families: Any = {"namer": namer, "drawer": drawer}
    engine = Engine.build(settings.model_copy(update=values), families=families, specs=specs)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


# Names and rarity


def test_names_never_repeat_and_never_offend() -> None:
    names = Names()
    made = [names.next() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert all(4 <= len(name) <= 12 and name[0].isupper() for name in made)
    assert not [name for name in made if any(part in name.lower() for part in REFUSED)]
    assert not is_decent("Kra'p-shIt") and not is_decent("S-h'i t")
    assert {len(set(made[n::100])) for n in range(100)} == {100}


def test_rarity_is_weighted() -> None:
    chance = random.Random(1)
    counts = Counter(rarity(chance) for _ in range(20_000))
    assert [name for name, _ in counts.most_common()] == ["F", "E", "D", "C", "B", "A", "S", "S+"]
    for name, weight in RARITIES.items():
        assert counts[name] / 20 == pytest.approx(weight, rel=0.25, abs=3)
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000 and all(map(ID.fullmatch, ids))


def test_captions_tell_all_traits() -> None:
    traits = Traits(
        "orange", "blue", "round", "two horns", "", "a curled tail", "one eye", "spots", "at night"
    )
    assert traits.caption == (
        "an orange round creature with one eye, two horns, a curled tail and blue spots, at night"
    )
    seen = [imagine(random.Random(n)) for n in range(200)]
    for name, words in CHOICES.items():
        assert {getattr(one, name) for one in seen} == set(words)
    assert all(one.colour != one.second for one in seen)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name":"Aquaclaw"}', "Aquaclaw"),
        ('Sure! ```json\n{"name": "Khra\'gzathon"}\n```', "Khra'gzathon"),
        ('{"name":"Lumi"}}}', "Lumi"),
        ('{"name":"Trunc', "Trunc"),
        ('{"name": "Vel', "Vel"),
        ("{name: Zora}", "Zora"),
        ("{'name': 'Fin'}", "Fin"),
        ('{"x":1} {"name":"Deep"}', "Deep"),
        ('{"name":"<b>Bo</b>"}', "bBob"),
        ('{"name":"name"}', ""),
        ('{"name":"Shithead"}', ""),
        ('{"name":""}', ""),
        ("[1, 2]", ""),
        ("", ""),
        ("{" * 5000, ""),
    ],
)  # fmt: skip
def test_names_are_found_in_what_other_servers_say(text: str, name: str) -> None:
    assert extract_name(text) == name


# The service


async def test_a_creature_comes_from_the_folder(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pokemon"):
        async with service(settings) as engine:
            made = [await engine.creatures.make(Caller()) for _ in range(5)]
    assert all(one.backend == "files" and one.mime == "image/png" for one in made)
    assert len({one.name for one in made}) == 5
    events = [record.message for record in caplog.records]
    assert events[0] == "startup.config" and events.count("generate.success") == 5


async def test_a_model_draws_and_the_folder_stands_in(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = {"pokemon_generation_backend": "sdxl", "sdxl_width": 64, "sdxl_height": 64}
    with caplog.at_level(logging.INFO, "pokemon"):
        async with service(settings, **drawn) as engine:
            made = await engine.creatures.make(Caller())
            assert made.backend == "sdxl" and "creature with" in made.caption
            assert Image.open(io.BytesIO(made.image)).size == (64, 64)
            row = (await _rows(engine))[0]
            assert (row.task, row.model) == ("image", "drawer")
        async with service(settings, **drawn, sdxl_turbo_model="nobody") as engine:
            assert (await engine.creatures.make(Caller())).backend == "files"
    events = [record.message for record in caplog.records]
    assert {"sdxl.warmup", "sdxl.ready", "sdxl.fallback"} <= set(events)


async def _rows(engine: Engine) -> list[Any]:
    await engine.usage.flush()
    return await engine.usage.rows()


@pytest.mark.parametrize(
    ("said", "event"),
    [('{"name":"Aquaclaw"}', "remote_name.ok"), ("!fail", "remote_name.error"), ("hm", "extract_name.failed")],
)  # fmt: skip
async def test_another_server_names(
    settings: Settings, caplog: pytest.LogCaptureFixture, said: str, event: str
) -> None:
    with caplog.at_level(logging.INFO, "pokemon"):
        async with service(settings, said, pokemon_name_backend="remote") as engine:
            made = await engine.creatures.make(Caller())
    assert (made.name == "Aquaclaw") is (event == "remote_name.ok") and made.name
    events = [record.message for record in caplog.records]
    assert "remote_name.request" in events and event in events


async def test_nothing_to_show_is_an_error(settings: Settings, tmp_path: Path) -> None:
    async with service(settings, pokemon_images_dir=tmp_path) as engine:
        with pytest.raises(GenerationFailed, match="POKEMON_IMAGES_DIR"):
            await engine.creatures.make(Caller())
    async with service(settings, pokemon_image_pattern="{nope}") as engine:
        assert engine.creatures.files() == []


def test_every_variable_of_the_service_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "POKEMON_IMAGES_DIR": "/x", "POKEMON_IMAGE_PATTERN": "{}.png", "POKEMON_MIN_INDEX": "1",
        "POKEMON_MAX_INDEX": "2", "POKEMON_GENERATION_BACKEND": "sdxl", "POKEMON_BEARER_TOKEN": "t",
        "POKEMON_RATE_LIMIT_PER_MIN": "7", "SDXL_TURBO_MODEL": "m", "SDXL_WIDTH": "256",
        "SDXL_HEIGHT": "128", "SDXL_STEPS": "3", "POKEMON_NAME_BACKEND": "remote",
        "OPENAI_BASE_URL": "http://h/v1", "OPENAI_MODEL": "o", "OPENAI_API_KEY": "k",
        "OPENAI_TIMEOUT": "2.5", "LOG_LEVEL": "DEBUG", "LOG_JSON": "1", "LOG_REQUEST_BODY": "1",
        "LOG_REMOTE_CONTENT": "1", "LOG_IMAGE_B64": "1",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    ours = Settings()
    for name in values:
        field = name.lower()
        assert field in ours.model_fields_set, name
    assert ours.pokemon_rate_limit_per_min == 7 and ours.sdxl_steps == 3 and ours.log_image_b64


# Its door


@pytest.mark.slow
def test_over_http(served: Callable[..., Served]) -> None:
    with served(pokemon_bearer_token="hush", pokemon_rate_limit_per_min=3).client() as http:
        refused = http.get("/v1/generate")
        assert refused.status_code == 401 and refused.json()["error"] == "UNAUTHORIZED"
        wrong = {"Authorization": "Bearer wrong"}
        assert http.get("/v1/generate", headers=wrong).status_code == 401
        assert http.get("/v1/models").status_code == 200, "the token is for one path alone"
        right = {"Authorization": "Bearer hush"}
        answer = http.get("/v1/generate", headers=right)
        told = answer.json()
        assert set(told) == {"imageBase64", "metadata", "generatedAt"}
        assert ID.fullmatch(told["metadata"]["id"]) and told["metadata"]["rarity"] in RARITIES
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["generatedAt"])
        assert Image.open(io.BytesIO(base64.b64decode(told["imageBase64"]))).format == "PNG"
        statuses = [http.get("/v1/generate", headers=right) for _ in range(4)]
        assert [one.status_code for one in statuses] == [200, 200, 429, 429]
        assert (
            statuses[-1].json()["error"] == "RATE_LIMITED" and statuses[-1].headers["retry-after"]
        )


@pytest.mark.slow
def test_a_token_of_all_opens_it_too(served: Callable[..., Served]) -> None:
    with served(token="all", pokemon_bearer_token="hush").client() as http:
        for token, status in (("all", 200), ("hush", 200), ("wrong", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert http.get("/v1/generate", headers=headers).status_code == status
        assert http.get("/v1/models", headers={"Authorization": "Bearer hush"}).status_code == 401


# Its pictures


def test_the_pictures_are_there_and_small() -> None:
    files = sorted((ROOT / "assets/creatures").glob("image_*.png"))
    assert len(files) >= 24 and all(file.stat().st_size <= 40_000 for file in files)
    assert len({file.read_bytes() for file in files}) == len(files)
    sizes = {Image.open(io.BytesIO(file.read_bytes())).size for file in files}
    assert sizes == {(320, 320)}


@pytest.mark.slow
def test_a_drawing_shows_its_traits() -> None:
    from starter.creatures import HUES, draw, gallery

    plain = Traits("blue", "red", "round", "", "", "", "two eyes", "", "in the snow")
    picture = draw(plain, side=96, seed=1)
    assert picture.size == (96, 96) and picture.tobytes() == draw(plain, side=96, seed=1).tobytes()
    shown = picture.getpixel((34, 66))
    assert sum(abs(a - b) for a, b in zip(shown, HUES["blue"], strict=True)) < 120
    assert len({one.caption for one in gallery()}) == 24


def test_log_lines_are_what_readers_expect() -> None:
    from engine.logs import JsonLines

    record = logging.LogRecord("pokemon", logging.INFO, "", 0, "remote_name.ok", (), None)
    record.creature = "Khra'gzathon"
    line = json.loads(JsonLines().format(record))
    assert set(line) == {"ts", "level", "logger", "message", "extra"}
    assert line["logger"] == "pokemon" and line["extra"]["creature"] == "Khra'gzathon"
