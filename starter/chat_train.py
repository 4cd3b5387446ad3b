"""Trains starter-chat: turns dialogues into batches and runs AdamW over them."""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from starter.chat_data import Dialogue
from starter.chat_model import CONTEXT

IGNORED = -100
BATCH_TOKENS = 4096
CHUNK = 4000  # dialogues grouped by length together, so that batches need little padding
WIDTHS = (32, 40, 48, 64, 80, 112, 160, 224, 320, 448, 640, 832, CONTEXT)
PEAK_RATE = 3e-3
WARM_UP = 60
CUT_SHARE, CUT_TOKENS = 0.75, 14
COMPUTED = {"add", "sub", "count", "repeat", "tell name", "ask name"}

Sample = tuple[list[int], list[int]]


def encode(
    dialogues: list[Dialogue],
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random | None = None,
) -> list[Sample]:
    """Token ids and labels of each dialogue; only answers and their ends are labelled.

    With an rng, most dialogues that end in a fixed answer stop after its first tokens: those decide
    which answer it is, the rest is soon known by heart and would only cost time.
    """
    messages = [dialogue.messages() for dialogue in dialogues]
    flat = [message for listed in messages for message in listed]
    texts = [f"{message['role']}\n{message['content']}" for message in flat]
    pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    head = len(tokenizer("assistant\n")["input_ids"])
    start, line = tokenizer("<|im_start|>\n")["input_ids"]
    samples = []
    for dialogue, listed in zip(dialogues, messages, strict=True):
        ids: list[int] = []
        labels: list[int] = []
        for message in listed:
            piece = next(pieces)
            ids += [start, *piece, tokenizer.eos_token_id, line]
            answer = message["role"] == "assistant"
            known = [*piece[head:], tokenizer.eos_token_id] if answer else []
            hidden = len(piece) + 3 - len(known) - 1
            labels += [IGNORED] * hidden + known + [IGNORED]
        most = CONTEXT
        if rng and dialogue.turns[-1].intent not in COMPUTED and rng.random() < CUT_SHARE:
            most = min(most, len(ids) - max(0, len(known) + 1 - CUT_TOKENS))
        samples.append((ids[:most], labels[:most]))
    return samples


def batches(
    dialogues: Iterator[Dialogue], tokenizer: PreTrainedTokenizerFast, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of about BATCH_TOKENS: ids and labels, both (samples, length)."""
    rng = random.Random(seed)
    while True:
        samples = encode(list(itertools.islice(dialogues, CHUNK)), tokenizer, rng)
        groups: dict[int, list[Sample]] = {width: [] for width in WIDTHS}
        for sample in samples:
            groups[next(width for width in WIDTHS if width >= len(sample[0]))].append(sample)
        pieces = []
        for width, group in groups.items():
            size = BATCH_TOKENS // width
            pieces += [(width, group[i : i + size]) for i in range(0, len(group), size)]
        rng.shuffle(pieces)
        for width, group in pieces:
            ids = [ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in group]
            labels = [labels + [IGNORED] * (width - len(labels)) for _, labels in group]
            yield torch.tensor(ids), torch.tensor(labels)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens; logits are computed for them alone."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != IGNORED
        logits = model.lm_head(hidden[wanted])
    return functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def rate_at(step: int, steps: int) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to nothing."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


def build_optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for norms and the embedding."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in named if weight.ndim < 2 or "embed" in name]
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", ns_steps=5
    )
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adam]


def train(
    model: LlamaForCausalLM,
    source: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    rate: float,
    report: Callable[[int, float, int, float], None],
) -> int:
    """Runs `steps` updates up to the learning rate `rate`; the tokens seen.

    `report` is called with (step, loss, tokens, seconds) after each.
    """
    optimizers = build_optimizers(model, rate)
    begun, tokens = time.monotonic(), 0
    model.train()
    for step, (ids, labels) in zip(range(1, steps + 1), source, strict=False):
        loss = loss_of(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        tokens += ids.numel()
        report(step, loss.item(), tokens, time.monotonic() - begun)
    return tokens
