"""Writes the settings into README.md (between its markers) and `.env.example`.

`python -m scripts.describe_settings`, after a setting was added or changed. Knows only `Settings`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from engine import Settings

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- settings:begin -->", "<!-- settings:end -->"


def variables(name: str, field: FieldInfo) -> list[str]:
    """The environment variables that set a field, its own first."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return ["ATELIER_" + name.upper()]


def default(field: FieldInfo) -> str:
    """A field's default as one would write it into the environment."""
    if field.default_factory is not None:
        return "~/.local/share/atelier"
    if field.default is None:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def table() -> str:
    """All settings as a Markdown table."""
    rows = ["| Variable | Flag | Default | What for |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        named = ", ".join(f"`{variable}`" for variable in variables(name, field))
        shown = f"`{default(field)}`" if default(field) else ""
        reason = (field.description or "").replace("|", "\\|")
        rows.append(f"| {named} | `--{name.replace('_', '-')}` | {shown} | {reason} |")
    return "\n".join(rows)


def example() -> str:
    """All settings as a `.env` file in which everything is commented out."""
    lines = ["# Copy to .env and uncomment what you change. Flags and the environment go first."]
    for name, field in Settings.model_fields.items():
        lines += ["", f"# {field.description}", f"#{variables(name, field)[0]}={default(field)}"]
    return "\n".join(lines) + "\n"


def with_table(readme: str) -> str:
    """README's text with today's table between its markers."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text("utf-8")), "utf-8")
    (ROOT / ".env.example").write_text(example(), "utf-8")


if __name__ == "__main__":
    main()
