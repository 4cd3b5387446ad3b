"""The three trainings of starter-image, by the clock: each may be stopped at any moment and goes on from its file."""

import copy
import math
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from engine.bestiary import Traits
from starter.image_data import Asked, ask, creatures
from starter.image_model import (
    LENGTH,
    Heads,
    build_scheduler,
    build_text,
    build_unet,
    build_vae,
    whiten,
)

EVERY = 90.0  # seconds between two savings
WARM_UP = 100  # steps
VAE_RATE, VAE_SIZE, CLOSE = 1e-3, 4, 2e-3  # the last: weight of the latents' divergence
TEXT_RATE, TEXT_SIZE = 1e-3, 64
RATE, SIZE = 5e-4, 32
SLOW = 0.3  # the text encoder's rate beside the UNet's
TELL = 0.05  # weight of what the heads read, while the UNet learns
EMPTY = 0.06  # share of pictures learned without any words
NOISY = 1.3  # above 1: more pictures near pure noise, where words decide
KEEP = 0.998  # of the averaged weights at each step …
SELDOM = 4  # … in so many of which they are averaged once


class Course:
    """A training by the clock: how far it is sets the rate, and its file lets it go on where it stopped.

    Args:
        file: of its state; read if it is there.
        seconds: of all its runs together.
        parts: what the state consists of, by name; "optimizer" among them.
    """

    def __init__(
        self, file: Path, seconds: float, parts: Mapping[str, nn.Module | torch.optim.Optimizer]
    ) -> None:
        self.file, self.seconds, self.parts = file, seconds, dict(parts)
        self.step, self.spent = 0, 0.0
        self.optimizer: Any = self.parts["optimizer"]
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        if file.is_file():
            held = torch.load(file, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(held[name])
            for group in self.optimizer.param_groups:
                group |= {"fused": True, "foreach": None}
            self.step, self.spent = held["step"], held["seconds"]

    def steps(self) -> Iterator[int]:
        """The numbers of its steps, until its time is over; saves now and then, and at the end."""
        begun = stored = time.monotonic()
        before, first = self.spent, self.step
        while self.spent < self.seconds:
            warm = min(1.0, (self.step + 1) / WARM_UP)
            share = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.spent / self.seconds))
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * warm * share
            yield self.step
            self.step += 1
            now = time.monotonic()
            self.spent = before + now - begun
            if now - stored > EVERY:
                stored = now
                self.store()
        if self.step > first:
            self.store()

    def store(self) -> None:
        """Writes the state, whole or not at all."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        part = self.file.with_suffix(".part")
        torch.save({**state, "step": self.step, "seconds": self.spent}, part)
        part.rename(self.file)

    def tell(self, **losses: float) -> None:
        """A line about the step just done."""
        told = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        print(f"{self.file.stem} step {self.step} {told} {self.spent:.0f} s", flush=True)


def optimizer_of(*groups: tuple[nn.Module, float]) -> torch.optim.AdamW:
    """AdamW over modules, each with its own rate; only matrices decay."""
    listed = [
        {"params": [w for w in module.parameters() if (w.ndim > 1) is decays], "lr": rate,
         "weight_decay": 0.01 * decays}
        for module, rate in groups for decays in (True, False)
    ]  # fmt: skip
    return torch.optim.AdamW(listed, betas=(0.9, 0.99), fused=True)


def improve(optimizer: torch.optim.Optimizer, loss: torch.Tensor, *modules: nn.Module) -> None:
    """One step down."""
    optimizer.zero_grad()
    loss.backward()
    for module in modules:
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def as_batch(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [n, SIDE, SIDE, 3] to -1..1 [n, 3, SIDE, SIDE] in channels-last order."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


# The autoencoder ------------------------------------------------------------------------------------


def train_vae(work: Path, pictures: np.ndarray, seconds: float, seed: int) -> Course:
    """Pictures to latents and back: small differences of colours and of edges, latents near a unit Gaussian."""
    torch.manual_seed(seed)
    vae = build_vae().to(memory_format=torch.channels_last)
    optimizer = optimizer_of((vae, VAE_RATE))
    course = Course(work / "vae.pt", seconds, {"vae": vae, "optimizer": optimizer})
    chance = np.random.default_rng(seed + course.step)
    for step in course.steps():
        given = as_batch(pictures[chance.choice(len(pictures), VAE_SIZE, replace=False)])
        with torch.autocast("cpu", torch.bfloat16):
            found = vae.encode(given).latent_dist
            made = vae.decode(found.sample()).sample.float()
        off = functional.l1_loss(made, given)
        across, along = (functional.l1_loss(made.diff(dim=d), given.diff(dim=d)) for d in (2, 3))
        mean, spread = found.mean.float(), found.logvar.float()
        apart = 0.5 * (mean.square() + spread.exp() - 1 - spread).mean()
        improve(optimizer, off + 0.5 * (across + along) + CLOSE * apart, vae)
        if step % 25 == 0:
            course.tell(off=off.item(), edges=across.item() + along.item(), apart=apart.item())
    return course


def read_vae(work: Path) -> tuple[AutoencoderKL, int]:
    """The trained autoencoder, its latents still as they came, and the steps that it learned."""
    vae, state = build_vae(), torch.load(work / "vae.pt", weights_only=True)
    vae.load_state_dict(state["vae"])
    return vae.to(memory_format=torch.channels_last).eval(), state["step"]


def latents_of(work: Path, pictures: np.ndarray) -> tuple[AutoencoderKL, torch.Tensor]:
    """The autoencoder with latents of mean 0 and spread 1, and those of all pictures [n, 8, 12, 12], kept in a file."""
    vae, learned = read_vae(work)
    file = work / "latents.pt"
    held = torch.load(file, weights_only=True) if file.is_file() else {}
    if not held or held["learned"] != learned or len(held["latents"]) != len(pictures):
        parts = []
        with torch.no_grad():
            for n in range(0, len(pictures), 50):
                parts.append(vae.encode(as_batch(pictures[n : n + 50])).latent_dist.mode())
        held = {"latents": torch.cat(parts).contiguous(), "learned": learned}
        torch.save(held, file)
    raw = held["latents"]
    mean, spread = raw.mean((0, 2, 3)), raw.std((0, 2, 3))
    whiten(vae, mean, spread)
    return vae, (raw - mean[:, None, None]) / spread[:, None, None]


# The text encoder -----------------------------------------------------------------------------------


def tokens_of(tokenizer: CLIPTokenizer, asked: list[Asked]) -> torch.Tensor:
    """Prompts as the pipeline hands them to the encoder: [n, LENGTH]."""
    return tokenizer(
        [one.text for one in asked],
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def misread(scores: list[torch.Tensor], asked: list[Asked]) -> torch.Tensor:
    """How far the heads' scores are from what the prompts say."""
    told = torch.tensor([one.told for one in asked]) + 1
    return torch.stack(
        [functional.cross_entropy(each, told[:, n]) for n, each in enumerate(scores)]
    ).mean()


def train_text(work: Path, tokenizer: CLIPTokenizer, seconds: float, seed: int) -> Course:
    """What each word says of a creature, without any picture."""
    torch.manual_seed(seed)
    text, heads = build_text(tokenizer), Heads()
    optimizer = optimizer_of((text, TEXT_RATE), (heads, TEXT_RATE))
    parts = {"text": text, "heads": heads, "optimizer": optimizer}
    course = Course(work / "text.pt", seconds, parts)
    chance, source = random.Random(seed + course.step), creatures(seed + 1 + course.step)
    for step in course.steps():
        asked = [ask(next(source), chance) for _ in range(TEXT_SIZE)]
        tokens = tokens_of(tokenizer, asked)
        with torch.autocast("cpu", torch.bfloat16):
            states = text(tokens).last_hidden_state
        off = misread(heads(states), asked)
        improve(optimizer, off, text, heads)
        if step % 25 == 0:
            course.tell(off=off.item())
    return course


# The UNet -------------------------------------------------------------------------------------------


def go_on_from(folder: Path, work: Path) -> None:
    """Lay a finished folder out as the trainings leave it, without what they forget: the optimizers and the heads."""
    if (work / "vae.pt").is_file():
        return
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    shutil.copytree(folder / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
    held = {"text": pipe.text_encoder.state_dict(), "heads": Heads().state_dict()}
    torch.save({**held, "unet": pipe.unet.state_dict()}, work / "text.pt")
    torch.save({"vae": pipe.vae.state_dict(), "step": 0, "seconds": 0.0}, work / "vae.pt")


def velocities(
    latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents in noise as they are at these times, and what the network is to say of them; all [n, 8, 12, 12].

    Args:
        times: [n], 0..999.
        kept: [1000], the share of the picture's power at each time.
    """
    picture = kept[times].sqrt()[:, None, None, None]
    noisy = (1 - kept[times]).sqrt()[:, None, None, None]
    return picture * latents + noisy * noise, picture * noise - noisy * latents


def train_unet(
    work: Path,
    tokenizer: CLIPTokenizer,
    latents: torch.Tensor,
    drawn: list[Traits],
    seconds: float,
    seed: int,
) -> Course:
    """From noise and words to latents; the text encoder goes on learning, slower."""
    torch.manual_seed(seed)
    text, heads = build_text(tokenizer), Heads()
    unet = build_unet().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # a tenth faster to train than torch's own
    begun = torch.load(work / "text.pt", weights_only=True)
    text.load_state_dict(begun["text"])
    heads.load_state_dict(begun["heads"])
    unet.load_state_dict(begun.get("unet", unet.state_dict()))
    average = nn.ModuleDict(copy.deepcopy({"unet": unet, "text": text})).requires_grad_(False)
    optimizer = optimizer_of((unet, RATE), (text, RATE * SLOW), (heads, RATE * SLOW))
    parts = {"unet": unet, "text": text, "heads": heads, "average": average, "optimizer": optimizer}
    course = Course(work / "training.pt", seconds, parts)
    torch.manual_seed(seed + course.step)
    chance = random.Random(seed + course.step)
    kept = build_scheduler().alphas_cumprod
    learned = [*average["unet"].parameters(), *average["text"].parameters()]
    for step in course.steps():
        places = torch.randint(len(latents), (SIZE,))
        asked = [ask(drawn[n], chance) for n in places.tolist()]
        tokens = tokens_of(tokenizer, asked)
        for row in range(SIZE):
            if chance.random() < EMPTY:
                tokens[row, 1:] = tokenizer.eos_token_id
        times = (len(kept) * (1 - torch.rand(SIZE) ** NOISY)).long().clamp(0, len(kept) - 1)
        clean = latents[places]
        given, wanted = velocities(clean, torch.randn_like(clean), times, kept)
        with torch.autocast("cpu", torch.bfloat16):
            states = text(tokens).last_hidden_state
            told = unet(given.contiguous(memory_format=torch.channels_last), times, states).sample
        off = functional.mse_loss(told.float(), wanted)
        said = (tokens[:, 1] != tokenizer.eos_token_id).nonzero()[:, 0]
        words = misread(heads(states[said]), [asked[n] for n in said.tolist()])
        improve(optimizer, off + TELL * words, unet, text)
        if step % SELDOM == 0:
            keep = min(KEEP, (1 + step) / (10 + step)) ** SELDOM
            now = [w.detach() for w in (*unet.parameters(), *text.parameters())]
            torch._foreach_lerp_(learned, now, 1 - keep)
        if step % 25 == 0:
            course.tell(off=off.item(), words=words.item())
    return course
