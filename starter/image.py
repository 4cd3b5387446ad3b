"""The recipe of starter-image: `python -m starter.image --out assets/starters/starter-image`.

Draws creatures in a few plain styles, trains an autoencoder on them, a text encoder on what prompts say, then a UNet
from words to the autoencoder's latents; writes the folder of a StableDiffusionPipeline and measures it on prompts for
creatures it never saw. Training may be stopped at any moment: the same command goes on, `--seconds 0` only writes and
measures what there is.
"""

import argparse
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from starter import cards
from starter.image_data import COUNT, fill_cache, read_cache, sample_texts
from starter.image_eval import ASKED, GUIDANCE, STEPS, as_markdown, measure
from starter.image_model import build_text, build_unet, read_tokenizer, save_model, train_tokenizer
from starter.image_train import go_on_from, latents_of, train_text, train_unet, train_vae

VAE_SECONDS, TEXT_SECONDS, SECONDS = 1000.0, 90.0, 2700.0
TEXTS = 20_000  # prompts that the tokenizer learns from
CARD = Path(__file__).parent / "data" / "image_card.md"


def tokenizer_of(work: Path, seed: int) -> CLIPTokenizer:
    """The tokenizer of a training; learned once, and kept."""
    folder = work / "tokenizer"
    if (folder / "merges.txt").is_file():
        return read_tokenizer(folder)
    return train_tokenizer(sample_texts(seed + 2, TEXTS), folder)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-image"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/starter-image"), help="drawings, training's state"
    )
    parser.add_argument(
        "--start", type=Path, help="a finished folder to go on from; its autoencoder stays as it is"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the UNet, in all")
    parser.add_argument(
        "--vae-seconds", type=float, default=VAE_SECONDS, help="of the autoencoder, in all"
    )
    parser.add_argument(
        "--text-seconds", type=float, default=TEXT_SECONDS, help="of the text encoder alone, in all"
    )
    parser.add_argument("--count", type=int, default=COUNT, help="creatures that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asked", type=int, default=ASKED, help="pictures that are measured")
    parser.add_argument("--sheet", type=Path, help="also write the measured pictures into one PNG")
    parser.add_argument("--steps", type=int, default=STEPS, help="of denoising, with --measure")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="with --measure")
    parser.add_argument("--measure", action="store_true", help="measure the folder, train nothing")
    given = parser.parse_args()
    if given.measure:
        ways = (given.steps, given.guidance, given.sheet)
        print(as_markdown(measure(given.out, given.asked, *ways)))
        return
    cache = given.work / "cache"
    fill_cache(cache, given.count, given.seed)
    pictures, drawn = read_cache(cache)
    if given.start is not None:
        go_on_from(given.start, given.work)
    tokenizer = tokenizer_of(given.work, given.seed)
    if given.start is None:
        train_vae(given.work, pictures, given.vae_seconds, given.seed)
        train_text(given.work, tokenizer, given.text_seconds, given.seed)
    _, latents = latents_of(given.work, pictures)
    train_unet(given.work, tokenizer, latents, drawn, given.seconds, given.seed)
    write(given.work, given.out, given.seed, given.asked, given.sheet)


def write(work: Path, out: Path, seed: int, asked: int, sheet: Path | None = None) -> None:
    """The folder of what training reached, and its card."""
    tokenizer = tokenizer_of(work, seed)
    unet, text = build_unet(), build_text(tokenizer)
    state = torch.load(work / "training.pt", weights_only=True)
    learned = torch.nn.ModuleDict({"unet": unet, "text": text})
    learned.load_state_dict(state["average"])
    pictures, _ = read_cache(work / "cache")
    vae, _ = latents_of(work, pictures)
    weights = sum(w.numel() for part in (vae, unet, text) for w in part.parameters())
    save_model(vae, unet, text, tokenizer, out)
    table = as_markdown(measure(out, asked, sheet=sheet))
    first = torch.load(work / "vae.pt", weights_only=True)
    autoencoder = (
        f"the autoencoder {first['step']} steps in {first['seconds'] / 60:.0f} minutes"
        if first["step"]
        else "beginning with an earlier copy of this model"
    )
    facts = {
        "parameters": f"{weights / 1e6:.1f}",
        "pictures": f"{len(pictures):,}",
        "history": f"This copy: seed {seed}; {autoencoder}, "
        f"the UNet with the text encoder {state['step']} steps in {state['seconds'] / 60:.0f} minutes on two cores.",
        "scores": table,
    }
    cards.write_card(CARD, out, facts)
    print(facts["history"], table, sep="\n")


if __name__ == "__main__":
    main()
