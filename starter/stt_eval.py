"""Judges a written starter-stt with faster-whisper: word errors on sentences, numbers and voices it never heard."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from starter.chat_grammar import LANGUAGES
from starter.stt_data import RATE, Saying, say, sayings

COUNT = 160  # sentences of each measure
SEED = 90_001
PAD = RATE // 4  # samples of silence before and after


@dataclass(frozen=True)
class Score:
    """How much of so many sentences was heard: errors for each word, sentences without any, languages found."""

    name: str
    count: int
    errors: float
    whole: float
    languages: float


def words_of(text: str) -> list[str]:
    """A text's words without case, accents' ways of being written, and signs."""
    plain = unicodedata.normalize("NFC", text.casefold()).replace("ё", "е")
    return re.findall(r"\w+", plain)


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """The least number of words put in, left out or changed."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


class Listener:
    """The folder in faster-whisper, one sentence at a time."""

    def __init__(self, folder: Path) -> None:
        from faster_whisper import WhisperModel

        self.model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def hear(self, samples: np.ndarray, language: str = "", beams: int = 5) -> tuple[str, str]:
        """The language that was found, and the text."""
        from faster_whisper.tokenizer import Tokenizer

        model = self.model
        extract = model.feature_extractor
        frames = extract.nb_max_frames
        features = extract(np.pad(samples, PAD))[..., :-1][..., :frames]
        features = np.pad(features, ((0, 0), (0, frames - features.shape[-1])))
        encoded = model.encode(features)
        found = model.model.detect_language(encoded)[0][0][0][2:-2]
        tokenizer = Tokenizer(
            model.hf_tokenizer, True, task="transcribe", language=language or found
        )
        prompt = model.get_prompt(tokenizer, [], without_timestamps=True)
        result: Any = model.model.generate(encoded, [prompt], beam_size=beams, max_length=64)[0]
        return found, str(tokenizer.decode(result.sequences_ids[0])).strip()


@dataclass(frozen=True)
class Answer:
    """How one sentence was heard: its words, how many are wrong, whether its language was found."""

    language: str
    words: int
    errors: int
    found: bool


def answers(listener: Listener, asked: Sequence[Saying]) -> list[Answer]:
    """How these sentences are heard, their languages found out."""
    made = []
    for one in asked:
        code, heard = listener.hear(say(one))
        said = words_of(one.text)
        errors = distance(said, words_of(heard))
        made.append(Answer(one.language, len(said), errors, code == one.language))
    return made


def score(name: str, given: Sequence[Answer]) -> Score:
    count = len(given)
    errors = sum(one.errors for one in given) / sum(one.words for one in given)
    whole, found = (sum(not one.errors for one in given), sum(one.found for one in given))
    return Score(name, count, errors, whole / count, found / count)


def measure(folder: Path, count: int = COUNT) -> list[Score]:
    """All measures of a folder."""
    listener = Listener(folder)
    known = answers(listener, list(itertools.islice(sayings(SEED + 2), count // 2)))
    held = answers(listener, list(itertools.islice(sayings(SEED, held=True), count)))
    strange = itertools.islice(sayings(SEED + 1, held=True, held_voice=True), count)
    other = answers(listener, list(strange))
    both = [*held, *other]
    return [
        score("sentences of training's kind", known),
        score("held-out sentences", held),
        score("held-out sentences by held-out voices", other),
        *(
            score(f"… in {code}", [one for one in both if one.language == code])
            for code in LANGUAGES
        ),
    ]


def as_markdown(scores: Sequence[Score]) -> str:
    """The table of the card."""
    rows = [
        "| what | sentences | word errors | whole sentences | language found |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {s.name} | {s.count} | {s.errors:.1%} | {s.whole:.1%} | {s.languages:.1%} |"
        for s in scores
    ]
    return "\n".join(rows)
