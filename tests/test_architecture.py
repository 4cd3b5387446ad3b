"""Who may import whom: the table of the house, checked on every file's syntax tree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import pytest

import engine
from tests.sources import (
    OURS,
    PRODUCT,
    ROOT,
    Import,
    Source,
    all_sources,
    imports,
    known_modules,
    none,
    third_party,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What the modules of one kind may import.

    Args:
        who: a pattern of module names; the first rule that fits a module counts.
        ours: patterns of our own modules; {self} is the importing module's name.
        others: packages beside the standard library; None: any.
        late: patterns of our own modules that may be imported inside functions only.
    """

    who: str
    ours: tuple[str, ...] = ()
    others: frozenset[str] | None = None
    late: tuple[str, ...] = ()


WEB = frozenset({"fastapi", "starlette", "gradio", "gradio_client", "uvicorn"})
PLAIN = frozenset({"pydantic", "pydantic_settings"})
HTTP = frozenset({"pydantic", "fastapi", "starlette", "orjson", "python_multipart"})

LEAVES = ("errors", "events", "callers", "requests", "door", "settings", "status")
FAMILY = (
    *LEAVES, "checkpoints", "detection", "devices", "faults", "fit", "glossaries", "languages", "pages",
    "passages", "pictures", "recipes", "registry", "sentences", "sound_formats", "sounds", "speech",
    "tongues", "voices",
)  # fmt: skip
# What lies open to HTTP and the page: the engine's own names and the values that they pass.
SHOWN = (
    *LEAVES, "access", "checkpoints", "devices", "exports", "faults", "files", "fit", "gallery",
    "languages", "pages", "pictures", "previews", "recipes", "references", "registry", "sentences",
    "sound_formats", "sounds", "speech", "subtitles", "tongues", "translated_files", "voices",
)  # fmt: skip
OPEN = ("engine", *(f"engine.{name}" for name in SHOWN))
# What the dialects share; none of them is built on another.
PLUMBING = tuple(
    f"routers.{name}"
    for name in ("wire", "bodies", "refusals", "runs", "readings", "lifting", "addresses")
)

RULES = (
    Rule("engine.settings", ("engine.door",), PLAIN),
    *(Rule(f"engine.{leaf}", (), PLAIN) for leaf in LEAVES),
    Rule(
        "engine.registry",
        ("engine.errors", "engine.events", "engine.requests", "engine.settings"),
        PLAIN,
    ),
    Rule("engine.families.*", (*(f"engine.{name}" for name in FAMILY), "engine.families._*")),
    Rule("engine.families"),
    Rule("engine", ("engine.*",)),
    Rule("engine.*", ("engine.*",)),
    Rule("routers.ocr_*", (*PLUMBING, "routers.ocr_*", *OPEN), HTTP),
    Rule("routers.openai_*", (*PLUMBING, "routers.openai_*", *OPEN), HTTP),
    Rule("routers.*", (*PLUMBING, "{self}_*", *OPEN), HTTP),
    Rule("routers"),
    Rule("ui.tabs.*", ("ui", "ui.*", *OPEN)),
    Rule("ui.*", ("ui.*", *OPEN)),
    Rule("ui", ("ui.*", *OPEN)),
    Rule("middleware.page", ("middleware.*", *OPEN), HTTP | {"gradio"}),
    Rule("middleware.sending", ("middleware.*", *OPEN), HTTP | {"uvicorn"}),
    Rule("middleware.*", ("middleware.*", *OPEN), HTTP | {"limits", "redis"}),
    Rule("middleware", ("middleware.*",)),
    Rule("api", ("routers", "routers.*", "middleware", "middleware.*", *OPEN), HTTP, ("app",)),
    Rule("app", ("api", "ui", "ui.*", "middleware", "middleware.*", *OPEN)),
    Rule("starter*", ("starter", "starter.*", "engine", "engine.*")),
    Rule(
        "bench*",
        (
            "bench",
            "bench.*",
            "app",
            "api",
            "engine",
            "engine.*",
            "tests.tiny*",
            "starter.stt_*",
            "tests.filing",
        ),
    ),
    Rule("prove*", ("prove", "prove.*", "bench", "bench.*")),
    Rule("scripts*", ("scripts", "scripts.*", "engine", "engine.*")),
    Rule("examples*"),
    Rule("tests*", ("*",)),
)

# These cost tenths of seconds and many megabytes: they are imported where they are first used.
HEAVY = frozenset({
    "torch", "torchvision", "torchaudio", "transformers", "diffusers", "accelerate", "tokenizers",
    "safetensors", "huggingface_hub", "openai", "ollama", "pandas", "plotly", "numpy", "PIL",
    "faster_whisper", "TTS", "limits", "redis", "rapidocr", "openvino", "onnxruntime", "cv2", "pypdfium2",
    "pikepdf", "docker", "prometheus_client", "pyarrow", "ctranslate2", "av", "yt_dlp", "trafilatura",
    "aiohttp", "yarl", "sentencepiece", "py3langid", "docx", "lxml",
})  # fmt: skip
# Heavy too, but a module may be made of them if nobody imports that module at start.
LATE = frozenset({"sqlalchemy", "alembic", "gradio"})


def rule_of(module: str) -> Rule:
    return next(rule for rule in RULES if fnmatchcase(module, rule.who))


def fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def forbidden(source: Source, known: frozenset[str] = frozenset()) -> list[str]:
    """The imports of a file that its rule does not allow."""
    rule = rule_of(source.module)
    ours = [pattern.replace("{self}", source.module) for pattern in rule.ours]
    found = imports(source, known)
    wrong = []
    for item in found:
        late = fits(item.target, rule.late) and not item.eager
        if item.top in OURS and not late and not fits(item.target, ours):
            wrong.append(source.at(item.line, f"imports {item.target}"))
    for item in third_party(found):
        outside = rule.others is not None and item.top not in rule.others
        if outside or (source.top == "engine" and item.top in WEB):
            wrong.append(source.at(item.line, f"imports {item.target}"))
    return wrong


def heavy(source: Source) -> list[str]:
    """Heavy packages that come in with the module itself."""
    late = LATE if source.top != "ui" and not source.module.startswith("engine.") else frozenset()
    return [
        source.at(item.line, f"imports {item.target} at module level")
        for item in imports(source)
        if item.eager and item.top in HEAVY | late
    ]


def private(source: Source, public: Iterable[str]) -> list[str]:
    """Names that a router or a tab takes from the engine past its public surface."""
    return [
        source.at(item.line, f"takes {item.name} from engine")
        for item in imports(source)
        if item.target == "engine" and item.name and item.name not in public
    ]


def eager_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """For each module, our modules that come in with it; a module brings its packages."""
    known = known_modules()
    graph: dict[str, set[str]] = {}
    for source in sources:
        targets = {i.target for i in imports(source, known) if i.eager and i.target in known}
        graph[source.module] = targets - {source.module}
    return graph


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """The first ring of imports that is found, empty where there is none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in done:
            for target in sorted(graph.get(module, ())):
                if ring := visit(target, [*trail, module]):
                    return ring
            done.add(module)
        return []

    return next((ring for module in sorted(graph) if (ring := visit(module, []))), [])


def reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """The modules that importing `start` brings in, the packages they lie in included."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            parents = [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
            todo += [*graph.get(module, ()), *parents]
    return seen


def sources_of(*tops: str) -> list[Source]:
    return [source for source in all_sources() if source.top in tops]


def test_imports_point_one_way():
    none(wrong for source in all_sources() for wrong in forbidden(source))


def test_nothing_heavy_comes_in_with_a_module():
    none(wrong for source in sources_of(*PRODUCT) for wrong in heavy(source))


def test_only_public_names_leave_the_engine():
    outside = sources_of("routers", "ui", "middleware", "api", "app")
    none(wrong for source in outside for wrong in private(source, engine.__all__))


def test_no_ring_of_imports():
    assert cycle(eager_graph(sources_of(*PRODUCT))) == []


@pytest.mark.parametrize("start", ["app", "api", "engine"])
def test_start_reaches_no_late_package(start: str):
    graph = eager_graph(sources_of(*PRODUCT))
    if start not in graph:
        pytest.fail(f"{start} is not there")
    modules = reached(start, graph)
    wrong = [
        source.at(item.line, f"imports {item.target}")
        for source in sources_of(*PRODUCT)
        if source.module in modules
        for item in imports(source)
        if item.eager and item.top in LATE
    ]
    none(wrong)


def test_start_really_loads_nothing_heavy():
    names = sorted(HEAVY | LATE)
    code = f"import sys, app; print([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def requirements(name: str) -> dict[str, str]:
    """Package to version of a requirements file; every line must pin one version."""
    pins = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            package, sep, version = text.partition("==")
            assert sep, f"{name}: {text} is not pinned"
            pins[package.partition("[")[0].lower().replace("_", "-")] = version
    return pins


PACKAGE_OF = {
    "pynvml": "nvidia-ml-py",
    "multipart": "python-multipart",
    "cv2": "opencv-python-headless",
    "TTS": "coqui-tts",
    "docx": "python-docx",
}
# Installed for others' sake: these are read by the packages above, not imported by us.
BY_NAME = {
    "bitsandbytes": "transformers quantises to 4 bits with it",
    "lxml-html-clean": "trafilatura needs it and does not say so",
    "accelerate": "transformers loads large models through it",
    "huggingface-hub": "transformers fetches through it, and it brings `hf download`",
    "safetensors": "transformers reads weights with it",
    "jinja2": "transformers renders chat templates with it",
    "peft": "diffusers attaches LoRAs with it",
    "timm": "published DETR models name their backbone in it, and transformers builds it from there",
    "python-multipart": "FastAPI reads forms with it",
    "torchaudio": "must match torch's version",
    "torchvision": "must match torch's version",
    "tokenizers": "transformers' own; pinned with it",
    "fastapi-offline": "its copies of Swagger UI and ReDoc are served, so /docs needs no network",
    "gunicorn": "one of the documented ways to serve",
    "redis": "limits counts in it where a URL is set",
}


def test_requirements_are_what_is_imported():
    found = {
        PACKAGE_OF.get(item.top, item.top).lower().replace("_", "-")
        for source in sources_of(*PRODUCT)
        for item in third_party(imports(source))
    }
    pinned = set(requirements("requirements.txt"))
    assert found - pinned - {"starlette", "numpy", "pillow", "pil", "anyio"} == set()
    assert pinned - found - set(BY_NAME) == set()


BAD = {
    "engine knows no web": ("engine.lane", "import fastapi\n", forbidden),
    "not even inside a function": ("engine.lane", "def f():\n    import gradio\n", forbidden),
    "a leaf has no roots": ("engine.errors", "from engine.settings import Settings\n", forbidden),
    "a family reaches for the lane": (
        "engine.families.x",
        "from engine.lane import Lane\n",
        forbidden,
    ),
    "a family uses another": ("engine.families.x", "import engine.families.hf_chat\n", forbidden),
    "a router uses another": ("routers.a", "from routers.host import parse\n", forbidden),
    "a router opens the page": ("routers.a", "import ui\n", forbidden),
    "a router calls a hub": ("routers.a", "def f():\n    import requests\n", forbidden),
    "the page speaks a dialect": ("ui.tabs.a", "from routers import openai\n", forbidden),
    "a tab reaches into the engine": ("ui.tabs.a", "from engine.lane import Lane\n", forbidden),
    "the product trains": ("app", "def f():\n    import starter.chat\n", forbidden),
    "the product tests": ("engine.lane", "from tests.echo import Echo\n", forbidden),
    "the API starts the app": ("api", "import app\n", forbidden),
    "an example cheats": ("examples.a", "import engine\n", forbidden),
    "torch at module level": ("engine.devices", "import torch.nn\n", heavy),
    "torch in a class body": ("engine.devices", "class A:\n    import torch\n", heavy),
    "gradio at start": ("app", "import gradio as gr\n", heavy),
    "a private name": (
        "ui.tabs.a",
        "from engine import Hidden\n",
        partial(private, public=["Engine"]),
    ),
}
GOOD = {
    "torch inside load": ("engine.families.x", "def load():\n    import torch\n", heavy),
    "torch for types": ("engine.x", "if TYPE_CHECKING:\n    import torch\n", heavy),
    "a family's own parts": (
        "engine.families.x",
        "from engine.families._slots import S\n",
        forbidden,
    ),
    "a dialect's own parts": ("routers.a", "from routers.a_bodies import Body\n", forbidden),
    "the API finds the app late": ("api", "def f():\n    import app\n", forbidden),
    "a public name": (
        "ui.tabs.a",
        "from engine import Engine\n",
        partial(private, public=["Engine"]),
    ),
}


def sample(module: str, text: str) -> Source:
    return Source(module.replace(".", "/") + ".py", module, text)


@pytest.mark.parametrize("case", BAD)
def test_checks_can_fail(case: str):
    module, text, check = BAD[case]
    assert len(check(sample(module, text))) == 1


@pytest.mark.parametrize("case", GOOD)
def test_checks_can_pass(case: str):
    module, text, check = GOOD[case]
    assert check(sample(module, text)) == []


def test_rings_are_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_relative_and_nested_imports_are_resolved():
    text = "from . import lane\nfrom .events import Text\nfrom engine import settings, Engine\n"
    found = imports(sample("engine.x", text), frozenset({"engine.lane", "engine.settings"}))
    assert [(i.target, i.name) for i in found] == [
        ("engine.lane", ""),
        ("engine.events", "Text"),
        ("engine.settings", ""),
        ("engine", "Engine"),
    ]


def test_late_modules_are_reached_through_packages():
    assert reached("a.b.c", {"a": {"d"}, "a.b.c": set()}) == {"a.b.c", "a.b", "a", "d"}


def test_imports_tell_when():
    found = imports(sample("x", "try:\n    import a\nexcept ImportError:\n    a = None\n"))
    assert found == [Import("a", "", 2, True)]
