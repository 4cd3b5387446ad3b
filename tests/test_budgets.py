"""What keeps the code small and plain: sizes, types, docstrings, no globals, no catch-alls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources import (
    Source,
    all_sources,
    broad_excepts,
    globals_used,
    long_file,
    long_functions,
    mutated_globals,
    none,
    undocumented,
    untyped_returns,
)

FILE_LINES = 400
FUNCTION_LINES = 60

# The lane is where foreign errors become ours, with the traceback in the log.
BORDER = "engine/lane.py"
# Other places where a foreign library's zoo of errors is met: how often, and why it has no name.
BROAD_EXCEPTS = {
    "engine/remote_lane.py": (1, "the same border for models on other servers"),
    "engine/fetching.py": (2, "a hub client's errors are many; each becomes a named end"),
    "engine/residency.py": (3, "loading and closing run any family's code; memory must come back"),
    "engine/database.py": (1, "what a write raises belongs to its future; the writer must live on"),
    "engine/pictures.py": (1, "a decoder raises anything over a broken file; it becomes BadFormat"),
    "engine/families/_loading.py": (
        3,
        "tokenizers, processors and models of any architecture are built here",
    ),
    "engine/families/_diffusion_loading.py": (1, "pipelines of any kind are built here"),
    "engine/families/diffusion.py": (
        1,
        "one request may break a pipeline and must not break the others",
    ),
    "engine/families/_looking.py": (1, "processors of any age and format are built here"),
    "engine/families/kokoro.py": (1, "onnxruntime's errors over a broken file share no class"),
    "engine/families/coqui.py": (1, "Coqui's configs and torch's files are read here"),
    "engine/families/hf_embed.py": (
        1,
        "one text may break the model and must not break the others' requests",
    ),
    "engine/families/hf_chat.py": (
        2,
        "one prompt may break the model and must not break the others",
    ),
    "engine/families/_ctranslate.py": (1, "a converter meets any checkpoint in any state"),
    "engine/families/_pieces.py": (1, "tokenizers fail in as many ways as they have formats"),
    "engine/families/translate.py": (
        1,
        "one text may break the model and must not break the others'",
    ),
    "engine/families/ocr.py": (1, "one page may break a library and must not break the others"),
    "engine/sounds.py": (1, "a decoder raises anything over a broken file; it becomes BadFormat"),
    "engine/families/_whisper_loading.py": (1, "CTranslate2 tells of broken files in many ways"),
    "engine/families/whisper.py": (1, "one recording may break the model and not the others"),
}


def engine_modules() -> list[Source]:
    """The engine's own; a migration's `upgrade` and `downgrade` say it all by their names."""
    sources = [source for source in all_sources() if source.top == "engine"]
    return [source for source in sources if not source.module.startswith("engine.migrations")]


def shipped() -> list[Source]:
    return [source for source in all_sources() if source.top != "tests"]


def complaints(check: Callable[[Source], list[str]], sources: list[Source]) -> list[str]:
    assert sources, "nothing to check"
    return [complaint for source in sources for complaint in check(source)]


def test_files_are_short():
    none(complaints(lambda s: long_file(s, FILE_LINES), list(all_sources())))


def test_functions_are_short():
    none(complaints(lambda s: long_functions(s, FUNCTION_LINES), list(all_sources())))


def test_nothing_is_global():
    none(complaints(globals_used, list(all_sources())))


def test_module_names_are_constants():
    none(complaints(mutated_globals, shipped()))


def test_excepts_name_their_errors():
    allowed = {BORDER, *BROAD_EXCEPTS}
    none(complaints(broad_excepts, [s for s in shipped() if s.path not in allowed]))


@pytest.mark.parametrize("path", BROAD_EXCEPTS)
def test_broad_excepts_do_not_grow(path: str):
    source = next((s for s in all_sources() if s.path == path), None)
    assert source, "the file is gone; so may its exception be"
    count, why = BROAD_EXCEPTS[path]
    found = broad_excepts(source)
    assert len(found) == count, f"{why}: allowed {count}, found {found}"


def test_every_return_is_typed():
    none(complaints(untyped_returns, shipped()))


def test_the_engine_is_documented():
    none(complaints(undocumented, engine_modules()))


BAD = {
    "a function of 61 lines": (
        lambda s: long_functions(s, 60),
        "def f() -> int:\n" + "    x = 1\n" * 59 + "    return x\n",
    ),
    "a file of 401 lines": (lambda s: long_file(s, 400), "x = 1\n" * 400),
    "a global": (globals_used, "def f() -> None:\n    global x\n    x = 1\n"),
    "a bare except": (broad_excepts, "try:\n    f()\nexcept:\n    pass\n"),
    "a broad except that raises at times": (
        broad_excepts,
        "try:\n    f()\nexcept Exception:\n    if x:\n        raise\n",
    ),
    "a broad except in a tuple": (
        broad_excepts,
        "try:\n    f()\nexcept (KeyError, Exception):\n    pass\n",
    ),
    "an untyped return": (untyped_returns, "class A:\n    async def f(self): ...\n"),
    "no module docstring": (undocumented, "x = 1\n"),
    "no class docstring": (undocumented, '"""Module."""\n\n\nclass A:\n    x: int\n'),
    "a cache in a module": (
        mutated_globals,
        "CACHE = {}\n\n\ndef f() -> None:\n    CACHE[1] = 2\n",
    ),
    "a list that grows": (
        mutated_globals,
        "SEEN: list = []\n\n\ndef f() -> None:\n    SEEN.append(1)\n",
    ),
}
GOOD = {
    "a function of 60 lines": (
        lambda s: long_functions(s, 60),
        "def f() -> int:\n" + "    x = 1\n" * 58 + "    return x\n",
    ),
    "a named except": (broad_excepts, "try:\n    f()\nexcept (KeyError, OSError):\n    pass\n"),
    "a cleanup on the way out": (
        broad_excepts,
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
    ),
    "an error drawn above": (
        undocumented,
        '"""Tree.\n\n├── Oops  400\n"""\n\n\nclass Oops(Error): ...\n',
    ),
    "a local of the same name": (
        mutated_globals,
        "x = ()\n\n\ndef f() -> None:\n    x = []\n    x.append(1)\n",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_checks_can_fail(case: str):
    check, text = BAD[case]
    assert len(check(Source("engine/bad.py", "engine.bad", text))) == 1


@pytest.mark.parametrize("case", GOOD)
def test_checks_can_pass(case: str):
    check, text = GOOD[case]
    assert check(Source("engine/good.py", "engine.good", text)) == []
