"""The documents tell the truth: what they name (commands, links, variables, calls) is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app import create_app
from engine import VERSION, Settings
from scripts.describe_settings import variables

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("bench/*.md")])
README = (ROOT / "README.md").read_text("utf-8")


def front_matter(text: str) -> dict[str, str]:
    """The `key: value` lines between the first two rules."""
    head = text.split("---\n")[1]
    pairs = (line.partition(":") for line in head.splitlines() if ":" in line)
    return {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def broken_links(text: str, folder: Path) -> list[str]:
    """Links to files that are not there; addresses and anchors are left alone."""
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [link for link in links if "://" not in link and not (folder / link).exists()]


def known_variables() -> set[str]:
    fields = Settings.model_fields.items()
    return {variable for name, field in fields for variable in variables(name, field)}


def unknown_variables(text: str) -> set[str]:
    ours_elsewhere = {"ATELIER_URL", "ATELIER_MODEL"}  # read by the examples
    return set(re.findall(r"ATELIER_[A-Z0-9_]+[A-Z0-9]", text)) - known_variables() - ours_elsewhere


def long_entries(text: str, limit: int) -> list[str]:
    """Decisions of more than `limit` lines, their headings not counted."""
    entries = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return [e.splitlines()[0] for e in entries if len(e.strip().splitlines()[1:]) > limit + 1]


def test_spaces_can_read_readme():
    head = front_matter(README)
    assert head["sdk"] == "gradio"
    assert head["app_file"] == "app.py" and (ROOT / head["app_file"]).exists()
    assert head["app_port"] == str(Settings.model_fields["port"].default)
    assert f"gradio=={head['sdk_version']}\n" in (ROOT / "requirements.txt").read_text("utf-8")
    assert len(head["short_description"]) <= 60
    assert head["license"] == "mit"


def test_commands_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"`make ([a-z]+)", README))
    assert {"run", "test", "check", "bench"} <= named
    assert named <= targets(makefile)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda f: f.name)
def test_links_lead_somewhere(file: Path):
    assert broken_links(file.read_text("utf-8"), file.parent) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda f: f.name)
def test_variables_exist(file: Path):
    assert unknown_variables(file.read_text("utf-8")) == set()


def test_flags_exist():
    named = set(re.findall(r"`[^`\n]*?(--[a-z0-9-]+)", README))
    flags = {"--" + name.replace("_", "-") for name in Settings.model_fields}
    assert named <= flags, named - flags


def test_versions_agree():
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"Version {VERSION.rpartition('.')[0]}" in README


def test_changelog_has_its_form():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert "## [Unreleased]" in text
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_decisions_are_short():
    assert long_entries((ROOT / "DECISIONS.md").read_text("utf-8"), 10) == []


def test_packages_say_what_their_absence_costs():
    script = (ROOT / "scripts/install.sh").read_text("utf-8")
    packages = (ROOT / "packages.txt").read_text("utf-8").split()
    found = re.search(r"^cost_of\(\) \{.*?^\}", script, re.S | re.M)
    assert packages and found

    def cost(package: str) -> str:
        command = ["bash", "-c", f"{found[0]}\ncost_of {package}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "will say so" in cost("something-else")
    assert [package for package in packages if "will say so" in cost(package)] == []


SHELL = [
    "scripts/install.sh",
    ".ci/run",
    *(f"examples/{f.name}" for f in ROOT.glob("examples/*.sh")),
]


@pytest.mark.parametrize("file", SHELL)
def test_shell_is_well_formed(file: str):
    done = subprocess.run(["bash", "-n", ROOT / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_names_real_calls(settings: Settings):
    """Every call of the dialect table is in the API's own description."""
    paths = create_app(settings).api.openapi()["paths"]
    served = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    named = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", README))
    assert len(named) > 10
    assert nameless(named) <= nameless(served), nameless(named) - nameless(served)


def nameless(calls: set[str]) -> set[str]:
    """The calls without the names of what stands in their paths."""
    return {re.sub(r"\{[^}]*\}", "{}", call) for call in calls}


BAD_LINKS = "[a](nowhere.md) and [b](https://example.org) and [c](#here)"


def test_checks_can_fail():
    assert broken_links(BAD_LINKS, ROOT) == ["nowhere.md"]
    assert unknown_variables("set ATELIER_NO_SUCH_THING=1 and ATELIER_PORT=1") == {
        "ATELIER_NO_SUCH_THING"
    }
    assert long_entries("# D\n\n## 1. A\n\n" + "x\n" * 11 + "\n## 2. B\n\ny\n", 10) == ["1. A"]
    assert front_matter('---\nsdk: "x"\n---\n') == {"sdk": "x"}
