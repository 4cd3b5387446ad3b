"""Sound as float32 samples `[n]` in -1..1: other rates, other speeds, even loudness, no silence at the ends.

Knows waves and no voice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wave: TypeAlias = NDArray[Any]

RATE = 24_000  # Hz of all speech that leaves the engine
LOUDNESS = -20.0  # LUFS that speech is brought to
CEILING = 0.89  # -1 dBFS: louder peaks are rounded off
KNEE = 0.7  # from where on
MOST_GAIN = 30.0  # dB: what is nearly silent stays quiet
MEMORY = 30.0  # seconds of a voice that its loudness is known by
BLOCK, STEP = 0.4, 0.1  # seconds, as ITU-R BS.1770 has it
GATE = -70.0  # LUFS below which a block is silence
BELOW = 10.0  # LU below the rest that a block is left out
QUIET = 0.003  # of the peak (-50 dB): silence at the ends
HEAD, TAIL = 0.03, 0.06  # seconds that are left of it
FADE = 0.005


def resample(wave: Wave, rate: int, to: int = RATE) -> Wave:
    """The same sound at another rate, band-limited."""
    if rate == to or not len(wave):
        return wave
    import av
    import numpy as np

    worker = av.AudioResampler(format="flt", layout="mono", rate=to)
    frame = _frame(wave, rate)
    parts = [out.to_ndarray()[0] for each in (frame, None) for out in worker.resample(each)]
    wanted = round(len(wave) * to / rate)
    return np.concatenate(parts)[:wanted]


def stretch(wave: Wave, rate: int, speed: float) -> Wave:
    """The same sound `speed` times as fast, its pitch unchanged."""
    if abs(speed - 1) < 0.01 or not len(wave):
        return wave
    import av
    import numpy as np

    graph = av.filter.Graph()
    chain = [graph.add_abuffer(sample_rate=rate, format="flt", layout="mono")]
    factors = [0.5, speed / 0.5] if speed < 0.5 else [speed]
    chain += [graph.add("atempo", f"{factor:.6f}") for factor in factors]
    chain += [
        graph.add("aformat", "sample_fmts=flt:channel_layouts=mono"),
        graph.add("abuffersink"),
    ]
    for one, other in pairwise(chain):
        one.link_to(other)
    graph.configure()
    graph.push(_frame(wave, rate))
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    return np.concatenate(parts) if parts else wave[:0]


def _frame(wave: Wave, rate: int) -> Any:
    import av
    import numpy as np

    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(wave, np.float32)[None, :], format="flt", layout="mono"
    )
    frame.sample_rate, frame.pts = rate, 0
    return frame


def trim(wave: Wave, rate: int) -> Wave:
    """Without the silence at both ends, but for a little, which fades."""
    import numpy as np

    peak = float(np.abs(wave).max(initial=0.0))
    if peak < 1e-4:
        return wave[:0]
    loud = np.flatnonzero(np.abs(wave) > peak * QUIET)
    first = max(0, int(loud[0] - HEAD * rate))
    last = min(len(wave), int(loud[-1] + TAIL * rate))
    cut = wave[first:last].copy()
    count = min(int(FADE * rate), len(cut) // 2)
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    cut[:count] *= ramp
    cut[len(cut) - count :] *= ramp[::-1]
    return cut


def loudness(wave: Wave, rate: int) -> float:
    """Loudness in LUFS after ITU-R BS.1770-4 (K-weighted, gated); what is shorter than a block counts as one."""
    import numpy as np

    if not len(wave):
        return -200.0
    size = 1 << max(10, (len(wave) - 1).bit_length())
    heard = np.fft.irfft(np.fft.rfft(wave, size) * _weights(size, rate), size)[: len(wave)]
    block = min(len(wave), int(BLOCK * rate))
    sums = np.concatenate([[0.0], np.cumsum(heard.astype(np.float64) ** 2)])
    starts = np.arange(0, len(wave) - block + 1, max(1, int(STEP * rate)))
    power = (sums[starts + block] - sums[starts]) / block
    power = power[power > 10 ** ((GATE + 0.691) / 10)]
    if not len(power):
        return -200.0
    power = power[power >= power.mean() * 10 ** (-BELOW / 10)]
    return float(-0.691 + 10 * np.log10(power.mean()))


@lru_cache(maxsize=16)
def _weights(size: int, rate: int) -> Wave:
    """What K-weighting multiplies the frequencies of a transform with: the magnitudes of its two filters."""
    import numpy as np

    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    total = np.ones(len(z))
    for frequency, quality, gain in ((1681.974, 0.7072, 3.99984), (38.13547, 0.5003, None)):
        k = np.tan(np.pi * frequency / rate)
        a0 = 1 + k / quality + k * k
        a = (1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0)
        if gain is None:
            b = (1.0, -2.0, 1.0)
        else:
            high = 10 ** (gain / 20)
            band = high**0.4996667741545416
            b = (
                (high + band * k / quality + k * k) / a0,
                2 * (k * k - high) / a0,
                (high - band * k / quality + k * k) / a0,
            )
        total *= np.abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z))
    return total.astype(np.float32)


@dataclass(slots=True)
class Levels:
    """The loudness of each voice, learnt while it speaks: a gain that hardly moves, so nothing pumps."""

    _known: dict[str, tuple[float, float]] = field(default_factory=dict)  # power, seconds

    def even(self, wave: Wave, rate: int, voice: str) -> Wave:
        """The wave at the loudness that all voices have."""
        import numpy as np

        now = loudness(wave, rate)
        power, seconds = self._known.get(voice, (0.0, 0.0))
        if now > GATE:
            length = len(wave) / rate
            power = (power * seconds + 10 ** (now / 10) * length) / (seconds + length)
            seconds = min(MEMORY, seconds + length)
            self._known[voice] = power, seconds
        if not power:
            return wave
        gain = min(MOST_GAIN, LOUDNESS - 10 * float(np.log10(power)))
        return soften(wave * np.float32(10 ** (gain / 20)))


def soften(wave: Wave) -> Wave:
    """Peaks above the knee rounded off below the ceiling; the rest is left as it is."""
    import numpy as np

    over = np.abs(wave) - KNEE
    if float(over.max(initial=-1.0)) <= 0:
        return wave
    room = CEILING - KNEE
    rounded = np.sign(wave) * (KNEE + room * np.tanh(over / room))
    return np.where(over > 0, rounded, wave).astype(np.float32)
