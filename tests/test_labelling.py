"""Labels from models that see: how a yes is weighed, who is asked, and what the starter says of drawn shapes."""

from __future__ import annotations

import asyncio
import io
import math
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from engine import (
    BadValue,
    Caller,
    Done,
    Engine,
    LabelRequest,
    Segment,
    Settings,
    TokenLogprob,
    Unknown,
    fold,
)
from engine.labelling import MOST, chance_of_yes
from engine.registry import Registry
from starter.vision_scene import GRIDS, Scene, Shape, draw_scene
from tests import echo

CALLER = Caller(name="test", session="labels", dialect="test")


def png(shape: Shape, ground: str = "white") -> bytes:
    out = io.BytesIO()
    picture, _ = draw_scene(Scene((shape,), ground), next(iter(GRIDS)), random.Random(3))
    picture.save(out, "PNG")
    return out.getvalue()


def told(*pairs: tuple[str, float]) -> tuple[TokenLogprob, ...]:
    top = tuple(TokenLogprob(text, math.log(p), text.encode()) for text, p in pairs)
    return (TokenLogprob(pairs[0][0], math.log(pairs[0][1]), b"", top),)


@pytest.mark.parametrize(
    ("said", "logprobs", "chance"),
    [
        ("Yes, there is.", told(("Yes", 0.6), ("No", 0.2), ("It", 0.2)), 0.75),
        ("No.", told((" no", 0.9), (" yes", 0.05), ("YES", 0.05)), 0.1),
        ("Нет.", told(("Нет", 0.75), ("Да", 0.25)), 0.25),
        ("I cannot", told(("I", 0.9)), 0.0),
        ("yes", (), 1.0),
        ("**Yes**", (), 1.0),
        ("No", (), 0.0),
        ("", (), 0.0),
    ],
)
def test_how_a_yes_is_weighed(said: str, logprobs: tuple[TokenLogprob, ...], chance: float):
    assert chance_of_yes(said, logprobs) == pytest.approx(chance)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def starter(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    """The catalog as it comes: rows that label are in it, their files are not here."""
    folder: Path = tmp_path_factory.mktemp("labelling")
    engine = Engine.build(
        Settings(data_dir=folder, device="cpu", probe_local=False, _env_file=None)
    )  # type: ignore[call-arg]
    await engine.start()
    yield engine
    await engine.close()


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_the_starter_tells_shapes_apart(starter: Engine):
    shape = Shape("circle", "red", True, 4)
    request = LabelRequest(image=png(shape), labels=("blue square", "a red circle", "green star"))
    assert starter.labeller_of(request).id == "starter-vision"
    result = await fold(starter.label(request, CALLER))
    scores = {segment.text: segment.score for segment in result.segments}
    assert list(scores) == list(request.labels)
    assert sum(scores.values()) == pytest.approx(1)
    assert max(scores, key=scores.get) == "a red circle"
    assert result.usage.input_tokens > 0 and result.usage.cached_tokens > 0, "it looked once"
    await starter.usage.flush()
    rows = await starter.usage.rows(session="labels")
    assert [(row.task, row.status) for row in rows] == [("chat", "ok")] * 3


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_without_labels_it_is_asked_about_what_it_knows(starter: Engine):
    result = await fold(
        starter.label(LabelRequest(image=png(Shape("star", "blue", True, 4))), CALLER)
    )
    assert len(result.segments) == 8
    assert sum(one.score or 0 for one in result.segments) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_stop_ends_it_between_two_questions(starter: Engine):
    labels = tuple(f"thing {n}" for n in range(MOST))
    image = png(Shape("heart", "green", True, 4))
    events = starter.label(LabelRequest(image=image, labels=labels), CALLER)
    asyncio.get_running_loop().call_later(0.2, starter.stop, "labels")
    async with aclosing(events):
        seen = [event async for event in events]
    assert isinstance(seen[-1], Done) and seen[-1].stopped
    assert not [event for event in seen if isinstance(event, Segment)]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be(starter: Engine):
    image = png(Shape("heart", "green", True, 4))
    with pytest.raises(BadValue, match=r"at most 100"):
        labels = tuple(f"thing {n}" for n in range(MOST + 1))
        await fold(starter.label(LabelRequest(image=image, labels=labels), CALLER))
    with pytest.raises(BadValue, match=r"cannot label. These can: .*starter-vision"):
        starter.labeller_of(LabelRequest(image=image, model="starter-chat"))
    with pytest.raises(Unknown):
        starter.labeller_of(LabelRequest(image=image, model="nobody"))


def test_where_nobody_sees_it_is_said(engine: Engine):
    engine.registry = Registry(echo.SPECS)
    with pytest.raises(Unknown, match="No model can label"):
        engine.labeller_of(LabelRequest(image=b"x"))
