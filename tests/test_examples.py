"""Every client in `examples/`, and README's code, run against a real server process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import ROOT, Server, atelier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The file, and what its output must hold.
EXPECTED = {
    "openai_chat.py": r"(?s)\w+.*\[\d+ tokens in, \d+ out\]",
    "openai_chat.sh": r'"content":\s*"[^"]*\w+',
    "host_ask.py": r"(?s)\w+.*\[.+: starter-chat, [1-9]\d* tokens\]",
    "brenda_generate.py": r"(?s)\[starter-chat loaded in [\d.]+ s\]\n.*\w+.*'output_tokens': [1-9]",
    "brenda_media.py": r"(?s)page: .+\n.*\.md",
    "chatvlm_health.py": r"(?s)healthy\nGPU: .*- starter-chat: ",
    "chatvlm_client.py": r"(?s)\[healthy\]\n.*\w+.*\n- note-en.png: success: \w+.*\n- letter-fr.png: success: \w+"
    r".*\n- chatvlm_client.py: error: .*\n.*\w+",
    "chatvlm_async.py": r"(?s)\[note-en.png\]\n\w+.*\[letter-fr.png\]\n.*\w+.*\[sign.png\]\n.*\w+",
    "chatvlm.sh": r'(?s)"status":"healthy".*"text":"\w+.*"successful":3,"failed":0.*"response":"[^"]*\w+.*unloaded',
    "vision_analyze.py": r"(?s)- starter-vision .*\(current\).*\w+.*, cache (?:miss|hit)\]\n.*\w+.*, cache hit\]",
    "vision.sh": r'(?s)"status":"healthy".*"available_models".*"response_text":"[^"]*\w+.*"status":"success"',
    "ocr_document.py": r"(?s)booklet-en.pdf: \d+ pages\n- page 1: [1-9]\d* words by \w+.*-searchable.pdf: \d{4,} bytes",
    "files_share.py": r"(?s)- shared-\w+/.*bytes\n206 bytes 0-15/\d+: b.*\.zip: \d+ bytes\n.* is back",
    "ollama_chat.py": r"(?s)- starter-chat:latest: .*completion.*\n.*\w+.*\[\d+ tokens in, \d+ out, [\d.]+ a second\]",
    "jobs_follow.py": r"(?s)\w+.*\[done: Hello! Who are you\?\]",
    "gradio_chat.py": r"\w{2,}",
}
SEEING = {"chatvlm_client.py", "chatvlm.sh", "vision_analyze.py", "vision.sh"}
SEES = (ROOT / "assets/starters/starter-vision").is_dir()
FILES = sorted(file.name for file in (ROOT / "examples").iterdir() if file.is_file())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with atelier("--fetch-hosts", "127.0.0.1") as running:
        running.wait("/", accept="text/html")
        yield running


def run(command: list[str], server: Server) -> str:
    """What a program prints that talks to the server; it must end well."""
    env = {
        **os.environ,
        "ATELIER_URL": server.url,
        "ATELIER_MODEL": "",
        "MEDIA_URL": f"{server.url}/docs",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.printed()}"
    return done.stdout


def test_every_example_is_tested():
    assert sorted(EXPECTED) == FILES


@pytest.mark.parametrize("name", FILES)
def test_example(name: str, server: Server):
    if name in SEEING and not SEES:
        pytest.skip("starter-vision is not here")
    program = "bash" if name.endswith(".sh") else sys.executable
    output = run([program, f"examples/{name}"], server)
    assert re.search(EXPECTED[name], output), output


def blocks(language: str) -> list[str]:
    """README's code of a language that talks to the server."""
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [block for block in found if "http://127.0.0.1:7860" in block]


def test_readme_shows_code():
    assert len(blocks("python")) >= 2
    assert len(blocks("sh")) >= 1


@pytest.mark.parametrize("code", blocks("python"))
def test_readme_python(code: str, server: Server):
    output = run([sys.executable, "-c", code.replace("http://127.0.0.1:7860", server.url)], server)
    assert re.search(r"\w{2,}", output)


@pytest.mark.parametrize("code", blocks("sh"))
def test_readme_shell(code: str, server: Server, tmp_path: Path):
    output = run(["bash", "-ec", code.replace("http://127.0.0.1:7860", server.url)], server)
    assert re.search(r"\w{2,}", output)
    assert not re.search(r'"error":\s*(?!"")', output)  # a ticket's own "error" is empty
