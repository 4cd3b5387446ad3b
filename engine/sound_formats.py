"""Speech as files and streams: mono 16-bit PCM to WAV, MP3, Opus, FLAC, AAC or raw PCM, piece by piece.

Knows containers and codecs (through PyAV), no model and no transport.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engine.errors import BadFormat

SoundFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
UNKNOWN = 0xFFFFFFFF  # the size of a WAV whose end is not known yet


@dataclass(frozen=True, slots=True)
class Kind:
    """How a format is written: media type, file name's ending, container, codec, bits a second, its options."""

    media: str
    suffix: str
    container: str = ""
    codec: str = ""
    bits: int = 0
    options: tuple[tuple[str, str], ...] = ()
    sample: str = "s16"


# Streams have no way back to their beginning: no tables of contents, no lengths in their headers.
SOUND_FORMATS: Mapping[str, Kind] = {
    "wav": Kind("audio/wav", ".wav"),
    "mp3": Kind("audio/mpeg", ".mp3", "mp3", "libmp3lame", 64_000,
                (("write_xing", "0"), ("id3v2_version", "0")), "s16p"),
    "opus": Kind("audio/ogg", ".opus", "ogg", "libopus", 32_000, (("page_duration", "200000"),)),
    "aac": Kind("audio/aac", ".aac", "adts", "aac", 64_000, (), "fltp"),
    "flac": Kind("audio/flac", ".flac", "flac", "flac"),
    "pcm": Kind("audio/pcm", ".pcm"),
}  # fmt: skip


def sound_format(name: str) -> str:
    """The format of a name. Raises BadFormat for others; names those there are."""
    plain = name.strip().lower().lstrip(".")
    if plain in SOUND_FORMATS:
        return plain
    known = ", ".join(get_args(SoundFormat))
    raise BadFormat(
        f"'{name[:40]}' is no format of sound that is written here. Choose one of {known}.",
        param="response_format",
    )


def as_pcm(samples: Any) -> bytes:
    """Samples in -1..1, an array, as mono 16-bit PCM."""
    import numpy as np

    data: bytes = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    return data


def wav(pcm: bytes, rate: int) -> bytes:
    """A whole WAV file of mono 16-bit PCM."""
    return wav_header(rate, len(pcm)) + pcm


def wav_header(rate: int, size: int = UNKNOWN) -> bytes:
    """The 44 bytes before so many bytes of PCM; without a size as streams have it."""
    whole = UNKNOWN if size == UNKNOWN else size + 36
    parts = (b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", size)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *parts)


class SoundWriter:
    """Writes one stream of sound. `write` and `end` return the bytes that are ready; nothing is kept.

    Args:
        format: one of `SOUND_FORMATS`.
        rate: of the PCM that comes, in Hz.
    """

    def __init__(self, format: str, rate: int) -> None:
        self.format, self.rate = format, rate
        self.kind = SOUND_FORMATS[format]
        self._sink = _Sink()
        self._begun = False
        self._samples = 0
        self._output: Any = None
        self._stream: Any = None

    def write(self, pcm: bytes) -> bytes:
        """More sound."""
        if not self.kind.container:
            head = wav_header(self.rate) if self.format == "wav" and not self._begun else b""
            self._begun = True
            return head + pcm
        import av
        import numpy as np

        if self._output is None:
            self._open()
        if pcm:
            samples = np.frombuffer(pcm, "<i2")[None, :]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = self.rate, self._samples
            self._samples += samples.shape[1]
            self._output.mux(self._stream.encode(frame))
        return self._sink.taken()

    def end(self) -> bytes:
        """The last bytes."""
        if not self.kind.container:
            return b"" if self._begun else self.write(b"")
        if self._output is None:
            self._open()
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._sink.taken()

    def _open(self) -> None:
        import av

        kind = self.kind
        # Without a way to flush, Ogg would hold back a whole page of sound.
        self._output = av.open(
            self._sink,
            "w",
            format=kind.container,
            options={**dict(kind.options), "flush_packets": "1"},
        )
        self._stream = self._output.add_stream(kind.codec, rate=self.rate, layout="mono")
        self._stream.format = kind.sample
        if kind.bits:
            self._stream.bit_rate = kind.bits


class _Sink:
    """A file that is only written to, from its beginning to its end."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data, self._data = bytes(self._data), bytearray()
        return data


def encode(pcm: bytes, rate: int, format: str) -> bytes:
    """A whole file of mono 16-bit PCM."""
    if format == "wav":
        return wav(pcm, rate)
    writer = SoundWriter(format, rate)
    return writer.write(pcm) + writer.end()
