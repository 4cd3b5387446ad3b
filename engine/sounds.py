"""Recordings and films as mono samples: what they are, how long, decoded in a stream at any rate.

A leaf: knows files of sound, no model. Bounded in seconds, and in memory whatever their length.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import AtelierError, BadFormat, BadValue, TooLarge

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # samples a second, as models of speech hear
LONGEST = 12 * 3600.0  # seconds of sound that are taken in
BLOCK = 5.0  # seconds of sound in a decoded piece, about
# Demuxers that read this file and nothing else: playlists and their kin would open what they name.
FORMATS = (
    "aac,ac3,eac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,flac,flv,gsm,iff,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpc,mpc8,mpeg,mpegts,nut,oga,ogg,rm,sox,tak,tta,voc,w64,wav,wv,xwma"
)
ACCEPTED = "WAV, MP3, FLAC, OGG, Opus, M4A, AAC, WebM, MP4 and what else ffmpeg reads"


@dataclass(frozen=True, slots=True)
class Sound:
    """What a file of sound is.

    Args:
        seconds: its length; what its header says, where that can be.
        kind: "audio", or "video" for a film whose sound is used.
        format: the container's short name ("wav", "mp3", "matroska").
        rate, channels: of its sound; samples a second.
    """

    seconds: float
    kind: str
    format: str
    rate: int
    channels: int


def probe(data: bytes, param: str = "audio") -> Sound:
    """What a recording is, from its header and the first sound that can be decoded.

    Raises:
        BadValue: it is empty, or a file without sound. BadFormat: it is no recording, or broken.
        TooLarge: it is longer than `LONGEST`.
    """
    with _opened(data, param) as (container, stream):
        seconds = _seconds(container, stream, data)
        if seconds > LONGEST:
            raise _too_long(param)
        found = Sound(
            seconds=seconds,
            kind="video" if _films(container) else "audio",
            format=str(container.format.name).partition(",")[0],
            rate=int(stream.rate or 0),
            channels=int(stream.channels or 0),
        )
        if not any(frame.samples for frame in _frames(container, stream)):
            raise _broken(param)
    return found


def decode(data: bytes, rate: int = RATE, param: str = "audio") -> Iterator[np.ndarray]:
    """The sound of a recording or film in pieces of about `BLOCK` seconds: mono float32 in -1..1 at `rate`.

    What is broken in the middle is left out.

    Raises:
        BadValue, BadFormat, TooLarge: as `probe`, at the first piece or where it turns out.
    """
    import numpy as np

    held: list[Any] = []
    waiting = total = 0
    with _opened(data, param) as (container, stream):
        for samples in _mono(_frames(container, stream), rate):
            held.append(samples)
            waiting += len(samples)
            total += len(samples)
            if total > LONGEST * rate:
                raise _too_long(param)
            if waiting >= BLOCK * rate:
                yield np.concatenate(held)
                held, waiting = [], 0
    if not total:
        raise _broken(param)
    if held:
        yield np.concatenate(held)


def read_sound(data: bytes, rate: int = RATE, param: str = "audio") -> np.ndarray:
    """The whole sound as one array; for what is known to be short. Raises as `decode`."""
    import numpy as np

    whole: np.ndarray = np.concatenate(list(decode(data, rate, param)))
    return whole


def _mono(frames: Iterator[Any], rate: int) -> Iterator[np.ndarray]:
    """The frames mixed to one channel at `rate`; a stream that changes its layout midway goes on."""
    from av.audio.resampler import AudioResampler

    shape: tuple[Any, ...] = ()
    mixer: Any = None
    for frame in frames:
        if not frame.samples or not frame.sample_rate:
            continue
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != shape:
            if mixer is not None:
                yield from _told(mixer.resample(None))
            shape, mixer = now, AudioResampler(format="flt", layout="mono", rate=rate)
        frame.pts = None  # gaps in the clock of a cut stream are not filled
        yield from _told(mixer.resample(frame))
    if mixer is not None:
        yield from _told(mixer.resample(None))


def _told(frames: list[Any]) -> Iterator[np.ndarray]:
    """The samples of resampled frames, all finite and in bounds."""
    import numpy as np

    for frame in frames:
        samples = frame.to_ndarray().reshape(-1)
        if len(samples):
            yield np.clip(np.nan_to_num(samples), -1.0, 1.0)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; packets that cannot be decoded are left out."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):  # the end, or nothing readable follows
            return
        with suppress(av.error.FFmpegError):
            yield from packet.decode()


def _seconds(container: Any, stream: Any, data: bytes) -> float:
    """The length: what the header says, else what its packets last."""
    import av

    width = _pcm_bytes(stream)
    if stream.duration is not None and stream.time_base:
        told = float(stream.duration * stream.time_base)
    else:
        told = (container.duration or 0) / av.time_base
    if width:  # a header may promise what was cut off
        told = min(told or float("inf"), len(data) / width)
    if told > 0:
        return told
    for packet in container.demux(stream):
        if packet.pts is not None and packet.time_base:
            told = max(told, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    container.seek(0)
    return told


def _pcm_bytes(stream: Any) -> float:
    """Bytes of a second of plain samples; 0 for sound that is compressed."""
    name = stream.codec_context.name
    if not name.startswith("pcm_"):
        return 0.0
    bits = int("".join(c for c in name.removeprefix("pcm_").partition("_")[0] if c.isdigit()) or 8)
    return float((stream.rate or 0) * (stream.channels or 0) * bits) / 8


def _films(container: Any) -> bool:
    """Whether there is a moving picture; a cover of an album is none."""
    import av

    still = av.stream.Disposition.attached_pic
    return any(not (video.disposition & still) for video in container.streams.video)


@contextmanager
def _opened(data: bytes, param: str) -> Iterator[tuple[Any, Any]]:
    """A file's container and its first sound. Foreign errors become ours: broken files fail in any way."""
    if not data:
        raise BadValue("The recording is empty. Send a file with sound in it.", param=param)
    try:
        import av

        options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        with av.open(io.BytesIO(data), options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BadValue(
                    "There is no sound in this file. Send a recording, or a film with sound.",
                    param=param,
                )
            stream = container.streams.audio[0]
            stream.thread_type = "NONE"  # the cores are the model's
            yield container, stream
    except AtelierError:
        raise
    except Exception as error:
        raise _broken(param) from error


def _broken(param: str) -> BadFormat:
    return BadFormat(
        f"This is no recording that can be read, or it is broken. Accepted: {ACCEPTED}.",
        param=param,
    )


def _too_long(param: str) -> TooLarge:
    return TooLarge(
        f"The recording is longer than {LONGEST / 3600:.0f} hours. Cut it in parts.", param=param
    )
