"""Packs pictures and conversations into batches that all have one shape, for training alone.

One picture is encoded once and feeds many answers: either the turns follow each other, or they stand side
by side, each seeing nothing but what comes before all of them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast

from starter.chat_data import Turn
from starter.chat_grammar import LANGUAGES, load_system_prompts
from starter.vision_data import FIXED, write_turns
from starter.vision_model import LOOK, LOOKED, MERGE, PATCH, PICTURE
from starter.vision_scene import COLOURS, GRIDS, KINDS, TOKEN, Scene, Spot, draw_scene, write_scene
from starter.vision_words import load_words

IGNORED = -100
LENGTH = 320
MOST_TOKENS = max(rows * columns for rows, columns in GRIDS)
MOST_PATCHES = MOST_TOKENS * MERGE**2
ROWS = 16  # conversations in a batch
NO_KIND, NO_COLOUR, NO_SIZE, NO_CELL = len(KINDS), len(COLOURS), 2, 9
MARKS = 5
CUT_SHARE, CUT_TOKENS = 0.8, 8
SIDE_BY_SIDE, WITHOUT, LATER, SECOND = 0.62, 0.05, 0.05, 0.04
ALONE_TURNS = 14


@dataclass
class Batch:
    """One step's data. `place` names each token's picture token, counted from 1; 0 is none."""

    patches: torch.Tensor  # [pictures, MOST_PATCHES, values], of one frame, filled up with zeros
    grids: torch.Tensor  # [pictures]: which of GRIDS each is
    # [pictures, MOST_TOKENS, MARKS]: kind, colour, size, cell, and whether a shape's centre is there
    marks: torch.Tensor
    grounds: torch.Tensor  # [pictures]
    ids: torch.Tensor  # [ROWS, LENGTH]
    labels: torch.Tensor  # [ROWS, LENGTH]
    place: torch.Tensor  # [ROWS, LENGTH]
    part: torch.Tensor  # [ROWS, LENGTH]: tokens see parts 0 and their own
    position: torch.Tensor  # [3, ROWS, LENGTH]


def to_patches(picture: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """`[patches, values]` as the image processor makes them, of one frame."""
    sized = picture.resize((grid[1] * TOKEN, grid[0] * TOKEN), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(sized)).permute(2, 0, 1)
    split = pixels.reshape(3, grid[0], MERGE, PATCH, grid[1], MERGE, PATCH)
    split = split.permute(1, 4, 2, 5, 0, 3, 6).reshape(grid[0] * grid[1] * MERGE**2, -1)
    return (split.float() / 255 - 0.5) / 0.5


def mark_tokens(scene: Scene, spots: list[Spot], grid: tuple[int, int]) -> np.ndarray:
    """`[MOST_TOKENS, MARKS]`: what lies under each picture token and whether a shape's centre does."""
    rows, columns = grid
    marks = np.tile(np.array([NO_KIND, NO_COLOUR, NO_SIZE, NO_CELL, 0]), (rows, columns, 1))
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    for shape, spot in zip(scene.shapes, spots, strict=True):
        across = np.abs(x / columns - spot.x) < spot.half_width + 0.1 / columns
        down = np.abs(y / rows - spot.y) < spot.half_height + 0.1 / rows
        centre = min(int(spot.y * rows), rows - 1), min(int(spot.x * columns), columns - 1)
        named = KINDS.index(shape.kind), COLOURS.index(shape.colour), int(shape.big), shape.cell
        marks[across & down, :4] = named
        marks[centre] = *named, 1
    laid: np.ndarray = np.full((MOST_TOKENS, MARKS), IGNORED)
    laid[: rows * columns] = marks.reshape(-1, MARKS)
    return laid


class Row:
    """One packed conversation: ids, labels, parts and positions growing piece by piece."""

    def __init__(self, grids: list[tuple[int, int]], picture: int) -> None:
        self.grids, self.picture = grids, picture
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.place: list[int] = []
        self.part: list[int] = []
        self.position: list[tuple[int, int, int]] = []
        self.next = 0

    def text(self, ids: list[int], labels: list[int] | None = None, part: int = 0) -> None:
        """Adds words; `labels` where they are an answer."""
        self.ids += ids
        self.labels += labels or [IGNORED] * len(ids)
        self.place += [0] * len(ids)
        self.part += [part] * len(ids)
        self.position += [(p, p, p) for p in range(self.next, self.next + len(ids))]
        self.next += len(ids)

    def look(self, number: int) -> None:
        """Adds the tokens of the batch's picture of that number."""
        rows, columns = self.grids[number]
        first = number * MOST_TOKENS + 1
        self.ids += [self.picture] * (rows * columns)
        self.labels += [IGNORED] * (rows * columns)
        self.place += range(first, first + rows * columns)
        self.part += [0] * (rows * columns)
        start = self.next
        self.position += [
            (start, start + y, start + x) for y in range(rows) for x in range(columns)
        ]
        self.next += max(rows, columns)


class Packer(IterableDataset[Batch]):
    """Endless batches drawn from a seed; `talk` False leaves the conversations out."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, seed: int, talk: bool = True, pictures: int = ROWS
    ) -> None:
        self.tokenizer, self.seed, self.talk, self.pictures = tokenizer, seed, talk, pictures
        named = (PICTURE, LOOK, LOOKED, tokenizer.eos_token, tokenizer.pad_token)
        self.picture, self.opened, self.closed, self.end, self.pad = map(
            tokenizer.convert_tokens_to_ids, named
        )
        self.fixed = {load_words(code).answer[name] for code in LANGUAGES for name in FIXED}
        texts = ("<|im_start|>user\n", "\n<|im_start|>assistant\n", "\n")
        self.user, self.assistant, self.line = (self._ids(text) for text in texts)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def __iter__(self) -> Iterator[Batch]:
        rng = random.Random(self.seed)
        while True:
            yield self.pack(rng)

    def pack(self, rng: random.Random) -> Batch:
        """One batch: pictures of one grid, and a conversation about each."""
        chosen = rng.choices(range(len(GRIDS)), list(GRIDS.values()), k=self.pictures)
        grids = [list(GRIDS)[i] for i in chosen]
        scenes = [write_scene(rng) for _ in grids]
        drawn = [draw_scene(scene, grid, rng) for scene, grid in zip(scenes, grids, strict=True)]
        patches = torch.zeros(self.pictures, MOST_PATCHES, 3 * PATCH**2)
        for i, (picture, _) in enumerate(drawn):
            split = to_patches(picture, grids[i])
            patches[i, : len(split)] = split
        marks = [mark_tokens(scenes[i], spots, grids[i]) for i, (_, spots) in enumerate(drawn)]
        grounds = [COLOURS.index(scene.ground) if scene.known else NO_COLOUR for scene in scenes]
        rows = (
            [self._converse(scenes, i, grids, rng) for i in range(self.pictures)]
            if self.talk
            else []
        )
        return Batch(
            patches.bfloat16(),
            torch.tensor(chosen),
            torch.from_numpy(np.stack(marks)),
            torch.tensor(grounds),
            self._stack([row.ids for row in rows], self.pad),
            self._stack([row.labels for row in rows], IGNORED),
            self._stack([row.place for row in rows], 0),
            self._stack([row.part for row in rows], -1),
            torch.stack(
                [self._stack([[p[i] for p in row.position] for row in rows], 0) for i in range(3)]
            ),
        )

    @staticmethod
    def _stack(listed: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([(row + [filler] * LENGTH)[:LENGTH] for row in listed])

    def _converse(
        self, scenes: list[Scene], number: int, grids: list[tuple[int, int]], rng: random.Random
    ) -> Row:
        row = Row(grids, self.picture)
        if rng.random() < 0.3:
            prompt = load_system_prompts().pick(rng, False)
            row.text(self._ids(f"<|im_start|>system\n{prompt}<|im_end|>\n"))
        draw = rng.random()
        if draw < SIDE_BY_SIDE:
            row.text(self.user)
            self._look(row, number)
            self._side_by_side(row, write_turns(scenes[number], ALONE_TURNS, rng), rng)
        elif draw < SIDE_BY_SIDE + WITHOUT:
            row.text(self.user)
            self._side_by_side(row, write_turns(None, ALONE_TURNS, rng), rng)
        else:
            self._in_turn(row, scenes, number, rng, draw)
        return row

    def _look(self, row: Row, number: int) -> None:
        row.text([self.opened])
        row.look(number)
        row.text([self.closed])

    def _exchange(self, turn: Turn) -> tuple[list[int], list[int]]:
        """Ids and labels of one turn after its "user" line, up to the end of the answer."""
        asked = [*self._ids(turn.user), self.end, *self.assistant]
        answer = [*self._ids(turn.answer), self.end]
        return asked + answer, [IGNORED] * len(asked) + answer

    def _side_by_side(self, row: Row, turns: tuple[Turn, ...], rng: random.Random) -> None:
        start = row.next
        for part, turn in enumerate(turns, 1):
            ids, labels = self._exchange(turn)
            if turn.answer in self.fixed and rng.random() < CUT_SHARE:
                # The first words decide which fixed answer it is; the rest is soon known by heart.
                most = labels.count(IGNORED) + CUT_TOKENS
                ids, labels = ids[:most], labels[:most]
            if len(row.ids) + len(ids) <= LENGTH:
                row.next = start
                row.text(ids, labels, part)

    def _in_turn(
        self, row: Row, scenes: list[Scene], number: int, rng: random.Random, draw: float
    ) -> None:
        """Turns one after the other; the picture may come later, and a second one may follow."""
        later = draw < SIDE_BY_SIDE + WITHOUT + LATER
        second = not later and draw < SIDE_BY_SIDE + WITHOUT + LATER + SECOND
        turns = [(turn, number) for turn in write_turns(scenes[number], ALONE_TURNS, rng)]
        if later:
            turns = [(turn, -1) for turn in write_turns(None, rng.randint(1, 2), rng)] + turns
        if second:
            other = (number + 1) % len(scenes)
            asked = write_turns(scenes[other], ALONE_TURNS, rng)
            turns = turns[: rng.randint(1, 2)] + [(turn, other) for turn in asked]
        seen = -1
        for turn, about in turns:
            ids, labels = self._exchange(turn)
            fresh = about != seen
            room = len(self.user) + len(ids) + len(self.line) + (2 + MOST_TOKENS) * fresh
            if len(row.ids) + room > LENGTH:
                break
            row.text(self.user)
            if fresh:
                self._look(row, about)
                seen = about
            row.text(ids, labels)
            row.text(self.line)
