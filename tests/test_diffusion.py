"""The family that draws: tiny random pipelines of real classes through an engine."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pixels

from engine import (
    AtelierError,
    BadValue,
    Caller,
    Done,
    Engine,
    Event,
    Image,
    ImageRequest,
    Lora,
    Progress,
    Settings,
    Unknown,
)
from engine.checkpoints import is_present
from engine.errors import GenerationFailed, LoadFailed, Unavailable
from engine.families import diffusion
from engine.fit import anatomy_of
from engine.recipes import clean, read_recipe
from tests import tiny_images

pytestmark = tiny_images.MARKS


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {kind: save(folder) for kind, save in tiny_images.KINDS.items()}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner, home: Path, pipelines: dict[str, Path]) -> Iterator[Engine]:
    settings = Settings(data_dir=home, device="cpu", probe_local=False, _env_file=None)  # type: ignore[call-arg]
    specs = [tiny_images.spec_of(path) for path in pipelines.values()]
    limits = {"side": 32, "largest": 48}
    specs.append(replace(tiny_images.spec_of(pipelines["sd"]), id="small", options=limits))
    made = Engine.build(settings, families={"diffusion": diffusion}, specs=specs)
    runner.run(made.start())
    yield made
    runner.run(made.close())


Draw = Callable[..., list[Any]]


@pytest.fixture
def draw(engine: Engine, runner: asyncio.Runner) -> Draw:
    """The events, or the error, of each of the requests, asked at the same time."""

    async def events(request: ImageRequest) -> list[Event]:
        async with aclosing(engine.run(request, Caller())) as stream:
            return [event async for event in stream]

    async def all_of(asked: tuple[ImageRequest, ...]) -> list[Any]:
        return await asyncio.gather(*map(events, asked), return_exceptions=True)

    return lambda *asked: runner.run(all_of(asked))


def asking(model: str = "sd", **fields: Any) -> ImageRequest:
    return ImageRequest(**{"model": model, "prompt": "a red dragon", "seed": 3, **fields})


def pictures(events: Any) -> list[Image]:
    if isinstance(events, Exception):
        raise events
    return [event for event in events if isinstance(event, Image)]


def pixels(image: Image) -> Any:
    import numpy

    return numpy.asarray(Pixels.open(io.BytesIO(image.data)).convert("RGB")).astype(int)


def disc(size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    Pixels.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("kind", tiny_images.KINDS)
def test_every_kind_draws_in_every_mode(draw: Draw, kind: str) -> None:
    words = draw(asking(kind))[0]
    (picture,) = pictures(words)
    assert isinstance(words[-1], Done) and words[-1].usage.images == 1
    steps = [event for event in words if isinstance(event, Progress)]
    assert [step.done for step in steps][-1] == 2 and steps[-1].total == 2
    expected = 2 * picture.width * picture.height / 1e6
    assert words[-1].usage.megapixel_steps == pytest.approx(expected)
    recipe = read_recipe(picture.data)
    assert recipe is not None and recipe["model"] == kind and recipe["seed"] == 3
    for more in ({"image": disc()}, {"image": disc(), "mask": disc()}):
        (refined,) = pictures(draw(asking(kind, strength=0.9, **more))[0])
        made = read_recipe(refined.data)
        assert made is not None and made["mode"] == ("mask" if "mask" in more else "image")
        assert made["source"] and made["strength"] == 0.9


def test_a_seed_means_the_same_alone_and_in_company(draw: Draw) -> None:
    (alone,) = pictures(draw(asking(seed=5))[0])
    assert pictures(draw(asking(seed=5))[0])[0].data == alone.data
    others = draw(asking(seed=4), asking(seed=5), asking(seed=6, prompt="a blue cat"))
    both = [pictures(events)[0] for events in others]
    assert abs(pixels(both[1]) - pixels(alone)).max() <= 2
    assert abs(pixels(both[0]) - pixels(alone)).max() > 2
    several = pictures(draw(asking(seed=4, count=3))[0])
    assert [image.seed for image in several] == [4, 5, 6]
    assert abs(pixels(several[1]) - pixels(alone)).max() <= 2


def test_what_is_alike_is_drawn_together(
    draw: Draw, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(asking())
    passes: list[int] = []
    begun = diffusion.Run.__init__

    def counted(run: Any, pipe: Any, rows: Any, *more: Any) -> None:
        passes.append(len(rows))
        begun(run, pipe, rows, *more)

    monkeypatch.setattr(diffusion.Run, "__init__", counted)
    monkeypatch.setattr(diffusion, "QUIET", 0.2)
    monkeypatch.setattr(diffusion, "PATIENCE", 1.0)
    draw(*(asking(seed=n) for n in range(6)), asking(width=32, height=32))
    assert sorted(passes) == [1, 6]
    passes.clear()
    events = draw(asking(count=11))[0]
    assert passes == [8, 3] and len(pictures(events)) == 11
    told = [event for event in events if isinstance(event, Progress)]
    assert told[-1].done == told[-1].total == 4


def test_sizes_are_rounded_and_long_prompts_cut(draw: Draw) -> None:
    (odd,) = pictures(draw(asking(width=63, height=37))[0])
    assert (odd.width, odd.height) == (64, 40) and "64x40" in odd.note
    (long,) = pictures(draw(asking(prompt="a red dragon " * 770))[0])
    assert "cut after 77 tokens" in long.note
    (plain,) = pictures(draw(asking())[0])
    assert plain.note == "" and (plain.width, plain.height) == (64, 64)
    (shaped,) = pictures(draw(asking(image=disc((200, 100)), strength=1.0))[0])
    assert (shaped.width, shaped.height) == (88, 48)


def test_a_model_that_ends_somewhere_draws_no_larger(draw: Draw) -> None:
    (wide,) = pictures(draw(asking("small", width=1024, height=512))[0])
    assert (wide.width, wide.height) == (48, 24)
    assert "reduced to 48x24" in wide.note and "48 pixels" in wide.note
    (own,) = pictures(draw(asking("small", width=24, height=48))[0])
    assert (own.width, own.height, own.note) == (24, 48, "")


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0}, {"steps": 10_000}, {"prompt": " "}, {"strength": 1.5}, {"strength": 0},
        {"mask": b"x"}, {"width": 8}, {"count": 0}, {"guidance": -1}, {"prompt": "x" * 20_001},
    ],
)  # fmt: skip
def test_out_of_bounds_is_no_request(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        asking(**fields)


def test_names_that_are_not_there(draw: Draw) -> None:
    (bad,) = draw(asking(scheduler="eular"))
    assert isinstance(bad, BadValue) and "Did you mean euler?" in bad.message
    (flow,) = draw(asking("flux", scheduler="ddim"))
    assert isinstance(flow, BadValue) and "flow-euler" in flow.message
    (lora,) = draw(asking(loras=(Lora(name="nobody"),)))
    assert isinstance(lora, Unknown) and lora.param == "loras"
    (broken,) = draw(asking(image=b"no picture"))
    assert isinstance(broken, AtelierError) and broken.status == 415


def test_schedulers_and_negative_prompts_count(draw: Draw) -> None:
    (own,) = pictures(draw(asking(steps=3))[0])
    for fields in ({"scheduler": "euler-a"}, {"scheduler": "DPMpp"}, {"negative": "blue cat"}):
        (other,) = pictures(draw(asking(steps=3, **fields))[0])
        assert abs(pixels(other) - pixels(own)).max() > 0, fields
    chancy = [pictures(draw(asking(steps=3, scheduler="euler-a"))[0])[0].data for _ in range(2)]
    assert chancy[0] == chancy[1], "noise that a scheduler adds comes from the seed too"
    (vain,) = pictures(draw(asking(negative="blue", guidance=1.0))[0])
    assert "no effect" in vain.note


def test_previews_look_like_the_picture(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._diffusion_run.PREVIEW", 0.0)
    events = draw(asking("sdxl", steps=3))[0]
    shown = [event.preview for event in events if isinstance(event, Progress) and event.preview]
    assert shown and Pixels.open(io.BytesIO(shown[0])).size == (64, 64)
    hidden = draw(asking("sdxl", steps=3, preview=False))[0]
    assert not any(event.preview for event in hidden if isinstance(event, Progress))


def test_stopping_ends_within_a_step(engine: Engine, runner: asyncio.Runner) -> None:
    async def begin() -> list[Event]:
        seen: list[Event] = []
        async with aclosing(engine.run(asking(steps=200), Caller())) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, Progress):
                    break
        for _ in range(200):
            if engine.status().running == 0:
                break
            await asyncio.sleep(0.02)
        return seen

    seen = runner.run(begin())
    backend = engine.lane._models.get(engine.registry.find("sd")).backend  # type: ignore[union-attr]
    for _ in range(100):
        if backend._run is None:
            break
        runner.run(asyncio.sleep(0.02))
    assert backend._run is None and not backend._waiting
    assert max(event.done for event in seen if isinstance(event, Progress)) < 50


def test_one_who_leaves_does_not_take_the_others_along(
    engine: Engine, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "QUIET", 0.2)
    monkeypatch.setattr(diffusion, "PATIENCE", 1.0)

    async def leave() -> None:
        async with aclosing(engine.run(asking(steps=6), Caller())) as events:
            async for event in events:
                if isinstance(event, Progress):
                    return

    async def stay() -> list[Event]:
        return [event async for event in engine.run(asking(steps=6, seed=9), Caller())]

    async def both() -> list[Event]:
        return (await asyncio.gather(leave(), stay()))[1]

    assert len(pictures(runner.run(both()))) == 1


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def _break(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Any], Exception | None]) -> None:
    whole = diffusion.Run._arguments

    def arguments(run: Any) -> Any:
        if error := fails(run):
            raise error
        return whole(run)

    monkeypatch.setattr(diffusion.Run, "_arguments", arguments)


def test_memory_that_runs_out(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(asking("sdxl"))
    full = OutOfMemoryError("CUDA out of memory at 0x7f")
    monkeypatch.setattr(diffusion, "QUIET", 0.2)
    _break(monkeypatch, lambda run: full if len(run.rows) > 1 else None)
    found = draw(asking("sdxl", seed=1), asking("sdxl", seed=2))
    assert all(len(pictures(events)) == 1 for events in found), "a smaller pass does it"
    _break(monkeypatch, lambda run: full if run.rows[0][0].request.seed == 7 else None)
    hopeless, fine = draw(asking("sdxl", seed=7), asking("sdxl", seed=8))
    assert isinstance(hopeless, Unavailable) and hopeless.status == 503
    assert "smaller picture" in hopeless.message and len(pictures(fine)) == 1


def test_one_that_breaks_is_told_alone(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(asking())
    monkeypatch.setattr(diffusion, "QUIET", 0.2)
    _break(
        monkeypatch,
        lambda run: ValueError("/secret") if any(t.request.seed == 7 for t in run.tasks) else None,
    )
    bad, good = draw(asking(seed=7), asking(seed=8))
    assert isinstance(bad, GenerationFailed) and bad.code == "GENERATION_FAILED"
    assert "secret" not in bad.message and len(pictures(good)) == 1


def test_a_lora_changes_the_picture(draw: Draw, home: Path, pipelines: dict[str, Path]) -> None:
    import torch
    from safetensors.torch import save_file

    (plain,) = pictures(draw(asking())[0])
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    shape = (32, 32)
    weights = {
        f"{name}.lora_A.weight": torch.randn(4, shape[1]),
        f"{name}.lora_B.weight": torch.randn(shape[0], 4),
    }
    (home / "loras").mkdir(exist_ok=True)
    save_file(weights, home / "loras" / "style.safetensors")
    save_file({"x.lora_A.weight": torch.zeros(1)}, home / "loras" / "odd.safetensors")
    (styled,) = pictures(draw(asking(loras=(Lora(name="style", scale=2.0),)))[0])
    assert abs(pixels(styled) - pixels(plain)).max() > 0
    assert read_recipe(styled.data)["loras"] == [["style", 2.0]]  # type: ignore[index]
    (again,) = pictures(draw(asking())[0])
    assert abs(pixels(again) - pixels(plain)).max() <= 1, "it counted for its own request alone"


def test_files_are_checked(pipelines: dict[str, Path], tmp_path: Path, settings: Settings) -> None:
    import shutil

    whole = tiny_images.spec_of(pipelines["sd"])
    anatomy = anatomy_of(whole)
    assert is_present(whole) and anatomy is not None and anatomy.parameters > 100_000
    shutil.copytree(pipelines["sd"], tmp_path / "cut")
    (tmp_path / "cut" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    cut = tiny_images.spec_of(tmp_path / "cut")
    assert not is_present(cut)
    with pytest.raises(LoadFailed, match="weights of the unet"):
        diffusion.load(cut, settings)


def test_recipes_of_others_are_read_with_care() -> None:
    assert clean({"prompt": "a", "steps": "4", "seed": True, "x": 1}) == {
        "prompt": "a",
        "loras": [],
    }
    assert clean([]) is None and clean({"steps": 4}) is None
    assert read_recipe(b"") is None and read_recipe(disc()) is None
