"""What starter-stt hears: sentences of the dialogue grammar, said by espeak-ng's voices, kept as mel powers.

Everything is drawn from a seed. Held-out sentences are phrasings and pairs of numbers that training never shows;
held-out voices never speak in training.
"""

import argparse
import ctypes
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from starter.chat_data import is_held
from starter.chat_grammar import LANGUAGES, Grammar, load_grammar, plain

RATE, HOP, WINDOW, MELS, FFT = 16_000, 320, 6, 80, 400
TALK = ("greet", "bye", "thanks", "how_are_you", "identity", "abilities", "ack", "no", "sorry")
# How often each kind of sentence is drawn; numbers and names need the most hearing.
WEIGHTS = {
    **{f"talk.{name}": 2 for name in TALK},
    "joke.ask": 2, "sum.add": 8, "sum.sub": 6, "count.to": 3, "count.range": 3, "count.down": 2,
    "name.tell": 8, "name.ask": 3, "tab.by_name": 8,
}  # fmt: skip
UNSAID = re.compile(r"[^\w\s{},.!?'’\-]|\d|_|[^{]-[^\w]")  # signs that are written, not said
HYPHENS = re.compile(r"\s-\s|\{a\}-|-\{b\}")
VOICES = {
    "en": ("en-us", "en-gb", "en"), "fr": ("fr", "fr-fr", "fr-ch"), "pt": ("pt", "pt-br"), "ru": ("ru",),
}  # fmt: skip
VARIANTS = (
    "", "", "", "+m2", "+m3", "+m5", "+m6", "+m7", "+m8", "+f1", "+f2", "+f4", "+f5", "+Andy", "+Annie", "+steph",
    "+max", "+michael", "+rob", "+linda", "+Denis", "+john", "+antonio", "+belinda", "+david", "+ed", "+victor",
)  # fmt: skip
HELD_VARIANTS = ("+f3", "+m4")
MOST = 12  # phrasings of a kind, and names of a language: the first ones are the usual ones
TRIES = 50
COUNT = 24_000  # sentences in the cache
LOOSE = 0.5  # share of them whose words stand in no order, so that what was said must be heard and cannot be guessed


@dataclass(frozen=True)
class Saying:
    """A sentence, its language, and how espeak-ng is to say it: voice, words a minute, pitch."""

    text: str
    language: str
    voice: str
    speed: int
    pitch: int


@dataclass(frozen=True)
class Spoken:
    """A sentence and the powers of its mel bands, as float16 log10 of [MELS, frames]."""

    text: str
    language: str
    powers: np.ndarray


def speakable(text: str) -> bool:
    return not UNSAID.search(text) and not HYPHENS.search(text)


@cache
def phrasings(code: str, kind: str, held: bool) -> tuple[tuple[str, ...], ...]:
    """The phrasings of a kind that can be said, each as its expansions."""
    listed = load_grammar(code).phrases.get(kind)
    train = _said(() if listed is None else listed.train)[:MOST]
    if not held or listed is None:
        return train
    words = {word for texts in train for text in texts for word in plain(text).split()}
    fair = (
        tuple(text for text in texts if words.issuperset(plain(text).split()))
        for texts in _said(listed.held)
    )
    return tuple(texts for texts in fair if texts)


def _said(parts: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    said = (tuple(text for text in texts if speakable(text)) for texts in parts)
    return tuple(texts for texts in said if texts)


def written(text: str) -> str:
    """A sentence as it is written down: a capital first, one sign at its end."""
    text = re.sub(r"\s*[.!]*$", "", text.strip()).replace("’", "'").replace("favou?r", "favour")
    text = re.sub(r"\s+([?,.])", r"\1", text).strip(" ,")
    text = text[:1].upper() + text[1:]
    return text if text.endswith("?") else text + "."


def sentence(code: str, rng: random.Random, held: bool) -> str:
    """One sentence of the language, with its numbers and names."""
    grammar = load_grammar(code)
    for _ in range(TRIES):
        kind = rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        # Sums and names are held out by what fills them, everything else by its phrasing.
        if options := phrasings(code, kind, held and not kind.startswith(("sum", "name.tell"))):
            text = _filled(rng.choice(rng.choice(options)), kind, grammar, rng, held)
            if text:
                return written(text)
    raise LookupError(f"nothing can be said in {code}")


def _filled(text: str, kind: str, grammar: Grammar, rng: random.Random, held: bool) -> str:
    """The phrasing with numbers, a name and a tab in its places; "" where these belong to the other part."""
    a, b, n = rng.randrange(31), rng.randrange(31), rng.randint(2, 30)
    if "{a}" in text and is_held("stt", a, b) != held:
        return ""
    if kind.startswith("sum.sub"):
        a, b = max(a, b), min(a, b)
    name = rng.choice(rng.choice(grammar.phrases["names"].train[: 2 * MOST]))
    if "{x}" in text and is_held("stt", text, name) != held:
        return ""
    tab = rng.choice(rng.choice(list(grammar.tab_names.values())))
    if tab == "OCR":
        tab = rng.choice(("Chat", "Vision"))
    numbers = grammar.count_numbers if kind.startswith("count") else grammar.numbers
    places = {"{a}": numbers[a], "{b}": numbers[b], "{n}": numbers[n], "{x}": name, "{tab}": tab}
    for place, word in places.items():
        text = text.replace(place, word)
    return text if "{" not in text else ""


@cache
def capitals(code: str) -> frozenset[str]:
    """Names of people and tabs, which keep their capital within a sentence."""
    grammar = load_grammar(code)
    listed = [*grammar.phrases["names"].train, *grammar.tab_names.values()]
    return frozenset(name for names in listed for name in names)


@cache
def vocabulary(code: str) -> tuple[str, ...]:
    """Every word that training's sentences are made of, as it is written within one."""
    grammar = load_grammar(code)
    texts = [text for kind in WEIGHTS for texts in phrasings(code, kind, False) for text in texts]
    texts += [*grammar.numbers, *grammar.count_numbers]
    texts += [name for names in grammar.phrases["names"].train[: 2 * MOST] for name in names]
    texts += [name for names in grammar.tab_names.values() for name in names]
    words = (word for text in texts for word in words_within(text, code))
    return tuple(dict.fromkeys(word for word in words if "{" not in word))


def words_within(text: str, code: str) -> list[str]:
    """A sentence's words without the signs around them, the first as within a sentence."""
    words = [bare for word in text.split() if (bare := word.strip(" ,.!?"))]
    if words and words[0][1:].islower() and words[0] not in capitals(code):
        words[0] = words[0].lower()
    return words


def loose_words(code: str, rng: random.Random) -> str:
    """Pieces of sentences and single words in no order, as one sentence."""
    words: list[str] = []
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.6:
            words.append(rng.choice(vocabulary(code)))
        else:
            piece = words_within(sentence(code, rng, False), code)
            at, count = rng.randrange(len(piece)), rng.randint(1, 3)
            words += piece[at : at + count]
    return written(" ".join(words))


def sayings(
    seed: int, held: bool = False, held_voice: bool = False, loose: float = 0.0
) -> Iterator[Saying]:
    """Sentences without end, each with a voice; a share of them `loose_words`."""
    rng = random.Random(seed)
    while True:
        code = rng.choice(LANGUAGES)
        variant = rng.choice(HELD_VARIANTS if held_voice else VARIANTS)
        text = loose_words(code, rng) if rng.random() < loose else sentence(code, rng, held)
        yield Saying(
            text,
            code,
            rng.choice(VOICES[code]) + variant,
            rng.randint(130, 190) if rng.random() < 0.6 else 175,
            rng.randint(30, 75) if rng.random() < 0.6 else 50,
        )


@cache
def library() -> tuple[Any, list[bytes], int, Any]:
    """Espeak-ng's library, where its sound goes, at which rate; and the call that takes it, to keep it alive."""
    espeak = ctypes.CDLL("libespeak-ng.so.1")
    rate = espeak.espeak_Initialize(2, 0, None, 0)  # sound is handed over, at once
    parts: list[bytes] = []

    def take(values: Any, count: int, _: Any) -> int:
        if values and count:
            parts.append(ctypes.string_at(values, 2 * count))
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    call = kind(take)
    espeak.espeak_SetSynthCallback(call)
    return espeak, parts, rate, call


def say(saying: Saying) -> np.ndarray:
    """Espeak-ng saying it: mono float32 at `RATE`."""
    espeak, parts, rate, _ = library()
    parts.clear()
    espeak.espeak_SetVoiceByName(saying.voice.encode())
    espeak.espeak_SetParameter(1, saying.speed, 0)
    espeak.espeak_SetParameter(3, saying.pitch, 0)
    text = saying.text.encode() + b"\0"
    espeak.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None)
    values = np.frombuffer(b"".join(parts), np.int16).astype(np.float32) / 32768
    if not len(values):
        return values
    count = round(len(values) * RATE / rate)
    bands = np.fft.rfft(values)[: count // 2 + 1]
    return (np.fft.irfft(bands, count) * (count / len(values))).astype(np.float32)


@cache
def extractor() -> Any:
    """Faster-whisper's own features, so that training hears what the model will."""
    from faster_whisper.feature_extractor import FeatureExtractor

    return FeatureExtractor(MELS, RATE, HOP, WINDOW, FFT)


def powers_of(samples: np.ndarray) -> np.ndarray:
    """log10 of the mel bands' powers as float16 [MELS, frames], before they are bounded."""
    extract = extractor()
    window = np.hanning(FFT + 1)[:-1].astype("float32")
    padded = np.pad(samples.astype("float32"), (0, 160))
    bands = extract.stft(padded, FFT, HOP, window=window, return_complex=True)
    powers = extract.mel_filters @ (np.abs(bands[..., :-1].astype("complex64")) ** 2)
    return np.log10(np.maximum(powers, 1e-10))[..., :-1].astype(np.float16)


def speak(saying: Saying) -> Spoken | None:
    """The sentence as it sounds; None where it is longer than the window."""
    samples = say(saying)
    loud = np.flatnonzero(np.abs(samples) > 0.003)
    if not len(loud):
        return None
    samples = samples[max(0, loud[0] - 320) : loud[-1] + 800]
    if len(samples) > (WINDOW - 0.5) * RATE:
        return None
    return Spoken(saying.text, saying.language, powers_of(samples))


def fill_cache(folder: Path, count: int, seed: int, shard: int = 500) -> None:
    """Writes `count` spoken sentences in shards, one after another; shards that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-count // shard)):
        file = folder / f"{number:04}.npz"
        if file.is_file():
            continue
        source = sayings(seed * 10_000 + number, loose=LOOSE)
        spoken: list[Spoken] = []
        while len(spoken) < shard:
            if (one := speak(next(source))) is not None:
                spoken.append(one)
        ends = np.cumsum([one.powers.shape[1] for one in spoken])
        part = file.with_suffix(".part.npz")
        np.savez(
            part,
            powers=np.concatenate([one.powers for one in spoken], axis=1),
            ends=ends,
            texts=np.array([one.text for one in spoken]),
            languages=np.array([one.language for one in spoken]),
        )
        part.rename(file)


def read_shard(file: Path) -> list[Spoken]:
    with np.load(file) as held:
        parts = np.split(held["powers"], held["ends"][:-1], axis=1)
        texts, languages = held["texts"].tolist(), held["languages"].tolist()
    return [Spoken(t, code, p) for t, code, p in zip(texts, languages, parts, strict=True)]


def main() -> None:
    """Fills a cache by itself, beside a training that already reads it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fill_cache(given.folder, given.count, given.seed)


if __name__ == "__main__":
    main()
