"""Pictures that were drawn, kept as files: each a PNG that carries its recipe, a thumbnail, and a few facts beside it.

No table: what a picture is stands in its own file, so the folder can be copied or mended by hand. Pictures belong to
the session that drew them. Knows no model and no page.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from engine.errors import Unknown
from engine.pictures import encode, measure, open_picture
from engine.recipes import Recipe, clean, read_recipe
from engine.settings import Settings

THUMB = 320  # pixels of a thumbnail's longer side
MOST = 5000  # pictures of one session; the oldest that are no favourites go first
PACKED = 500  # pictures in one archive
ID = re.compile(r"[0-9a-f]{20,40}")
Kind = Literal["picture", "creature"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture of the gallery.

    Args:
        session: whose it is.
        created_at: seconds since the epoch.
        title: a creature's name; "" for a picture, whose prompt is in its recipe.
        rarity: of a creature.
        model: who drew it.
    """

    id: str
    session: str
    created_at: float
    kind: Kind = "picture"
    width: int = 0
    height: int = 0
    favourite: bool = False
    title: str = ""
    rarity: str = ""
    model: str = ""
    seed: int | None = None
    recipe: Recipe = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What a search looks through."""
        return " ".join(
            (self.title, self.rarity, self.model, str(self.recipe.get("prompt", "")))
        ).lower()


class Gallery:
    """The pictures of all sessions, in one folder. All calls work on files, in threads of their own."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / "gallery"
        self._known: dict[str, tuple[float, Kept]] = {}

    # Adding and changing

    async def add(self, data: bytes, session: str, kind: Kind = "picture", **facts: Any) -> Kept:
        """Keep a picture. `facts`: title, rarity, model, seed. Raises BadFormat: it is none."""
        return await asyncio.to_thread(self._add, data, session, kind, facts)

    def _add(self, data: bytes, session: str, kind: Kind, facts: dict[str, Any]) -> Kept:
        size = measure(data)
        recipe = read_recipe(data) or {}
        now = time.time()
        new = f"{int(now * 1e6):016x}{secrets.token_hex(4)}"
        kept = Kept(
            new, session, now, kind, size.width, size.height, recipe=recipe,
            **{"model": recipe.get("model", ""), "seed": recipe.get("seed"), **facts},
        )  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        small = open_picture(data)
        small.thumbnail((THUMB, THUMB))
        (self._folder / f"{new}.webp").write_bytes(encode(small, "webp", 82))
        (self._folder / f"{new}.png").write_bytes(data)
        self._write(kept)
        self._tidy(session)
        return kept

    def _write(self, kept: Kept) -> None:
        """The facts last and whole: a picture without them is not there."""
        file = self._folder / f"{kept.id}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(kept), ensure_ascii=False), encoding="utf-8")
        part.replace(file)

    def _tidy(self, session: str) -> None:
        mine = [kept for kept in self._all() if kept.session == session]
        spare = [kept for kept in mine if not kept.favourite]
        for kept in spare[max(0, MOST - (len(mine) - len(spare))) :] if len(mine) > MOST else ():
            self._remove(kept.id)

    async def favour(self, id: str, on: bool, session: str | None) -> Kept:
        """Mark a picture, or not any more. Raises Unknown."""
        kept = replace(await self.get(id, session), favourite=on)
        await asyncio.to_thread(self._write, kept)
        return kept

    async def remove(self, id: str, session: str | None) -> None:
        """Take a picture out for good. Raises Unknown."""
        await self.get(id, session)
        await asyncio.to_thread(self._remove, id)

    def _remove(self, id: str) -> None:
        for ending in ("json", "png", "webp"):
            (self._folder / f"{id}.{ending}").unlink(missing_ok=True)
        self._known.pop(id, None)

    # Looking

    async def find(
        self,
        session: str | None,
        kind: Kind | None = None,
        words: str = "",
        favourites: bool = False,
    ) -> list[Kept]:
        """The pictures of a session (None: all), newest first; those that hold every one of the words."""
        wanted = words.lower().split()
        found = await asyncio.to_thread(self._all)
        return [
            kept
            for kept in found
            if (session is None or kept.session == session)
            and (kind is None or kept.kind == kind)
            and (not favourites or kept.favourite)
            and all(word in kept.words for word in wanted)
        ]

    async def get(self, id: str, session: str | None) -> Kept:
        """One picture. Raises Unknown: there is none of this id, or it is another's."""
        kept = await asyncio.to_thread(self._one, id) if ID.fullmatch(id) else None
        if kept is None or (session is not None and kept.session != session):
            raise Unknown(
                "There is no such picture in the gallery. It may have been removed.", param="id"
            )
        return kept

    async def file(self, id: str, session: str | None, small: bool = False) -> tuple[bytes, str]:
        """A picture's bytes and media type. Raises Unknown."""
        await self.get(id, session)
        file = self._folder / f"{id}.{'webp' if small else 'png'}"
        try:
            return await asyncio.to_thread(file.read_bytes), f"image/{'webp' if small else 'png'}"
        except FileNotFoundError:
            raise Unknown("The picture's file is gone. Remove it from the gallery.") from None

    async def pack(self, pictures: Sequence[Kept]) -> bytes:
        """A ZIP of the first of these pictures, and a list of what they are."""
        return await asyncio.to_thread(self._pack, pictures[:PACKED])

    def _pack(self, pictures: Sequence[Kept]) -> bytes:
        out = io.BytesIO()
        told = []
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for number, kept in enumerate(pictures, 1):
                file = self._folder / f"{kept.id}.png"
                if file.is_file():
                    name = f"{number:03d}-{name_of(kept)}.png"
                    archive.write(file, name)
                    told.append({"file": name, **public(kept)})
            text = json.dumps(told, ensure_ascii=False, indent=1)
            archive.writestr("pictures.json", text, zipfile.ZIP_DEFLATED)
        return out.getvalue()

    def _all(self) -> list[Kept]:
        if not self._folder.is_dir():
            return []
        names = sorted((file.stem for file in self._folder.glob("*.json")), reverse=True)
        found = (self._one(name) for name in names if ID.fullmatch(name))
        return [kept for kept in found if kept is not None]

    def _one(self, id: str) -> Kept | None:
        """A picture's facts, read again only where the file changed."""
        file: Path = self._folder / f"{id}.json"
        try:
            stamp = file.stat().st_mtime_ns
            known = self._known.get(id)
            if known is not None and known[0] == stamp:
                return known[1]
            told = json.loads(file.read_text(encoding="utf-8"))
            recipe = clean(told.pop("recipe", None)) or {}
            kept = Kept(recipe=recipe, **told)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        self._known[id] = (stamp, kept)
        return kept


def name_of(kept: Kept) -> str:
    """A harmless file name's stem for a picture."""
    text = kept.title or str(kept.recipe.get("prompt", ""))
    plain = re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-")[:48]
    return plain or kept.kind


def public(kept: Kept) -> dict[str, Any]:
    """A picture's facts for others."""
    told = {name: value for name, value in asdict(kept).items() if name != "session"}
    made = datetime.fromtimestamp(kept.created_at, UTC).isoformat(timespec="seconds")
    return {**told, "created_at": made}
