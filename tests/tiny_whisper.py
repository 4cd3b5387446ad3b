"""Random Whisper checkpoints in CTranslate2's format, of exactly the real class, vocabulary and files."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

MARKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def whisper_tokenizer() -> Any:
    """A tokenizer whose tokens have the places of Whisper's: 50,257 of text, the marks, 1,501 times."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fill = [f"Ġword{n}" for n in range(50_257 - len(letters))]
    vocabulary = {token: n for n, token in enumerate((*letters, *fill))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    languages = [code for code in _LANGUAGE_CODES if code != "yue"]
    core.add_special_tokens(
        [
            "<|endoftext|>",
            "<|startoftranscript|>",
            *(f"<|{name}|>" for name in (*languages, *MARKS)),
        ]
    )
    core.add_tokens([f"<|{n * 0.02:.2f}|>" for n in range(1501)])
    return core


def make_whisper(folder: Path, width: int = 64, layers: int = 1, seed: int = 0) -> Path:
    """A multilingual Whisper of random weights in `folder`, in 8 bits; 384 and 4 layers are whisper-tiny's size."""
    import torch
    from ctranslate2.converters.transformers import WhisperLoader
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    tokenizer = whisper_tokenizer()
    end = tokenizer.token_to_id("<|endoftext|>")
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=51_865, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=max(1, width // 64), decoder_attention_heads=max(1, width // 64),
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=end + 1,
    )  # fmt: skip
    spec = WhisperLoader().get_model_spec(WhisperForConditionalGeneration(config))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    tokens[end - 1] = ""  # that is how CTranslate2 knows a multilingual one
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [220, end]
    spec.config.lang_ids = list(range(end + 2, ids["<|translate|>"]))
    spec.config.alignment_heads = [[layers - 1, 0]]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "feature_size": 80,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def say(text: str, voice: str = "en", speed: int = 160) -> bytes:
    """A WAV of espeak-ng saying it."""
    made = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text],
        capture_output=True,
        check=True,
    )
    return made.stdout


def tone_free(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """A WAV of silence."""
    data = bytes(int(seconds * rate) * 2 * channels)
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate,
        rate * 2 * channels, 2 * channels, 16, b"data", len(data),
    )  # fmt: skip
    return head + data


@pytest.fixture(scope="session")
def random_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one random checkpoint for all tests."""
    return make_whisper(tmp_path_factory.mktemp("whisper") / "random")
