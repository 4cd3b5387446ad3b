"""The sample recordings of the Speech tab: `python -m starter.sample_sounds` writes them.

A few sentences in each language, said by espeak-ng with a pause between them, as MP3.
"""

import io
from pathlib import Path

import av
import numpy as np

from starter.stt_data import RATE, Saying, say

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "samples"
PAUSE = 0.9  # seconds
SAID = {
    "en": ("en-gb", ("Hello.", "My name is Alice.", "What is seven plus five?", "Count to ten.", "Thank you.")),
    "fr": ("fr", ("Bonjour.", "Je m'appelle Louise.", "Combien font sept plus cinq?", "Compte jusqu'à dix.", "Merci.")),
    "pt": ("pt", ("Olá.", "Meu nome é Ana.", "Quanto é sete mais cinco?", "Conta até dez.", "Obrigado.")),
    "ru": ("ru", ("Привет.", "Меня зовут Анна.", "Сколько будет семь плюс пять?", "Посчитай до десяти.", "Спасибо.")),
}  # fmt: skip


def spoken(code: str) -> np.ndarray:
    """The sentences of a language, one after another."""
    voice, sentences = SAID[code]
    parts: list[np.ndarray] = []
    for text in sentences:
        parts += [say(Saying(text, code, voice, 160, 50)), np.zeros(int(PAUSE * RATE), np.float32)]
    return np.concatenate(parts[:-1])


def as_mp3(samples: np.ndarray) -> bytes:
    """Mono samples at `RATE` as a small MP3."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", rate=RATE)
        stream.bit_rate = 32_000
        stream.layout = "mono"
        values = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
        frame.sample_rate = RATE
        resampled = av.AudioResampler(format="s16p", layout="mono", rate=RATE).resample(frame)
        for one in [*resampled, None]:
            file.mux(stream.encode(one))
    return out.getvalue()


def main() -> None:
    """Writes one recording for each language."""
    for code in SAID:
        data = as_mp3(spoken(code))
        (FOLDER / f"speech-{code}.mp3").write_bytes(data)
        print(code, len(data), "bytes", f"{len(spoken(code)) / RATE:.1f} s")


if __name__ == "__main__":
    main()
