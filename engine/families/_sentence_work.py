"""What one translation request still needs: its pieces in order, the sentences that are asked, what may be told.

Knows no model: sentences go out as texts and come back as texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.glossaries import Glossary, Try, tries
from engine.passages import Piece, split
from engine.registry import BatchEmit


@dataclass(eq=False)
class Sentence:
    """A sentence on its way: the way it is asked at present, and what came of it.

    Args:
        place: which piece of its text it is.
        parts: each text that is asked, as tokens, in runs that the model can take.
    """

    place: int
    piece: Piece
    ways: Iterator[Try]
    now: Try
    parts: list[list[list[str]]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many tokens are asked."""
        return sum(len(run) for part in self.parts for run in part)

    @property
    def runs(self) -> int:
        """How many runs are asked."""
        return sum(map(len, self.parts))


@dataclass(eq=False)
class Work:
    """One request: from `source` to `target`, all pieces of its text, and what is ready of them.

    Args:
        todo: places of the sentences that nobody asked yet, the next one last.
        again: sentences that a mark of the glossary was lost in, to be asked another way.
    """

    emit: BatchEmit
    source: str
    target: str
    glossary: Glossary
    pieces: list[Piece]
    ready: list[str | None] = field(init=False)
    todo: list[int] = field(init=False)
    again: list[Sentence] = field(default_factory=list)
    doubts: dict[int, float] = field(default_factory=dict)
    told: int = 0
    characters: int = 0
    alone: bool = False

    def __post_init__(self) -> None:
        self.ready = [None if piece.said else piece.text for piece in self.pieces]
        said = [n for n, piece in enumerate(self.pieces) if piece.said]
        self.todo = said[::-1]

    @classmethod
    def of(cls, emit: BatchEmit, text: str, source: str, target: str, terms: Glossary) -> Work:
        """The work of a text."""
        return cls(emit, source, target, terms, split(text))

    @property
    def total(self) -> int:
        """Characters of the text."""
        return sum(len(piece.source) for piece in self.pieces)

    def take(self) -> Sentence | None:
        """The next sentence to ask; None where all are asked or waiting."""
        if self.again:
            return self.again.pop(0)
        if not self.todo:
            return None
        place = self.todo.pop()
        ways = tries(self.pieces[place].text, self.glossary)
        return Sentence(place, self.pieces[place], ways, next(ways))

    def give_back(self, sentence: Sentence) -> None:
        """Ask it later after all."""
        self.again.insert(0, sentence)

    def answer(self, sentence: Sentence, texts: Sequence[str]) -> None:
        """Take the answers to a sentence's texts; where they lost a mark, it is asked another way."""
        read = sentence.now.read(texts)
        if read is not None:
            self.ready[sentence.place] = sentence.piece.put(read)
        else:
            self._other_way(sentence)

    def leave(self, sentence: Sentence, sure: float) -> None:
        """Ask a sentence another way; where there is none, keep it as it is: the model does not know what it says."""
        if not self._other_way(sentence):
            self.ready[sentence.place] = self.glossary.apply(sentence.piece.source)
            self.doubts[sentence.place] = sure

    def _other_way(self, sentence: Sentence) -> bool:
        """Have a sentence asked the next way; False: there is no other."""
        following = next(sentence.ways, None)
        if following is None:
            return False
        sentence.now, sentence.parts = following, []
        self.again.append(sentence)
        return True

    def fresh(self) -> tuple[str, list[tuple[str, float]]]:
        """What can be told now, in order: text, and the sentences in it that were left as they are."""
        parts, left = [], []
        while self.told < len(self.pieces) and (text := self.ready[self.told]) is not None:
            parts.append(text)
            self.characters += len(self.pieces[self.told].source)
            if self.told in self.doubts:
                left.append((self.pieces[self.told].text, self.doubts[self.told]))
            self.told += 1
        return "".join(parts), left

    @property
    def over(self) -> bool:
        """Whether everything was told."""
        return self.told == len(self.pieces)
