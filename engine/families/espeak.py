"""eSpeak NG: the voice that always works, without a download, in more than a hundred languages.

It runs as a program, a child for each sentence: a program under the GPL beside ours, which a bad text can end alone
and a stop ends within a sentence.
"""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engine.errors import InferenceFailed, Unavailable
from engine.families._speaking import Speaker
from engine.languages import LANGUAGES
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest
from engine.settings import Settings
from engine.voices import Voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = "espeak-ng"
_KNOWN = tuple(code for code in LANGUAGES if code not in {
    "sr-latn", "zh-hant", "tg", "mn", "ps", "ckb", "yi", "sa", "lo", "km", "bo", "dz", "ti", "dv", "syr", "iu", "fo",
    "gl", "oc", "co", "br", "fy", "jv", "su", "tl", "ceb", "yo", "to",
})  # fmt: skip
SPECS = (
    ModelSpec(
        "espeak-ng", frozenset({"speak"}), "espeak", title="eSpeak NG", licence="GPL-3.0",
        memory=20_000_000, languages=_KNOWN, aliases=("espeak",), starter=True,
    ),
)  # fmt: skip
WORDS = 175  # a minute, the voice's own speed
SLOWEST, FASTEST = 80 / WORDS, 450 / WORDS
PIECE = 16_384  # bytes between two looks whether to go on: a third of a second of sound
HEADER = 44
# Which voice speaks a language unasked, where it has several: the place that most of its speakers know.
FIRST = {
    "en": "en-us",
    "fr": "fr-fr",
    "es": "es",
    "pt": "pt",
    "vi": "vi",
    "zh": "cmn",
    "hy": "hy",
    "ru": "ru",
}
CODES = {"cmn": "zh", "nb": "no", "grc": "grc", "hak": "hak", "yue": "yue"}
ELISE = "Elise"
ELISE_IS = "fr-fr+f3"
# The names that OpenAI's clients know, as ways of speaking in any language.
MANNERS = {
    "alloy": "f2", "ash": "m3", "ballad": "m7", "coral": "f3", "echo": "m1", "fable": "m5", "nova": "f4",
    "onyx": "m4", "sage": "f1", "shimmer": "f5", "verse": "m6", "marin": "f2", "cedar": "m2",
}  # fmt: skip
_ROW = re.compile(r"^\s*(\d+)\s+(\S+)\s+\S*/([MF-])\s+(\S+)\s+(\S+)")
_VARIANT = re.compile(r"\+(\w{1,20})$")


def load(spec: ModelSpec, settings: Settings) -> Espeak:
    """The speaker. Raises Unavailable where the program is missing."""
    found = voices(spec)
    if not found:
        raise Unavailable(
            "The program espeak-ng is missing on this machine. On Debian: apt-get install espeak-ng."
        )
    return Espeak(spec, found)


def voices(spec: ModelSpec) -> tuple[Voice, ...]:
    """Its voices; none where the program is missing."""
    return _listed(spec.id)


@lru_cache(maxsize=4)
def _listed(model: str) -> tuple[Voice, ...]:
    try:
        done = subprocess.run(
            [PROGRAM, "--voices"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [_voice(match, model) for match in map(_ROW.match, done.stdout.splitlines()) if match]
    named = {voice.name: voice for voice in rows}
    if not named:
        return ()
    first = [named[name] for name in FIRST.values() if name in named]
    elise = Voice(ELISE, model, "fr", "fr-FR", "Elise · French (France)", "female")
    manners = [
        Voice(name, model, "", "", name.capitalize(), "female" if manner[0] == "f" else "male")
        for name, manner in MANNERS.items()
    ]
    others = sorted((v for v in named.values() if v not in first), key=lambda v: v.title)
    return (elise, *first, *others, *manners)


def _voice(match: re.Match[str], model: str) -> Voice:
    name, gender, title = match[2], match[3], match[4].replace("_", " ").strip()
    base = name.split("-")[0]
    place = name.split("-")[1].upper() if re.fullmatch(r"[a-z]{2,3}-[a-z0-9]{2,3}", name) else ""
    locale = f"{base}-{place}" if place else base
    return Voice(
        name, model, CODES.get(base, base), locale, re.sub(r"\((.)", lambda m: f"({m[1]}", title),
        {"M": "male", "F": "female"}.get(gender, ""),
    )  # fmt: skip


class Espeak(Speaker):
    """Speaks by the program espeak-ng."""

    rate = 22_050
    speeds = (SLOWEST, FASTEST)
    longest = 600  # it is quick, and a cut within a sentence is heard

    def memory(self) -> int:
        """Bytes that it holds: none to speak of between two sentences."""
        return 0

    def close(self) -> None:
        """Nothing is kept."""

    def voice(self, request: SpeakRequest, language: str, text: str) -> Voice:
        """As any speaker's, and with espeak's own variants ("fr-fr+f4") and places ("pt-BR")."""
        name = request.voice
        if not name and "-" in request.language:
            place = request.language.strip().lower().replace("_", "-")
            name = place if any(v.name == place for v in self.voices) else ""
        variant = _VARIANT.search(name)
        plain = name[: variant.start()] if variant else name
        asked = request.model_copy(update={"voice": plain})
        found = super().voice(asked, language, text)
        if variant is None:
            return found
        return Voice(f"{found.name}{variant[0]}", found.model, found.language, found.locale)

    def says(self, text: str) -> bool:
        """It knows the names of emoji and signs."""
        return any(not letter.isspace() for letter in text)

    def prepare(self, request: SpeakRequest, voice: Voice, language: str, emit: Emit) -> str:
        """The voice as the program calls it."""
        if voice.name == ELISE:
            return ELISE_IS
        if voice.language:
            return voice.name
        base = next(
            (v.name for v in self.voices if v.language == language and v.name != ELISE), "en-us"
        )
        return f"{base}+{MANNERS[voice.name]}"

    def utter(self, text: str, prepared: str, speed: float, emit: Emit) -> NDArray[Any]:
        """See `Speaker`. Raises InferenceFailed where the program fails."""
        import numpy as np

        words = round(WORDS * speed)
        command = [PROGRAM, "--stdin", "--stdout", "-b", "1", "-v", prepared, "-s", str(words)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child:
            try:
                assert child.stdin is not None and child.stdout is not None
                # It reads everything before it speaks; "[[" would mean that phonemes follow.
                child.stdin.write(text.replace("[[", "[ [").encode())
                child.stdin.close()
                data = bytearray()
                while piece := child.stdout.read(PIECE):
                    data += piece
                    emit(None)
            except BrokenPipeError as error:
                raise InferenceFailed(
                    "espeak-ng ended before it had the text. Try again."
                ) from error
            finally:
                child.kill()
        sound = bytes(data[HEADER : len(data) - len(data) % 2])
        if not sound and child.returncode not in (0, -9):
            raise InferenceFailed("espeak-ng could not say this text. Try another voice.")
        return np.frombuffer(sound, "<i2").astype(np.float32) / 32768
