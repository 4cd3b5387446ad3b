"""The starter that draws: its folder, its prompts, the check of its pictures, what it draws for held-out prompts."""

from __future__ import annotations

import io
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import Caller, Engine, ImageRequest, Settings, fold
from engine.bestiary import CHOICES, imagine
from engine.families import diffusion
from engine.registry import Registry
from starter.image_data import SIDE, STYLES, ask, creatures, is_held, picture_of, plainly
from starter.image_eval import Wish, judge, others, share, wishes

FOLDER = Path(__file__).parent.parent / "assets" / "starters" / "starter-image"
MOST_BYTES = 25 * 1024 * 1024
# Floors below what the committed weights reached, so that a worse copy is noticed; the card says what they reached.
# They are far from learned: whole creatures are rarely right, so only traits are held.
FLOORS = {"body": 0.6, "horns": 0.45, "wings": 0.5, "place": 0.9}
DRAWN = 24  # pictures that are judged
pytestmark = pytest.mark.timeout(300)


# What it learns from


def test_training_never_draws_a_held_out_combination() -> None:
    source, held = creatures(1), creatures(1, held=True)
    shown = [next(source) for _ in range(2000)]
    assert not any(is_held(one) for one in shown)
    assert all(is_held(next(held)) for _ in range(200))
    for pair in (("colour", "body"), ("body", "wings"), ("colour", "wings")):
        met = {tuple(getattr(one, name) for name in pair) for one in shown}
        assert len(met) == len(CHOICES[pair[0]]) * len(CHOICES[pair[1]])


def test_prompts_are_the_services_own_and_others_that_say_the_same() -> None:
    chance = random.Random(2)
    for _ in range(200):
        traits = plainly(imagine(chance))
        own = ask(traits, chance, own=1.0)
        assert own.text == traits.caption
        other = ask(traits, chance, own=0.0, leave=0.0)
        assert other.told == own.told and other.text != own.text
        for place, (name, words) in zip(own.told, CHOICES.items(), strict=True):
            assert place == -1 or words[place] == getattr(traits, name)
            assert place >= 0 or name == "second"


def test_a_second_colour_that_no_word_tells_follows_from_the_first() -> None:
    chance = random.Random(3)
    made = [plainly(imagine(chance)) for _ in range(300)]
    plain = [one for one in made if "spots" not in one.caption and "stripes" not in one.caption]
    assert plain and all(one.second != one.colour for one in made)
    assert len({(one.colour, one.second) for one in plain}) == len(CHOICES["colour"])


# The check


@pytest.mark.slow
@pytest.mark.timeout(900)  # some fifty drawings for each
def test_the_check_knows_drawings_from_those_of_another_caption() -> None:
    chance = random.Random(5)
    right, wrong = [], []
    for number, wish in enumerate(wishes(16, seed=6)):
        style = number % STYLES
        right.append(judge(picture_of(wish.traits, style), wish))
        name = chance.choice([name for name in CHOICES if any(others(wish.traits, name))])
        other = chance.choice(list(others(wish.traits, name)))
        wrong.append((judge(picture_of(other, style), wish), name))
    assert share(right) == 1
    assert all(not verdict.right[name] for verdict, name in wrong)


def test_the_check_is_not_content_with_blurs_and_bare_places() -> None:
    wish = wishes(1, seed=7)[0]
    drawn = picture_of(wish.traits, 1)
    assert judge(drawn, wish).whole
    grain = np.random.default_rng(1).normal(0, 10, drawn.shape)
    assert judge((drawn + grain).clip(0, 255).astype(np.uint8), wish).whole
    coarse = Image.fromarray(drawn).resize((6, 6), Image.Resampling.BOX).resize((SIDE, SIDE))
    assert not judge(np.asarray(coarse), wish).whole
    assert not judge(np.full_like(drawn, 128), wish).whole


# The folder


def test_folder_is_small_and_complete() -> None:
    files = {str(file.relative_to(FOLDER)): file for file in FOLDER.rglob("*") if file.is_file()}
    parts = {"unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"}
    assert {"README.md", "model_index.json", *(f"{part}.safetensors" for part in parts)} <= set(
        files
    )
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt"))]
    assert sum(file.stat().st_size for file in files.values()) <= MOST_BYTES
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o644}
    listed = json.loads(files["model_index.json"].read_text("utf-8"))
    assert listed["_class_name"] == "StableDiffusionPipeline"
    card = files["README.md"].read_text("utf-8")
    assert (
        card.startswith("---\nlicense: mit\n") and "| whole creatures |" in card and "{" not in card
    )


def test_no_prompt_is_cut_and_every_word_is_known() -> None:
    from starter.image_model import LENGTH, read_tokenizer

    tokenizer = read_tokenizer(FOLDER / "tokenizer")
    chance, source = random.Random(8), creatures(9)
    texts = [ask(next(source), chance).text for _ in range(500)]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= LENGTH
    for words in CHOICES.values():
        for word in " ".join(words).replace("-", " ").split():
            assert len(tokenizer(word).input_ids) == 3, word


# What it draws


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    spec = Registry.build(Settings(), {}).find("starter-image")
    settings = Settings(data_dir=tmp_path, device="cpu", pokemon_generation_backend="sdxl")
    made = Engine.build(settings, families={"diffusion": diffusion}, specs=[spec])
    await made.start()
    yield made
    await made.close()


async def test_it_draws_what_it_never_saw_together(engine: Engine) -> None:
    verdicts = []
    for number, wish in enumerate(wishes(DRAWN)):
        request = ImageRequest(prompt=wish.text, seed=number, preview=False)
        image = (await fold(engine.run(request, Caller()))).images[0]
        assert (image.width, image.height, image.note) == (SIDE, SIDE, "")
        verdicts.append(judge(np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB")), wish))
    for name, least in FLOORS.items():
        assert share(verdicts, name) >= least, name


async def test_the_creature_service_draws_with_it_in_its_own_size(engine: Engine) -> None:
    made = await engine.creatures.make(Caller())
    picture = Image.open(io.BytesIO(made.image))
    assert made.backend == "sdxl" and "creature with" in made.caption
    assert picture.size == (SIDE, SIDE)


async def test_a_seed_draws_the_same_and_another_caption_another_picture(engine: Engine) -> None:
    wish = wishes(1)[0]
    red = Wish(replace(wish.traits, colour="red", second="white"), "", True)
    texts = [wish.text, wish.text, red.traits.caption]
    made = [
        (await fold(engine.run(ImageRequest(prompt=text, seed=4), Caller()))).images[0].data
        for text in texts
    ]
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in made]
    assert (pixels[0] == pixels[1]).all()
    assert np.abs(pixels[0] - pixels[2]).mean() > 3
