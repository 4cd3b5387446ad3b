"""Answers that must follow a JSON schema, or be calls of tools: which tokens may come next.

Knows grammars, schemas and one tokenizer's ids; nothing of requests, batches or text shown. The work of
the grammar is llguidance's; each answer has a `Guide`, and one that is not constrained costs nothing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any

from engine.errors import BadValue, InferenceFailed
from engine.families._call_grammar import TIGHT, calls_grammar
from engine.families._decoding import Bytes
from engine.families._masks import Closers, Place, bits_of, is_set, word_of
from engine.families._tools import Shape
from engine.requests import Tool

if TYPE_CHECKING:
    import torch

log = logging.getLogger("atelier.hf_chat")

KEPT = 16  # grammars kept, so that the second request with a schema need not wait for it
DIGITS = 24  # of a number; no more are meant
PREFIX = re.compile(
    r"^(at \d+\(\d+\): )?(failed to compile JSON schema: )?"
)  # of the library's words
LARGE = 20_000  # tokens of a vocabulary that takes longer to read than a few steps
LARGEST = 500_000  # characters of a schema
PLACES = ("properties", "patternProperties", "$defs", "definitions")
LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
SINGLES = ("items", "additionalProperties", "not")


class Guide:
    """One answer's way through a grammar.

    A model that wants to stop while the grammar does not let it, or that has few tokens left, is led to the
    end by the shortest way: its values close as soon as they may. Then `hurried` tells whether the limit did it.

    Args:
        left: tokens the answer may still have; reserve: how many of them the way to the end may need.
        words: words of 32 bits in its masks.
        openers: tokens that begin thoughts, allowed as the first; what is thought is not constrained.
        awake: whether the next token is constrained.
    """

    def __init__(
        self,
        matcher: Any,
        ends: frozenset[int],
        closers: Closers | None,
        *,
        words: int,
        left: int,
        reserve: int,
        openers: frozenset[int] = frozenset(),
        awake: bool = True,
    ) -> None:
        self._matcher, self._ends, self._closers = matcher, ends, closers
        self._left, self._reserve, self._openers = left, reserve, openers
        self.words, self._used, self._place = words, 0, Place()
        self.awake, self.over, self.hurried = awake, False, False

    def lets(self, token: int) -> bool:
        """Whether a token may come next and nothing else should: much cheaper than a mask."""
        if token in self._openers or not self.awake:
            return True
        hurried = self._left <= max(self._reserve, self._used) or self._place.digits > DIGITS
        if hurried or token in self._ends:
            return False
        return bool(self._matcher.validate_tokens([token]) == 1)

    def mask(self, row: torch.Tensor, likeliest: int) -> None:
        """Write the tokens that may come next into `row` (int32 words of bits); `likeliest` is the model's wish."""
        if not self.awake:
            row.fill_(-1)
            return
        self._fill(self._matcher, row)
        hurried = self._left <= self._reserve
        stuck = likeliest in self._ends and not is_set(row, likeliest)
        long = self._place.digits > DIGITS
        if hurried or stuck or long or self._left <= self._used:
            near = self._nearer(row, hurried or long)
            if near is not None:
                early = hurried and not is_set(near, likeliest)
                self.hurried = self.hurried or (early and not self._ends_at(near))
                row.copy_(near)
        for opener in self._openers:
            row[opener // 32] |= word_of(opener)

    def _ends_at(self, row: torch.Tensor) -> bool:
        return any(is_set(row, end) for end in self._ends)

    def _fill(self, matcher: Any, row: torch.Tensor) -> None:
        matcher.unsafe_compute_mask_ptr(row.data_ptr(), row.numel() * row.element_size())

    def _nearer(self, row: torch.Tensor, hurried: bool) -> torch.Tensor | None:
        """Of the tokens in `row` those nearest the end; None where all are as near."""
        closers = self._closers
        ends = [end for end in self._ends if is_set(row, end)]
        if ends and (
            hurried or self._left <= self._used
        ):  # what is left may not do for as much again
            return bits_of(ends, self.words)
        if closers is None or ends:
            return None
        for tier in closers.quoted if self._place.quoted else closers.plain:
            if bool((near := row & tier).any()):
                return near
        if not hurried or not self._place.quoted:
            return None
        ready = [token for token in closers.letters if is_set(row, token) and self._closes(token)]
        return bits_of(ready, self.words) if ready else None

    def _closes(self, token: int) -> bool:
        """Whether the string may end after this token."""
        import torch

        ahead = self._matcher.deep_copy()
        row = torch.zeros(self.words, dtype=torch.int32)
        if self._closers is None or not ahead.consume_token(token):
            return False
        self._fill(ahead, row)
        return any(bool((row & tier).any()) for tier in self._closers.quoted)

    def take(self, token: int) -> None:
        """The token that was drawn.

        Raises:
            InferenceFailed: the grammar cannot go on from it.
        """
        self._left, self._used = self._left - 1, self._used + 1
        openers, self._openers = self._openers, frozenset()
        if not self.awake:
            return
        if token in openers:
            self.awake = False
        elif not self._matcher.consume_token(token):
            log.warning("a grammar failed: %s", self._matcher.get_error().partition("\n")[0][:300])
            raise InferenceFailed(
                "The answer cannot be kept to its JSON schema: it is too complex. Ask for a simpler one.",
                param="json_schema",
            )
        else:
            if self._closers:
                self._place.read(self._closers.pieces[token])
            self.over = bool(self._matcher.is_stopped())


class Grammars:
    """The grammars of one tokenizer. Its vocabulary is read when the first is asked for, if not before.

    Args:
        size: how many logits the model has.
        ends: ids that end an answer.
    """

    def __init__(self, tokenizer: Any, size: int, ends: frozenset[int]) -> None:
        self._tokenizer, self._ends = tokenizer, ends
        self._size = max(size, len(tokenizer))
        self._bytes = Bytes(tokenizer)
        self._core: Any = None
        self._making: Thread | None = None
        self._closers: Closers | None = None
        self._kept: dict[str, Any] = {}

    def for_schema(self, schema: Mapping[str, Any] | bool, limit: int, **how: Any) -> Guide:
        """A guide to JSON that satisfies `schema`; True: any object.

        Raises:
            BadValue: the schema is malformed, cannot be satisfied, or says what no grammar can promise.
        """
        from llguidance import LLMatcher

        asked: Mapping[str, Any] = {"type": "object"} if isinstance(schema, bool) else schema
        text = _text(asked)

        def grammar(part: Mapping[str, Any]) -> str:
            made: str = LLMatcher.grammar_from_json_schema(_text({**part, "x-guidance": TIGHT}))
            return made

        matcher = self._matcher(grammar(asked))
        if matcher.is_error():
            place, why = next(self._faults(asked, asked, grammar), ("", matcher.get_error()))
            raise BadValue(_sentence(place, why), param="json_schema")
        return self._guide(matcher, text, limit, closes=True, **how)

    def for_calls(
        self, tools: Sequence[Tool], shape: Shape, limit: int, *, single: bool, **how: Any
    ) -> Guide:
        """A guide to one call of these tools (or several, without `single`), written in `shape`.

        Raises:
            BadValue: a tool's parameters are malformed.
        """
        matcher = self._matcher(calls_grammar(tools, shape, single, self._specials()))
        if matcher.is_error():
            for tool in tools:
                alone = self._matcher(calls_grammar([tool], shape, True, self._specials()))
                if alone.is_error():
                    why = _first_line(alone.get_error())
                    raise BadValue(
                        f"The parameters of tool '{tool.name}' are no valid JSON schema: {why}. Correct them.",
                        param="tools",
                    )
            raise BadValue(
                "These tools are too many or too complex to force a call. Offer fewer, or leave "
                "tool_choice at auto.",
                param="tools",
            )
        longest = max((_text(tool.parameters) for tool in tools), key=len)
        return self._guide(matcher, longest, limit, closes=not shape.raw, **how)

    def _guide(self, matcher: Any, text: str, limit: int, *, closes: bool, **how: Any) -> Guide:
        reserve = min(limit // 2, 16 + len(text) // 3)
        if closes and self._closers is None:
            pieces = self._bytes.all(len(self._tokenizer))
            self._closers = Closers.of(pieces, -(-self._size // 32))
        closers = self._closers if closes else None
        words = -(-self._size // 32)
        return Guide(matcher, self._ends, closers, words=words, left=limit, reserve=reserve, **how)

    def _matcher(self, grammar: str) -> Any:
        from llguidance import LLMatcher

        if grammar not in self._kept:
            matcher = LLMatcher(self._vocabulary(), grammar, log_level=0)
            if matcher.is_error():
                return matcher
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[grammar] = matcher
        return self._kept[grammar].deep_copy()

    def _vocabulary(self) -> Any:
        """The tokenizer as llguidance reads it."""
        if self._making is not None:
            self._making.join()
            self._making = None
        if self._core is None:
            self._make()
        return self._core

    def _make(self) -> None:
        from llguidance import LLTokenizer

        ends = sorted(self._ends) or [self._tokenizer.eos_token_id or 0]
        source: Any
        if getattr(self._tokenizer, "is_fast", False):
            source = self._tokenizer.backend_tokenizer.to_str()
        else:
            source = _Vocabulary(self._tokenizer, self._bytes, ends[0])
        self._core = LLTokenizer(source, n_vocab=self._size, eos_token=ends)

    def prepare(self) -> None:
        """Read a large vocabulary by the way, which takes seconds, so that no running answer waits for it."""
        if self._size > LARGE:
            self._making = Thread(target=self._make, name="vocabulary", daemon=True)
            self._making.start()

    def _specials(self) -> dict[str, int]:
        """Added tokens that text never spells, by their content."""
        added = self._tokenizer.added_tokens_decoder
        return {str(token.content): n for n, token in added.items() if token.special}

    def _faults(
        self, part: Mapping[str, Any], root: Mapping[str, Any], grammar: Any, place: str = ""
    ) -> Iterator[tuple[str, str]]:
        """The deepest parts of a schema that are at fault by themselves, and why."""
        named = {key: root[key] for key in ("$defs", "definitions") if key in root}
        matcher = self._matcher(grammar({**named, **part}))
        if not matcher.is_error():
            return
        for key, inner in _inside(part):
            yield from self._faults(inner, root, grammar, f"{place}.{key}" if place else key)
        yield place, matcher.get_error()


class _Vocabulary:
    """A tokenizer that the `tokenizers` library does not know, spelled out for llguidance."""

    is_tokenizer_wrapper = True
    bos_token_id: int | None = None

    def __init__(self, tokenizer: Any, pieces: Bytes, end: int) -> None:
        self.eos_token_id = end
        self.tokens = pieces.all(len(tokenizer))
        self.special_token_ids: list[int] = list(tokenizer.all_special_ids)
        self._ids = {piece: token for token, piece in enumerate(self.tokens)}
        self._longest = max(map(len, self.tokens), default=1)

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokens whose bytes are exactly the text's, the longest first; a tokenizer's own may add a blank."""
        data, at, ids = text.encode() if isinstance(text, str) else text, 0, []
        while at < len(data):
            for size in range(min(self._longest, len(data) - at), 0, -1):
                token = self._ids.get(data[at : at + size])
                if token is not None:
                    ids.append(token)
                    break
            at += size
        return ids


def _text(schema: Mapping[str, Any]) -> str:
    """A schema as JSON text. Raises BadValue where it is too large or no JSON."""
    try:
        text = json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise BadValue("The JSON schema is no JSON. Correct it.", param="json_schema") from None
    if len(text) > LARGEST:
        raise BadValue(
            f"The JSON schema has {len(text):,} characters; at most {LARGEST:,} are read. Shorten it.",
            param="json_schema",
        )
    return text


def _inside(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas within a schema, and where."""
    for key in PLACES:
        inner = part.get(key)
        if isinstance(inner, Mapping):
            yield from ((f"{key}.{n}", one) for n, one in inner.items() if isinstance(one, Mapping))
    for key in LISTS:
        inner = part.get(key)
        if isinstance(inner, list):
            found = ((f"{key}.{n}", one) for n, one in enumerate(inner))
            yield from ((name, one) for name, one in found if isinstance(one, Mapping))
    for key in SINGLES:
        inner = part.get(key)
        if isinstance(inner, Mapping):
            yield key, inner


def _first_line(why: str) -> str:
    lines = [line.strip(" ^") for line in why.strip().splitlines()]
    told = next((line for line in reversed(lines) if line.startswith("error:")), lines[0])
    told = told.removeprefix("error:").strip().rstrip(".")
    return PREFIX.sub("", told)


def _sentence(place: str, why: str) -> str:
    told = _first_line(why)
    where = f" at {place}" if place else ""
    if told.startswith("Unimplemented keys"):
        keys = told.partition(":")[2].strip(' []"').replace('"', "")
        return (
            f"No answer can be promised to obey '{keys}' of the JSON schema{where}. Leave it out."
        )
    if told.startswith("Unsatisfiable schema"):
        reason = told.partition(":")[2].strip()
        return f"Nothing can satisfy the JSON schema{where}: {reason}. Correct it."
    return f"The JSON schema is not valid{where}: {told}. Correct it."
