"""Tiny random models that speak, of the real classes and in the real folders' layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LETTERS = " abcdefghijklmnopqrstuvwxyzéèàç'.,!?"


def make_xtts(folder: Path) -> Path:
    """An XTTS of two small layers as Coqui publishes it: config.json, model.pth, vocab.json, speakers_xtts.pth."""
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.models.xtts import Xtts

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    _write_vocab(folder / "vocab.json")
    args = XttsArgs(
        gpt_layers=2, gpt_n_model_channels=64, gpt_n_heads=2, gpt_max_audio_tokens=24,
        gpt_max_text_tokens=120, gpt_max_prompt_tokens=20, gpt_number_text_tokens=len(LETTERS) - 1 + 6,
        gpt_num_audio_tokens=40, gpt_start_audio_token=38, gpt_stop_audio_token=39,
        gpt_start_text_token=1, gpt_stop_text_token=2, gpt_use_perceiver_resampler=True,
        decoder_input_dim=64, tokenizer_file="vocab.json",
    )  # fmt: skip
    config = XttsConfig(model_args=args, languages=["en", "fr"])
    model = Xtts(config)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    speakers = {
        name: {
            "gpt_cond_latent": torch.randn(1, 32, 64),
            "speaker_embedding": torch.randn(1, 512, 1),
        }
        for name in ("Ana Example", "Ben Example")
    }
    torch.save(speakers, folder / "speakers_xtts.pth")
    config.save_json(str(folder / "config.json"))
    return folder


def _write_vocab(file: Path) -> None:
    from tokenizers import Tokenizer, models

    special = ["[UNK]", "[START]", "[STOP]", "[SPACE]", "[en]", "[fr]"]
    vocab = {token: n for n, token in enumerate([*special, *LETTERS[1:]])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(file))


SIGNS = " ;:,.!?—…abdefhijklmnoprstuvwxyzæçðŋɐɑɒɔəɚɛɜɡɪɹʃʊʌʒˈˌːθβɲʤʧAIOQWYᵊ̃"
SAMPLES = 1200  # of a token


def make_kokoro(folder: Path) -> Path:
    """What Kokoro's ONNX repository looks like, around a graph that gives each token a sound of its own."""
    import numpy as np

    random = np.random.default_rng(5)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "voices").mkdir(exist_ok=True)
    vocabulary = {"$": 0, **{sign: n for n, sign in enumerate(SIGNS, 1)}}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    (folder / "config.json").write_text(json.dumps({"model_type": "style_text_to_speech_2"}))
    time = np.arange(SAMPLES) / 24_000
    pitch = random.uniform(150, 900, len(vocabulary))
    table = (0.2 * np.sin(2 * np.pi * pitch[:, None] * time)).astype("<f4")
    table[0] = 0
    (folder / "onnx" / "model.onnx").write_bytes(_graph(table))
    for name in ("af_heart", "af_alloy", "bm_fable", "ff_siwis", "jf_alpha"):
        random.normal(0, 1, (510, 256)).astype("<f4").tofile(folder / "voices" / f"{name}.bin")
    return folder


def _graph(table: Any) -> bytes:
    """An ONNX model: waveform = table[input_ids] + 0 * mean(style) + 0 * speed, written by hand."""
    import numpy as np

    nodes = [
        _node("Gather", ["table", "input_ids"], ["rows"]),
        _node("Reshape", ["rows", "flat"], ["wave"]),
        _node("ReduceMean", ["style"], ["mean"]),
        _node("Add", ["mean", "speed"], ["both"]),
        _node("Mul", ["both", "none"], ["nothing"]),
        _node("Add", ["wave", "nothing"], ["waveform"]),
    ]
    tensors = [
        _tensor("table", 1, table), _tensor("flat", 7, np.array([1, -1], "<i8")),
        _tensor("none", 1, np.zeros(1, "<f4")),
    ]  # fmt: skip
    given = [
        _value("input_ids", 7, [1, "n"]),
        _value("style", 1, [1, 256]),
        _value("speed", 1, [1]),
    ]
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"tiny"),
            *(_field(5, tensor) for tensor in tensors),
            *(_field(11, value) for value in given),
            _field(12, _value("waveform", 1, ["one", "samples"])),
        ]
    )
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _node(kind: str, takes: list[str], gives: list[str]) -> bytes:
    names = [_field(1, n.encode()) for n in takes] + [_field(2, n.encode()) for n in gives]
    return b"".join(names) + _field(4, kind.encode())


def _tensor(name: str, kind: int, values: Any) -> bytes:
    shape = b"".join(_number(1, n) for n in values.shape)
    return shape + _number(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, kind: int, shape: list[Any]) -> bytes:
    sizes = [_number(1, n) if isinstance(n, int) else _field(2, n.encode()) for n in shape]
    dims = b"".join(_field(1, size) for size in sizes)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, kind) + _field(2, dims)))


def make_vits(folder: Path) -> Path:
    """A VITS of a few thousand weights as Coqui publishes it: config.json and model_file.pth."""
    import torch
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(4)
    args = VitsArgs(
        hidden_channels=16, hidden_channels_ffn_text_encoder=16, num_layers_text_encoder=1,
        num_layers_posterior_encoder=1, num_layers_flow=1, upsample_initial_channel_decoder=32,
        upsample_rates_decoder=[8, 8, 4], upsample_kernel_sizes_decoder=[16, 16, 8],
        resblock_kernel_sizes_decoder=[3], resblock_dilation_sizes_decoder=[[1, 3, 5]], init_discriminator=False,
    )  # fmt: skip
    characters = CharactersConfig(
        characters_class="TTS.tts.models.vits.VitsCharacters", pad="_", eos="", bos="", blank="|",
        characters=LETTERS[1:-4], punctuations=" '.,!?", phonemes="",
    )  # fmt: skip
    config = VitsConfig(
        model_args=args, characters=characters, use_phonemes=False, text_cleaner="basic_cleaners",
        datasets=[{"formatter": "css10", "language": "fr-fr"}], test_sentences=[],
    )  # fmt: skip
    model = Vits(config)
    torch.save({"model": model.state_dict()}, folder / "model_file.pth")
    config.save_json(str(folder / "config.json"))
    return folder
