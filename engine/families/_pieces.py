"""From sentences to a translation model's tokens and back, and how it is told of languages.

Knows the four ways in which published models do that; loads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from engine.errors import LoadFailed
from engine.families._ctranslate import pair_of
from engine.registry import ModelSpec
from engine.tongues import code_of

END = "</s>"
UNKNOWN = "<unk>"
SPECIAL = frozenset({"<s>", END, UNKNOWN, "<pad>", "<mask>"})
MADE_UP = "madeupword"  # what numbers are called that no token has
_FLORES = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_M2M = re.compile(r"__[a-z]{2,3}__")
_MADLAD = re.compile(r"<2[a-z]{2,3}(?:_[A-Za-z]+)?>")
_MARIAN = re.compile(r">>[\w-]+<<")


class Cutter(Protocol):
    """Cuts a sentence into tokens, and joins tokens to a sentence."""

    def cut(self, text: str) -> list[str]: ...
    def join(self, tokens: Sequence[str]) -> str: ...


class _Spm:
    """SentencePiece, one model for the source and one for the target."""

    def __init__(self, source: Path, target: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._source = SentencePieceProcessor(str(source))
        self._target = self._source if target == source else SentencePieceProcessor(str(target))

    def cut(self, text: str) -> list[str]:
        found: list[str] = self._source.encode(text, out_type=str)
        return found

    def join(self, tokens: Sequence[str]) -> str:
        return str(self._target.decode(list(tokens))).strip()


class _Fast:
    """A tokenizer.json."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))

    def cut(self, text: str) -> list[str]:
        found: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return found

    def join(self, tokens: Sequence[str]) -> str:
        ids = (self._tokenizer.token_to_id(token) for token in tokens)
        return str(self._tokenizer.decode([n for n in ids if n is not None])).strip()


@dataclass(frozen=True)
class Pieces:
    """A model's tokenizer and its languages.

    Args:
        sources, targets: our codes, and the tokens that say them ("" where none is needed).
        starts: tokens before a sentence, by its language; `before`: the target's token stands there too.
        begins: whether an answer begins with the target's token.
    """

    cutter: Cutter
    sources: Mapping[str, str]
    targets: Mapping[str, str]
    starts: bool
    before: bool
    begins: bool

    def source(self, tokens: Iterable[str], source: str, target: str) -> list[str]:
        """What the model is given for a sentence's tokens."""
        head = [self.sources[source]] if self.starts else []
        if self.before and self.targets[target]:
            head.append(self.targets[target])
        return [*head, *tokens, END]

    def prefix(self, target: str) -> list[str] | None:
        """What its answer begins with."""
        return [self.targets[target]] if self.begins else None

    def read(self, tokens: Sequence[str], target: str) -> str:
        """The sentence of an answer's tokens; empty where it only says that it does not know."""
        if self.begins:
            tokens = tokens[1:]
        said = [t for t in tokens if t not in SPECIAL and t not in self._tags]
        return self.cutter.join([token for token in said if not token.startswith(MADE_UP)])

    @cached_property
    def _tags(self) -> frozenset[str]:
        return frozenset(self.targets.values())


def read_pieces(folder: Path, tokens: Sequence[str], spec: ModelSpec) -> Pieces:
    """How the model of a folder is spoken to. Raises LoadFailed: a file is missing or broken."""
    cutter = _cutter(folder, spec)
    for pattern, before, begins in ((_FLORES, False, True), (_M2M, False, True)):
        if found := {code_of(t): t for t in tokens if pattern.fullmatch(t)}:
            kept = _chosen(found, spec)
            return Pieces(cutter, kept, kept, starts=True, before=before, begins=begins)
    if found := {code_of(t): t for t in tokens if _MADLAD.fullmatch(t)}:
        kept = _chosen(found, spec)
        return Pieces(cutter, kept, kept, starts=False, before=True, begins=False)
    source, target = pair_of(folder, spec)
    found = {code_of(t): t for t in tokens if _MARIAN.fullmatch(t)}
    targets = found or dict.fromkeys(_codes(target), "")
    sources = dict.fromkeys(_codes(source), "") or dict.fromkeys(found, "")
    if not targets or not sources:
        raise LoadFailed(
            f"The files of model '{spec.id}' do not say which languages it translates. Name them in its row of "
            'models.toml: options = { from = "en", to = "fr" }.'
        )
    return Pieces(cutter, sources, targets, starts=False, before=bool(found), begins=False)


def _chosen(found: dict[str, str], spec: ModelSpec) -> dict[str, str]:
    """All languages of a vocabulary, or those that the row says were trained."""
    told = {code: token for code, token in found.items() if code in spec.languages}
    return told if told and spec.options.get("only") else found


def _codes(text: str) -> list[str]:
    return [code_of(part) for part in re.split(r"[+,_ ]+", text) if part]


def _cutter(folder: Path, spec: ModelSpec) -> Cutter:
    source, target = folder / "source.spm", folder / "target.spm"
    try:
        if source.is_file() and target.is_file():
            return _Spm(source, target)
        for name in ("sentencepiece.bpe.model", "spiece.model", "sentencepiece.model"):
            if (folder / name).is_file():
                return _Spm(folder / name, folder / name)
        if (folder / "tokenizer.json").is_file():
            return _Fast(folder / "tokenizer.json")
    # Both libraries raise plain errors of many kinds for a broken file: this is their border.
    except Exception as error:
        raise LoadFailed(
            f"The tokenizer of model '{spec.id}' cannot be read. Copy or download its folder again."
        ) from error
    raise LoadFailed(
        f"Model '{spec.id}' has no tokenizer (source.spm, sentencepiece.bpe.model, spiece.model or tokenizer.json). "
        "Copy or download its folder again."
    )
