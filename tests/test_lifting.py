"""Large base64 in JSON bodies: taken out while it arrives, whatever the pieces, and everything else left as it was."""

from __future__ import annotations

import base64
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import lifting
from routers.lifting import LONG, MARK, _Lift

BIG = os.urandom(3 * LONG)
TEXT = base64.b64encode(BIG).decode()


def pass_through(body: bytes, sizes: Any) -> tuple[bytes, dict[str, bytes]]:
    """The body in pieces of these sizes through it."""
    lift, out, at = _Lift(), b"", 0
    for size in sizes:
        out += b"".join(lift.feed(body[at : at + size], last=False))
        at += size
    return out + b"".join(lift.feed(body[at:], last=True)), lift.held


def resolved(value: Any, held: dict[str, bytes]) -> Any:
    """The parsed body with the bytes in place of their tokens."""
    if isinstance(value, dict):
        return {key: resolved(each, held) for key, each in value.items()}
    if isinstance(value, list):
        return [resolved(each, held) for each in value]
    if isinstance(value, str) and MARK in value:
        head, _, token = value.rpartition(MARK)
        return head + base64.b64encode(held[MARK + token]).decode()
    return value


BODIES = {
    "a picture": {"image": TEXT, "prompt": "What?"},
    "data URL": {"image_url": {"url": "data:image/png;base64," + TEXT}, "n": 1},
    "several": {
        "images": [TEXT, TEXT[:-4]],
        "messages": [{"content": 'a"b\\', "images": ["AAAA"]}],
    },
    "text that looks like it": {"prompt": "a" * (2 * LONG), "image": TEXT},
    "other text": {"image": 'naïve \\ " text ' * 40_000, "x": TEXT},
    "nearly": {"image": TEXT[:-2] + "!=", "x": [1, {"y": None}]},
    "padded inside": {"image": TEXT[: 2 * LONG] + "AA==" + TEXT},
    "backslashes": {"a": "\\" * (2 * LONG), "b": '"' * LONG, "image": TEXT},
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("escaped", [False, True])
def test_a_body_means_the_same(case: str, escaped: bool) -> None:
    body = json.dumps(BODIES[case])
    if escaped and case != "text that looks like it":
        body = body.replace("/", "\\/")
    raw = body.encode()
    seeded = random.Random(case)
    for sizes in (
        [],
        [65536] * 60,
        [seeded.randint(1, 400_000) for _ in range(30)],
        [1] * 30 + [LONG + 1] * 6,
    ):
        out, held = pass_through(raw, sizes)
        assert resolved(json.loads(out), held) == BODIES[case]
        if case in {"a picture", "data URL", "several"} and len(sizes) == 60:
            assert len(out) < LONG and held, "it went through as text"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(1, 40), max_size=30))
def test_what_is_not_lifted_is_not_changed(body: bytes, sizes: list[int]) -> None:
    assert pass_through(body, sizes) == (body, {})


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=30),
            st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.lists(st.integers(1, 50), max_size=30),
    st.booleans(),
)
def test_any_json_means_the_same(value: Any, sizes: list[int], ascii_only: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifting, "LONG", 12)
        out, held = pass_through(json.dumps(value, ensure_ascii=ascii_only).encode(), sizes)
    assert resolved(json.loads(out), held) == value


def test_a_token_of_anothers_is_nothing() -> None:
    assert lifting.lifted(MARK + "0" * 32) is None and lifting.lifted("AAAA") is None
