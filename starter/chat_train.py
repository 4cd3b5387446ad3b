"""Trains starter-chat: turns dialogues into batches of few shapes and runs Muon and AdamW over them."""

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
BATCH_TOKENS = 6144
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
    """Endless batches of about BATCH_TOKENS: ids and labels, both (samples, length).

    Only full batches leave, so there is one shape for each of WIDTHS: a compiled step is built once
    for each, and the allocator's caches do not grow.
    """
    rng = random.Random(seed)
    groups: dict[int, list[Sample]] = {width: [] for width in WIDTHS}
    while True:
        for sample in encode(list(itertools.islice(dialogues, CHUNK)), tokenizer, rng):
            groups[next(width for width in WIDTHS if width >= len(sample[0]))].append(sample)
        pieces = []
        for width, group in groups.items():
            size = BATCH_TOKENS // width
            whole = len(group) // size * size
            pieces += [(width, group[i : i + size]) for i in range(0, whole, size)]
            groups[width] = group[whole:]
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


def rate_at(step: int, done: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to nothing at `done` = 1."""
    return min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


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
    seconds: float = math.inf,
) -> tuple[int, int]:
    """Runs `steps` updates, or as many as fit into `seconds`, up to the learning rate `rate`; steps and tokens done.

    With a limit of time the rate follows the clock, so that it has come down when the time is up.
    `report` is called with (step, loss, tokens, seconds) after each.
    """
    optimizers = build_optimizers(model, rate)
    kept = model.config._attn_implementation
    model.set_attn_implementation(
        "eager"
    )  # compiled, twice as fast as the fused one's backward pass
    torch._dynamo.config.recompile_limit = len(WIDTHS) + 1
    model.model.compile(dynamic=False)
    begun, tokens, step = time.monotonic(), 0, 0
    model.train()
    for step, (ids, labels) in zip(range(1, steps + 1), source, strict=False):
        done = max(step / steps, (time.monotonic() - begun) / seconds)
        loss = loss_of(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(step, done)
            optimizer.step()
            optimizer.zero_grad()
        tokens += ids.numel()
        report(step, loss.item(), tokens, time.monotonic() - begun)
        if done >= 1:
            break
    model.set_attn_implementation(kept)
    return step, tokens
