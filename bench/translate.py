"""What the engine costs a translation: a text through it, and its sentences through bare CTranslate2.

`python -m bench.translate [--sentences 600] [--repeats 5]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import median, table
from engine import Caller, Engine, ModelSpec, Settings, TranslateRequest, fold

STARTER = Path(__file__).resolve().parent.parent / "assets" / "starters" / "starter-translate"
# Of one length in tokens, so that random weights, which never end, write as much in any batch.
PHRASE = "The museum is near the station."
BEAM, TOGETHER = 1, 2048
LAYERS = {"encoder_layers": 6, "decoder_layers": 6, "d_model": 512, "encoder_attention_heads": 8,
          "decoder_attention_heads": 8, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}  # fmt: skip


def make_random(folder: Path) -> Path:
    """An M2M-100 of 46 million random weights with the starter's vocabulary, in hub layout."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True)
    tokens = json.loads((STARTER / "shared_vocabulary.json").read_text("utf-8"))
    words = {t: n for n, t in enumerate(tokens) if not t.startswith(("__", "madeupword"))}
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    shutil.copyfile(STARTER / "sentencepiece.bpe.model", folder / "sentencepiece.bpe.model")
    tokenizer = M2M100Tokenizer(folder / "vocab.json", folder / "sentencepiece.bpe.model")
    torch.manual_seed(0)
    config = M2M100Config(vocab_size=len(tokens), **LAYERS)
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def row(name: str, folder: Path, sentence: float = 0.0) -> ModelSpec:
    return ModelSpec(
        id=name, does=frozenset({"translate"}), family="translate", path=str(folder), memory=100_000_000,
        languages=("en", "fr"), options={"beam": BEAM, "sure": sentence},
    )  # fmt: skip


def bare(folder: Path, threads: int) -> Callable[[list[str]], int]:
    """Sentences to French, as CTranslate2's guide does it; the tokens that were written."""
    import ctranslate2
    from sentencepiece import SentencePieceProcessor

    translator = ctranslate2.Translator(str(folder), compute_type="int8", intra_threads=threads)
    pieces = SentencePieceProcessor(str(folder / "sentencepiece.bpe.model"))

    def run(sentences: list[str]) -> int:
        sources = [["__en__", *pieces.encode(s, out_type=str), "</s>"] for s in sentences]
        longest = max(map(len, sources))
        found = translator.translate_batch(
            sources, target_prefix=[["__fr__"]] * len(sources), beam_size=BEAM, max_batch_size=TOGETHER,
            batch_type="tokens", max_input_length=0, max_decoding_length=2 * longest + 24, return_scores=True,
        )  # fmt: skip
        texts = [pieces.decode(result.hypotheses[0][1:]) for result in found]
        assert len(texts) == len(sentences)
        return sum(len(result.hypotheses[0]) for result in found)

    return run


async def ours(engine: Engine, model: str, text: str) -> int:
    """The text through the engine; the tokens that were written."""
    request = TranslateRequest(model=model, text=text, source="en", target="fr")
    result = await fold(engine.translate(request, Caller(name="bench", dialect="bench")))
    return result.usage.output_tokens


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of the processor, and tokens."""
    began, worked = time.perf_counter(), time.process_time()
    tokens = work()
    return time.perf_counter() - began, time.process_time() - worked, tokens


async def compare(spec: ModelSpec, sentences: int, repeats: int, data: Path) -> list[str]:
    """A row of the table: both by turns."""
    settings = Settings(data_dir=data, device="cpu", probe_local=False)
    engine = Engine.build(settings, specs=[spec])
    await engine.start()
    said = [PHRASE] * sentences
    try:
        await ours(engine, spec.id, PHRASE)
        converted = sorted((data / "converted").glob(f"{spec.id}-*"))
        folder = converted[0] if converted else Path(spec.path)
        threads = 1 if (folder / "model.bin").stat().st_size < 50_000_000 else 0
        direct = bare(folder, threads)
        direct(said[:8])
        runs: dict[str, list[tuple[float, float, int]]] = {"bare": [], "engine": []}
        for _ in range(repeats):
            runs["bare"].append(await asyncio.to_thread(timed, lambda: direct(said)))
            began, worked = time.perf_counter(), time.process_time()
            tokens = await ours(engine, spec.id, " ".join(said))
            took = time.perf_counter() - began, time.process_time() - worked, tokens
            runs["engine"].append(took)
    finally:
        await engine.close()
    speeds: dict[str, Any] = {}
    for name, found in runs.items():
        speeds[name] = [
            median(tokens / run[n] for run in found for tokens in [run[2]]) for n in (0, 1)
        ]
    clock, worked = (speeds["engine"][n] / speeds["bare"][n] for n in (0, 1))
    return [
        spec.id, str(sentences), f"{speeds['bare'][0]:.0f}", f"{speeds['engine'][0]:.0f}", f"{clock:.2f}×",
        f"{speeds['bare'][1]:.0f}", f"{speeds['engine'][1]:.0f}", f"{worked:.2f}×",
    ]  # fmt: skip


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        random = make_random(data / "random")
        rows.append(
            await compare(
                row("starter-translate", STARTER), 4 * given.sentences, given.repeats, data
            )
        )
        rows.append(
            await compare(row("random-46m", random), given.sentences // 4, given.repeats, data)
        )
    head = ("model", "sentences", "bare tokens/s", "engine tokens/s", "engine / bare",
            "bare tokens per CPU-s", "engine tokens per CPU-s", "engine / bare, CPU")  # fmt: skip
    note = (
        "One text of that many sentences through `engine.translate`: cut into sentences, told as they are ready. "
        "Bare: the sentences in one `translate_batch` with the same beam, types and limits, tokenising included. "
        "Medians, by turns."
    )
    table("Translation", head, rows, note)


if __name__ == "__main__":
    asyncio.run(main())
