"""What all families that speak have in common: text to sentences, sentences to even sound, progress and counts.

A family brings a voice's raw sound for one sentence; knows nothing of queues and formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.errors import BadValue
from engine.events import Audio, Done, Progress
from engine.families._sound import RATE, Levels, resample, stretch, trim
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest
from engine.sentences import LONGEST, plain, said, split
from engine.sound_formats import as_pcm
from engine.voices import Voice, guess_language, spoken_language, voice_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wave: TypeAlias = NDArray[Any]

PAUSE = 0.26  # seconds after a sentence, at the voice's own speed
BREAK = 0.3  # seconds of silence where there is nothing to say
END = 0.05


class Speaker:
    """A loaded model that speaks. A speak request is answered by Audio and Progress for each sentence, and `Done`.

    Args:
        rate: of what `utter` gives, in Hz.
        speeds: which speeds `utter` does by itself; beyond them the sound is stretched.
        longest: characters of a sentence that it is asked for at once.
        clones: whether it speaks with the voice of a recording.
    """

    rate = RATE
    speeds = (1.0, 1.0)
    longest = LONGEST
    clones = False

    def __init__(self, spec: ModelSpec, voices: Sequence[Voice]) -> None:
        self.spec = spec
        self.voices = tuple(voices)
        self._levels = Levels()

    def speak(self, request: SpeakRequest, emit: Emit) -> None:
        """Say a text sentence by sentence.

        Raises:
            BadValue: there is no text, its language cannot be spoken, or a voice is to be cloned that cannot.
            Unknown: there is no such voice.
        """
        text = plain(request.text)
        if not text:
            raise BadValue("There is no text to speak. Send some.", param="text")
        if request.reference is not None and not self.clones:
            raise BadValue(
                f"'{self.spec.id}' cannot speak with the voice of a recording. Choose a model that clones.",
                param="reference",
            )
        language = spoken_language(request.language, self._own_codes())
        voice = self.voice(request, language, text)
        language = language or voice.language or guess_language(text)
        prepared = self.prepare(request, voice, language, emit)
        sentences = split(text, self.longest_of(language))
        lengths = [len(sentence.text) for sentence in sentences]
        whole, total, before = sum(lengths), len(request.text), 0
        for number, sentence in enumerate(sentences, 1):
            emit(None)
            last = number == len(sentences)
            pause = END if last else PAUSE * sentence.rest / request.speed
            wave = self._said(sentence.text, prepared, voice, request.speed, emit)
            sound = as_pcm(wave) + bytes(2 * int(pause * RATE))
            done = total if last else round(total * (sum(lengths[:number])) / whole)
            emit.count(characters=done - before, audio_s=len(sound) / 2 / RATE)
            before = done
            emit(Audio(sound, RATE))
            emit(Progress(done, total))
        emit(Done())

    def _said(self, text: str, prepared: Any, voice: Voice, speed: float, emit: Emit) -> Wave:
        """One sentence: trimmed, at our rate, as fast and as loud as it is to be."""
        import numpy as np

        if not self.says(text):
            return np.zeros(int(BREAK * RATE), np.float32)
        low, high = self.speeds
        own = min(high, max(low, speed))
        wave = self.utter(text, prepared, own, emit)
        emit(None)
        wave = stretch(resample(trim(wave, self.rate), self.rate), RATE, speed / own)
        if not len(wave):
            return np.zeros(int(BREAK * RATE), np.float32)
        return self._levels.even(wave, RATE, voice.name)

    def longest_of(self, language: str) -> int:
        """Characters of a sentence of a language that it is asked for at once."""
        return self.longest

    def _own_codes(self) -> frozenset[str]:
        return frozenset(voice.language for voice in self.voices) - {""}

    def voice(self, request: SpeakRequest, language: str, text: str) -> Voice:
        """The voice that is meant; the text's language counts where none is named."""
        wanted = language
        if not request.voice and not language:
            wanted = guess_language(text)
            able = self._own_codes()
            if able and wanted not in able:
                wanted = ""
        return voice_of(self.voices, request.voice, wanted, self.spec.id)

    def says(self, text: str) -> bool:
        """Whether anything of a sentence can be said."""
        return said(text)

    def prepare(self, request: SpeakRequest, voice: Voice, language: str, emit: Emit) -> Any:
        """What `utter` needs for every sentence of a request."""
        return voice, language

    def utter(self, text: str, prepared: Any, speed: float, emit: Emit) -> Wave:
        """A sentence's raw sound at `rate`, float32. Asks `emit(None)` whether to go on while it works."""
        raise NotImplementedError
