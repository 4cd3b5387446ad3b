"""Packages that must fit each other: what is installed, what each asks of others, whether the tight ones load."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from engine.checks import Check
from engine.settings import ROOT

# Whose requirements are looked at: those that conflicts are known of.
STACK = (
    "torch", "torchvision", "torchaudio", "torchcodec", "transformers", "coqui-tts", "faster-whisper",
    "ctranslate2", "onnxruntime", "diffusers", "accelerate", "bitsandbytes", "gradio", "rapidocr", "openvino",
    "trafilatura", "huggingface-hub", "fastapi",
)  # fmt: skip
# Loaded in a process of their own: wheels built for another torch or without their libraries fail only then.
INSTALL = "pip install -r requirements.lock"
LOADED = {
    "torch": INSTALL,
    "torchaudio": INSTALL,
    "torchcodec": f"sudo apt-get install -y ffmpeg; {INSTALL}",
    "ctranslate2": INSTALL,
    "onnxruntime": INSTALL,
}
LOAD_SECONDS = 120
TRY = """
import importlib, json, sys
for name in sys.argv[1:]:
    try:
        found = getattr(importlib.import_module(name), "__version__", "")
        print(json.dumps([name, str(found), ""]), flush=True)
    except Exception as error:
        print(json.dumps([name, "", f"{type(error).__name__}: {error}"[:300]]), flush=True)
"""


def versions() -> list[Check]:
    """All of it, in about the time that torch takes to load."""
    return [*pins(), *demands(), *trio(), *cudnn(), *loads()]


def pins() -> Iterator[Check]:
    """What is installed, beside what requirements.txt names."""
    wrong = []
    wanted = dict(_pinned())
    for name, version in wanted.items():
        found = installed(name)
        if found != version:
            wrong.append(f"{name} {found or 'missing'} (wanted {version})")
    if wrong:
        text = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        missing = any("missing" in one for one in wrong)
        yield Check("versions", "Packages", "fail" if missing else "warn", text, INSTALL)
    else:
        yield Check(
            "versions", "Packages", "ok", f"All {len(wanted)} are the ones tested together."
        )


def _pinned() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        name, sep, version = line.partition("#")[0].strip().partition("==")
        if sep:
            yield name.partition("[")[0], version.partition(";")[0].strip()


def installed(name: str) -> str:
    """A package's version; "" where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def demands() -> Iterator[Check]:
    """What the packages of the stack ask of others, and do not get."""
    from packaging.requirements import InvalidRequirement, Requirement

    broken = []
    for name in STACK:
        if not installed(name):
            continue
        for text in metadata.requires(name) or ():
            try:
                need = Requirement(text)
            except InvalidRequirement:
                continue
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            found = installed(need.name)
            if not found or not need.specifier.contains(found, prereleases=True):
                broken.append(
                    f"{name} wants {need.name}{need.specifier}, there is {found or 'none'}"
                )
    if broken:
        yield Check(
            "versions", "What packages ask of each other", "fail", "; ".join(broken[:6]), INSTALL
        )
    else:
        yield Check("versions", "What packages ask of each other", "ok", "All of it is there.")


def trio() -> Iterator[Check]:
    """torch, torchaudio and torchvision come in pairs of versions: 2.11 with 2.11 and 0.26."""
    torch, audio, vision = (installed(name) for name in ("torch", "torchaudio", "torchvision"))
    codec = installed("torchcodec")
    text = f"torch {torch or '-'}, torchaudio {audio or '-'}, torchvision {vision or '-'}, torchcodec {codec or '-'}"
    minor = _minor(torch)
    fits = (
        minor and (not audio or _minor(audio) == minor) and (not vision or _vision(vision) == minor)
    )
    fix = "" if fits else INSTALL
    yield Check("versions", "The torch trio", "ok" if fits else "fail", text, fix)


def _minor(version: str) -> tuple[int, ...]:
    parts = version.partition("+")[0].split(".")[:2]
    return tuple(int(part) for part in parts) if all(p.isdecimal() for p in parts) else ()


def _vision(version: str) -> tuple[int, ...]:
    """The torch that a torchvision was built for: 0.15 with 2.0, 0.26 with 2.11."""
    minor = _minor(version)
    return (2, minor[1] - 15) if len(minor) == 2 and minor[0] == 0 else ()


def cudnn() -> Iterator[Check]:
    """CTranslate2 from 4.5 on is built for cuDNN 9; only a GPU needs it."""
    if not Path("/dev/nvidiactl").exists():
        yield Check("versions", "ctranslate2 and cuDNN", "skip", "There is no NVIDIA GPU.")
        return
    for name in ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn"):
        if found := installed(name):
            fits = found.startswith("9.")
            fix = "" if fits else f"pip install '{name}>=9,<10'"
            yield Check(
                "versions", "ctranslate2 and cuDNN", "ok" if fits else "fail", f"cuDNN {found}", fix
            )
            return
    fix = "pip install 'nvidia-cudnn-cu12>=9,<10'"
    yield Check(
        "versions", "ctranslate2 and cuDNN", "warn", "cuDNN comes from nowhere that is known.", fix
    )


def loads() -> Iterator[Check]:
    """Each of the tight packages, really imported, in a process that may die of it."""
    present = [name for name in LOADED if installed(name)]
    began = time.perf_counter()
    told: dict[str, tuple[str, str]] = {}
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRY, *present],
            capture_output=True, text=True, timeout=LOAD_SECONDS, check=False,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            if line.startswith("["):
                name, version, error = json.loads(line)
                told[name] = (version, error)
    except subprocess.TimeoutExpired:
        pass
    seconds = time.perf_counter() - began
    failed = [name for name in present if told.get(name, ("", "died"))[1]]
    if not failed:
        text = f"{', '.join(present)}: loaded in a process of their own."
        yield Check("versions", "Libraries load", "ok", text, "", seconds)
    for name in failed:
        error = told.get(name, ("", "its process died or hung"))[1]
        fix = LOADED[name].format(torch=installed("torch").partition("+")[0])
        yield Check(
            "versions", f"{name} loads", "fail", error.replace(str(ROOT), ".")[:300], fix, seconds
        )
