"""The starter encoder: its folder, its data, and how it finds held-out phrasings in four languages."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.events import Done
from engine.families import hf_embed
from engine.registry import Registry
from engine.requests import EmbedRequest
from engine.settings import Settings
from starter.chat_grammar import LANGUAGES
from starter.embed_data import Writer, answer_of, batches, held_out, intents, known
from tests.sentences import run, vectors
from tests.tiny import Listener

FOLDER = Path(__file__).parent.parent / "assets" / "starters" / "starter-embed"
MOST_BYTES = 5 * 1024 * 1024
# Floors below what the committed weights reached, so that a worse copy is noticed; the card says what they reached.
SAME, CROSSED = 0.95, 0.94


@pytest.fixture(scope="module")
def backend() -> hf_embed.HfEmbed:
    spec = Registry.build(Settings(), {}).find("starter-embed")
    return hf_embed.load(spec, Settings(device="cpu"))


def embed(backend: hf_embed.HfEmbed, *texts: str) -> list[tuple[float, ...]]:
    found = []
    for start in range(0, len(texts), 1000):
        listener = Listener()
        backend.join(EmbedRequest(texts=texts[start : start + 1000]), listener)
        run(backend, listener)
        assert isinstance(listener.events[-1], Done)
        found += vectors(listener)
    return found


def nearest(one: tuple[float, ...], others: list[tuple[float, ...]]) -> int:
    import torch

    return int((torch.tensor(others) @ torch.tensor(one)).argmax())


def test_folder_is_small_and_complete():
    names = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert {
        "config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json",
        "sentence_bert_config.json", "config_sentence_transformers.json", "README.md",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".py", ".bin", ".pt"))]
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= MOST_BYTES
    kinds = [row["type"] for row in json.loads((FOLDER / "modules.json").read_text())]
    assert [kind.rsplit(".")[-1] for kind in kinds] == ["Transformer", "Pooling", "Normalize"]


def test_card_names_licence_and_scores():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n")
    assert "| all |" in card and "{" not in card


def test_held_out_phrasings_find_their_intent(backend):
    import torch

    corpus, asked = list(known()), list(held_out())
    have, want = (embed(backend, *(p.text for _, p in side)) for side in (corpus, asked))
    near = torch.tensor(want) @ torch.tensor(have).T
    alike = torch.tensor([[o.language == p.language for _, o in corpus] for _, p in asked])
    for mask, floor in ((alike, SAME), (~alike, CROSSED)):
        best = near.masked_fill(~mask, -2).argmax(1).tolist()
        right = [corpus[n][0] == purpose for n, (purpose, _) in zip(best, asked, strict=True)]
        assert sum(right) / len(right) >= floor


def test_shorter_vectors_still_find(backend):
    listener = Listener()
    texts = ("How do I translate a text?", "Как перевести текст?", "Raconte-moi une blague")
    backend.join(EmbedRequest(texts=texts, dimensions=48), listener)
    run(backend, listener)
    english, russian, joke = vectors(listener)
    assert nearest(english, [russian, joke]) == 0 and len(english) == 48


def test_intents_are_the_same_in_every_language():
    assert len(intents()) == len(set(intents())) >= 30
    said = {(purpose, phrasing.language) for purpose, phrasing in known()}
    assert said == {(purpose, code) for purpose in intents() for code in LANGUAGES}
    assert all(answer_of("talk.greet", code) for code in LANGUAGES)


def test_nothing_held_out_is_trained():
    trained = {phrasing.text for _, phrasing in known()}
    assert not trained & {phrasing.text for _, phrasing in held_out()}


def test_a_batch_holds_different_meanings_said_twice():
    batch = next(batches(3, 60))
    assert len({meaning for meaning, _, _ in batch}) == 60
    assert any(first.language != second.language for _, first, second in batch)
    assert all(first.text and "{" not in first.text + second.text for _, first, second in batch)


def test_the_same_seed_writes_the_same_batches():
    assert next(batches(5, 40)) == next(batches(5, 40)) != next(batches(6, 40))


def test_held_sums_are_not_the_trained_ones():
    def sums(held: bool) -> set[tuple[tuple[str, str], ...]]:
        writer = Writer(random.Random(1), held)
        batch = [meaning for _ in range(30) for meaning, _, _ in writer.batch(60)]
        return {meaning.filling for meaning in batch if meaning.purpose == "sum.add"}

    assert sums(True) and not sums(True) & sums(False)
