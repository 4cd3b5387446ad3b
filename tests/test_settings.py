"""Where a setting comes from, and that each is documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.settings import Settings
from scripts.describe_settings import END, example, table, variables

ROOT = Path(__file__).resolve().parent.parent
NAMES = list(Settings.model_fields)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to start in and an environment without our variables."""
    for name, field in Settings.model_fields.items():
        for variable in variables(name, field):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_are_safe():
    settings = Settings()
    assert settings.is_loopback
    assert settings.port == 7860
    assert settings.share is False
    assert settings.allow_remote_code == ""


def test_file_beats_default(bare: Path):
    (bare / ".env").write_text("ATELIER_PORT=7001\n")
    assert Settings().port == 7001


def test_environment_beats_file(bare: Path, monkeypatch: pytest.MonkeyPatch):
    (bare / ".env").write_text("ATELIER_PORT=7001\n")
    monkeypatch.setenv("ATELIER_PORT", "7002")
    assert Settings().port == 7002


def test_flag_beats_environment(bare: Path, monkeypatch: pytest.MonkeyPatch):
    (bare / ".env").write_text("ATELIER_PORT=7001\n")
    monkeypatch.setenv("ATELIER_PORT", "7002")
    assert Settings.from_args(["--port", "7003"]).port == 7003


@pytest.mark.parametrize("variable", ["ATELIER_WORKERS", "WORKERS"])
def test_flag_beats_every_name_of_a_variable(variable: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable, "3")
    assert Settings().workers == 3
    assert Settings.from_args(["--workers", "2"]).workers == 2


def test_own_name_beats_the_general_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKERS", "3")
    monkeypatch.setenv("ATELIER_WORKERS", "4")
    assert Settings().workers == 4


@pytest.mark.parametrize(
    ("argv", "value"), [([], False), (["--offline"], True), (["--no-offline"], False)]
)
def test_switches(argv: list[str], value: bool):
    assert Settings.from_args(argv).offline is value


def test_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        Settings.from_args(["--prot", "1"])
    assert "--prot" in capsys.readouterr().err


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        Settings.from_args(["--help"])
    shown = capsys.readouterr().out
    assert [n for n in NAMES if f"--{n.replace('_', '-')}" not in shown] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 65536), ("parallel", 0), ("body_limit", 0), ("dtype", "int4"), ("time_limit", 0)],
)
def test_values_are_bounded(name: str, value: object):
    with pytest.raises(ValidationError):
        Settings(**{name: value})


def test_settings_do_not_change():
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_secrets_are_not_shown():
    shown = repr(Settings(token="hush-hush", admin_token="quiet"))
    assert "hush-hush" not in shown and "quiet" not in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback(host: str):
    assert Settings(host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "box.lan"])
def test_not_loopback(host: str):
    assert not Settings(host=host).is_loopback


def test_lists_are_split():
    assert Settings(hosts=" a.lan, b.lan ,").listed("hosts") == ("a.lan", "b.lan")
    assert Settings().listed("hosts") == ()


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_has_a_reason(name: str):
    reason = Settings.model_fields[name].description or ""
    assert reason.endswith((".", ")", '"')), f"{name}: a sentence saying what it is for"


def test_readme_has_todays_table():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert END in readme
    assert table() in readme, "run: .venv/bin/python -m scripts.describe_settings"


def test_env_example_is_todays():
    written = (ROOT / ".env.example").read_text("utf-8")
    assert written == example(), "run: .venv/bin/python -m scripts.describe_settings"


def test_env_example_can_be_read_back(bare: Path):
    """Uncommented, the example sets what is the default anyway."""
    lines = [line.removeprefix("#") for line in example().splitlines() if line.startswith("#A")]
    filled = [line for line in lines if not line.endswith("=") and "DATA_DIR" not in line]
    (bare / ".env").write_text("\n".join(filled))
    assert Settings().model_dump(exclude={"data_dir"}) == Settings(_env_file=None).model_dump(
        exclude={"data_dir"}
    )
