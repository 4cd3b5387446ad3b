"""Model cards: a template of `starter/data` with the facts of one run filled in."""

from collections.abc import Mapping
from pathlib import Path


def write_card(template: Path, folder: Path, facts: Mapping[str, str]) -> None:
    """Fills each `{name}` of the template and writes it as the folder's README.md."""
    card = template.read_text(encoding="utf-8")
    for name, fact in facts.items():
        card = card.replace(f"{{{name}}}", fact)
    (folder / "README.md").write_text(card, encoding="utf-8")
