"""The tokenizer and the empty Whisper of starter-stt, and its folder as CTranslate2 and faster-whisper read it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperForConditionalGeneration

from starter.byte_pairs import train_bpe
from starter.chat_grammar import LANGUAGES
from starter.stt_data import FFT, HOP, MELS, RATE, WINDOW

VOCABULARY = 640
WIDTH, HEADS, ENCODERS, DECODERS = 128, 4, 4, 2
END, START, EMPTY, NO_SPEECH = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|empty|>",
    "<|nospeech|>",
)
MARKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", NO_SPEECH)
LAST = "<|notimestamps|>"
LETTERS = "abcdefghijklmnopqrstuvwxyzàáâãäçèéêëíîïñóôõöùúûüœабвгдежзийклмнопрстуфхцчшщъыьэюяё"


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte pairs, then Whisper's marks in their order; there are no time tokens."""
    special = [EMPTY, END, START, *(f"<|{code}|>" for code in LANGUAGES), *MARKS, LAST]
    tokenizer = train_bpe((f" {text}" for text in texts), VOCABULARY, ())
    tokenizer.add_special_tokens(special)
    return tokenizer


def build_model(tokenizer: Tokenizer) -> WhisperForConditionalGeneration:
    """An untrained Whisper of about 1.7 million weights; draw torch's seed before."""
    end = tokenizer.token_to_id(END)
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        num_mel_bins=MELS,
        d_model=WIDTH,
        encoder_layers=ENCODERS,
        decoder_layers=DECODERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_source_positions=1500,
        max_target_positions=448,
        dropout=0.0,  # no sentence is heard twice alike
        init_std=0.06,  # Whisper's 0.02 is for ten times the width
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=tokenizer.token_to_id(START),
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config)
    encoder = model.model.encoder
    # As they are drawn, the sound would be a whisper beside the positions that are added to it.
    for conv, gain in ((encoder.conv1, 1.5), (encoder.conv2, 3.0)):
        nn.init.normal_(conv.weight, std=gain / (conv.weight[0].numel() ** 0.5))
    return model


class Hearer(nn.Module):
    """Whisper with windows of any length, and a second head that spells what the encoder hears.

    That head, which is not kept, is what makes the encoder learn in minutes: CTC tells it in which order letters
    come long before the decoder knows where to look.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.whisper = whisper
        self.spell = nn.Linear(WIDTH, len(LETTERS) + 1)  # the last is for "nothing new"

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """[batch, MELS, frames] to [batch, frames / 2, WIDTH], as Whisper's own encoder does."""
        encoder = self.whisper.model.encoder
        heard = functional.gelu(encoder.conv1(features))
        heard = functional.gelu(encoder.conv2(heard)).transpose(1, 2)
        heard = heard + encoder.embed_positions.weight[: heard.shape[1]]
        for layer in encoder.layers:
            out = layer(heard, None)
            heard = out[0] if isinstance(out, tuple) else out
        return encoder.layer_norm(heard)

    def forward(
        self, features: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of each next token [batch, tokens, vocabulary] and of the spelling [batch, time, letters]."""
        heard = self.encode(features)
        states = self.whisper.model.decoder(
            input_ids=tokens, encoder_hidden_states=heard, use_cache=False
        ).last_hidden_state
        return self.whisper.proj_out(states), self.spell(heard)


def spelling_of(text: str) -> list[int]:
    """The places of a text's letters in `LETTERS`."""
    return [place for letter in text.casefold() if (place := LETTERS.find(letter)) >= 0]


def save_model(
    weights: dict[str, torch.Tensor], tokenizer: Tokenizer, out: Path, heads: list[list[int]]
) -> None:
    """Writes the folder that faster-whisper opens: weights in 8 bits, vocabulary, tokenizer, how sound is prepared.

    Args:
        heads: decoder layers and heads that look where the word is that they write.
    """
    from ctranslate2.converters.transformers import WhisperLoader

    whisper = build_model(tokenizer).eval()
    whisper.load_state_dict(weights)
    spec = WhisperLoader().get_model_spec(whisper)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    # A multilingual Whisper is known to CTranslate2 by its empty token.
    spec.register_vocabulary(["" if t == EMPTY else t for t in sorted(ids, key=ids.__getitem__)])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id(END)]
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES]
    spec.config.alignment_heads = heads
    spec.validate()
    spec.optimize(quantization="int8")
    out.mkdir(parents=True, exist_ok=True)
    spec.save(str(out))
    tokenizer.save(str(out / "tokenizer.json"))
    about: dict[str, Any] = {
        "feature_size": MELS,
        "sampling_rate": RATE,
        "hop_length": HOP,
        "chunk_length": WINDOW,
        "n_fft": FFT,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
