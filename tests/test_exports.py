"""The engine's public surface: what `from engine import …` offers, and nothing by accident."""

from __future__ import annotations

import inspect

import pytest

import engine


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions; each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_all_is_sorted():
    assert list(engine.__all__) == sorted(set(engine.__all__), key=order)


@pytest.mark.parametrize("name", engine.__all__)
def test_exported_names_exist(name: str):
    assert hasattr(engine, name)


def test_nothing_else_is_public():
    found = {
        name
        for name, value in vars(engine).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert found <= set(engine.__all__)


@pytest.mark.parametrize("name", engine.__all__)
def test_exported_types_are_documented(name: str):
    value = getattr(engine, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"{name} needs a docstring"
