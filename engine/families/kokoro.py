"""Kokoro: a light voice of high quality, run from its published ONNX files with phonemes from eSpeak NG.

Its notation of phonemes, its table of tokens and its style vectors are what its files and their makers' notes say;
Japanese and Chinese, whose phonemes eSpeak NG does not know well, are left to other voices.
"""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint
from engine.errors import InferenceFailed, LoadFailed, NotDownloaded, Unavailable
from engine.families._speaking import Speaker
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest
from engine.settings import Settings
from engine.voices import Voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPECS: tuple[ModelSpec, ...] = ()
MODELS = ("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_quantized.onnx", "model.onnx")
WIDTH = 256  # numbers of a style vector; a voice has one for each count of tokens
LOOK = 0.05  # seconds between two looks whether to go on
# First letter of a voice's name: language, place, eSpeak NG's voice.
PLACES = {
    "a": ("en", "en-US", "en-us"), "b": ("en", "en-GB", "en-gb"), "e": ("es", "es", "es"),
    "f": ("fr", "fr-FR", "fr-fr"), "h": ("hi", "hi", "hi"), "i": ("it", "it", "it"),
    "p": ("pt", "pt-BR", "pt-br"),
}  # fmt: skip
FIRST = ("af_heart", "ff_siwis", "pf_dora", "ef_dora", "if_sara", "hf_alpha")
NAMES = {
    "ff_siwis": ("Elise",), "af_alloy": ("alloy",), "am_echo": ("echo",), "bm_fable": ("fable",),
    "am_onyx": ("onyx",), "af_nova": ("nova",), "af_bella": ("shimmer",), "af_sarah": ("sage",),
    "af_aoede": ("coral",), "am_michael": ("ash",), "bm_george": ("ballad",), "am_puck": ("verse",),
    "af_heart": ("marin",), "am_adam": ("cedar",),
}  # fmt: skip
# eSpeak NG's phonemes (with "^" between the letters of one) as the model was taught them.
COMMON = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y", "d^z": "ʣ", "d^ʒ": "ʤ",
    "t^s": "ʦ", "t^ʃ": "ʧ",
}  # fmt: skip
ENGLISH = {
    **COMMON, "ʔˌn\u0329": "tᵊn", "ʔn\u0329": "tᵊn", "ə^l": "ᵊl", "ʲO": "jO", "ʲQ": "jQ", "ʲ": "",
    "ɚ": "əɹ", "r": "ɹ", "x": "k", "ç": "k", "ɐ": "ə", "ɬ": "l", "\u0303": "",
}  # fmt: skip
AMERICAN = {**ENGLISH, "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}
BRITISH = {**ENGLISH, "e^ə": "ɛː", "iə": "ɪə"}
_MARKS = re.compile(r"\s*([;:,.!?…—]+)(?=\s|$)\s*")


def load(spec: ModelSpec, settings: Settings) -> Kokoro:
    """The speaker. Raises NotDownloaded, LoadFailed: its files are not here, or broken."""
    folder = find_checkpoint(spec)
    file = next((folder / name for name in MODELS if (folder / name).is_file()), None)
    found = voices(spec)
    if file is None or not found:
        raise NotDownloaded(
            f"The files of '{spec.id}' are not all here. Get it on the Models tab once more."
        )
    try:
        vocabulary = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
        tokens = {str(sign): int(number) for sign, number in vocabulary.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadFailed(f"The tokens of '{spec.id}' cannot be read. Get it once more.") from error
    return Kokoro(spec, found, _open(file, spec), tokens, folder)


def recognise(folder: Path) -> dict[str, Any] | None:
    """The fields of a row for a folder in Kokoro's layout; None for every other."""
    file = next((name for name in MODELS if (folder / name).is_file()), "")
    voices = folder / "voices"
    if not file or not (folder / "tokenizer.json").is_file() or not voices.is_dir():
        return None
    letters = {path.name[0] for path in voices.glob("??_*.bin")} & set(PLACES)
    if not letters:
        return None
    languages = tuple(sorted({PLACES[letter][0] for letter in letters}))
    needs = ["tokenizer.json", file]
    does = frozenset({"speak"})
    return {"does": does, "languages": languages, "options": {"everyday": True, "needs": needs}}


def _open(file: Path, spec: ModelSpec) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    # Its errors share no class of their own; a broken file has many.
    except Exception as error:
        raise LoadFailed(f"The weights of '{spec.id}' cannot be read. Get it once more.") from error
    names = {one.name for one in session.get_inputs()}
    if not names & {"input_ids", "tokens"} or not {"style", "speed"} <= names:
        raise LoadFailed(f"'{spec.id}' is no Kokoro model in ONNX. Choose another.")
    return session


def voices(spec: ModelSpec) -> tuple[Voice, ...]:
    """The voices whose files are here. Raises NotDownloaded."""
    folder = find_checkpoint(spec) / "voices"
    names = sorted(file.stem for file in folder.glob("*.bin")) if folder.is_dir() else []
    ordered = [*(n for n in FIRST if n in names), *(n for n in names if n not in FIRST)]
    return tuple(
        Voice(
            name, spec.id, PLACES[name[0]][0], PLACES[name[0]][1], name[3:].capitalize(),
            {"f": "female", "m": "male"}.get(name[1], ""), aliases=NAMES.get(name, ()),
        )
        for name in ordered
        if re.fullmatch(r"[a-z][fm]_\w+", name) and name[0] in PLACES
    )  # fmt: skip


class Kokoro(Speaker):
    """Speaks by onnxruntime, on a thread of its own, so that others are served meanwhile."""

    rate = 24_000
    speeds = (0.5, 2.0)
    longest = 220

    def __init__(
        self, spec: ModelSpec, voices: tuple[Voice, ...], session: Any, tokens: dict[str, int], folder: Path
    ) -> None:  # fmt: skip
        super().__init__(spec, voices)
        self._session, self._tokens, self._folder = session, tokens, folder
        self._styles: dict[str, NDArray[Any]] = {}
        self._ids = next(n.name for n in session.get_inputs() if n.name in ("input_ids", "tokens"))
        self._thread = ThreadPoolExecutor(1, "kokoro")

    def close(self) -> None:
        """Give everything back."""
        self._thread.shutdown()
        self._styles.clear()
        self._session = None

    def prepare(self, request: SpeakRequest, voice: Voice, language: str, emit: Emit) -> Voice:
        """The voice, whose style vectors are read once."""
        import numpy as np

        if voice.name not in self._styles:
            file = self._folder / "voices" / f"{voice.name}.bin"
            style = np.fromfile(file, "<f4")
            if not len(style) or len(style) % WIDTH:
                raise LoadFailed(f"The voice '{voice.name}' is damaged. Get the model once more.")
            self._styles[voice.name] = style.reshape(-1, WIDTH)
        return voice

    def utter(self, text: str, prepared: Voice, speed: float, emit: Emit) -> NDArray[Any]:
        """See `Speaker`."""
        import numpy as np

        styles = self._styles[prepared.name]
        signs = phonemes(text, prepared.name[0])
        ids = [self._tokens[sign] for sign in signs if sign in self._tokens]
        if not ids:
            return np.zeros(0, np.float32)
        most = len(styles) - 1
        waves = []
        for start in range(0, len(ids), most):  # rare: a sentence has half as many
            part = ids[start : start + most]
            inputs = {
                self._ids: np.array([[0, *part, 0]], np.int64),
                "style": styles[len(part)][None, :],
                "speed": np.array([speed], np.float32),
            }
            waves.append(self._run(inputs, emit))
        return np.concatenate(waves)

    def _run(self, inputs: dict[str, Any], emit: Emit) -> NDArray[Any]:
        """One pass; a stop ends it within."""
        import numpy as np
        import onnxruntime

        how = onnxruntime.RunOptions()
        work: Future[Any] = self._thread.submit(self._session.run, None, inputs, how)
        try:
            while True:
                try:
                    return np.asarray(work.result(LOOK)[0], np.float32).reshape(-1)
                except TimeoutError:
                    emit(None)
        except BaseException:
            how.terminate = True
            raise


def phonemes(text: str, place: str) -> str:
    """A sentence in the model's phonemes, its marks kept: they shape the melody.

    Args:
        place: the first letter of a voice's name.

    Raises:
        Unavailable: espeak-ng is missing. InferenceFailed: it failed.
    """
    pieces = _MARKS.split(text)
    spoken, marks = pieces[::2], pieces[1::2]
    lines = _lines([piece for piece in spoken if piece.strip()], PLACES[place][2])
    table = {"a": AMERICAN, "b": BRITISH}.get(place, COMMON)
    told = ""
    for number, piece in enumerate(spoken):
        if piece.strip():
            told += " " * bool(told) + _noted(lines.pop(0), table)
        if number < len(marks):
            told += marks[number][:1]
    return told


def _lines(pieces: list[str], voice: str) -> list[str]:
    """The phonemes of each piece."""
    found = []
    for piece in pieces:
        try:
            done = subprocess.run(
                ["espeak-ng", "-q", "--ipa", "--tie=^", "-b", "1", "--stdin", "-v", voice],
                input=piece.replace("[[", "[ ["), capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(
                "The program espeak-ng is missing on this machine. On Debian: apt-get install espeak-ng."
            ) from error
        except subprocess.SubprocessError as error:
            raise InferenceFailed("espeak-ng could not tell how this text is said.") from error
        found.append(" ".join(done.stdout.split()))
    return found


def _noted(line: str, table: dict[str, str]) -> str:
    line = re.sub(r"\([a-z-]{2,8}\)", "", line)  # marks of words in another language
    for sign in sorted(table, key=len, reverse=True):
        line = line.replace(sign, table[sign])
    return line.replace("^", "").replace("_", "").replace("\u0329", "")
