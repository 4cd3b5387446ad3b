"""The starter chat model: its folder, its template, and its answers on held-out dialogues."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from starter.chat_data import Dialogue, Turn, is_held, training_dialogues
from starter.chat_grammar import LANGUAGES, WHOLE, expand, load_grammar, plain

FOLDER = Path(__file__).parent.parent / "assets" / "starters" / "starter-chat"
MOST_BYTES = 12 * 1024 * 1024
# Floors below what the committed weights reached, so that a worse copy is noticed. The goal is 0.95
# everywhere and is not reached yet; the card in the folder says by how much.
RIGHT, RIGHT_EACH, RIGHT_NAMES = 0.88, 0.84, 0.6


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def evaluation():
    from starter import chat_eval

    return chat_eval


def test_folder_is_small_and_complete():
    names = {path.name for path in FOLDER.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "README.md",
    } <= names
    assert not [name for name in names if name.endswith((".py", ".bin", ".pt"))]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES


def test_config_is_a_plain_llama_with_greedy_answers():
    config = json.loads((FOLDER / "config.json").read_text())
    generation = json.loads((FOLDER / "generation_config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == 1024
    assert "auto_map" not in config
    assert not generation.get("do_sample", False)
    assert generation["eos_token_id"] == config["eos_token_id"]


def test_card_names_licence_and_scores():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n")
    assert "| all |" in card
    assert "{" not in card


def test_template_renders_roles_in_order(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "Привет"}]},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nПривет<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.decode(tokenizer("Ça va 12 ёж 🙂")["input_ids"]) == "Ça va 12 ёж 🙂"


def test_digits_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("12+345") == ["1", "2", "+", "3", "4", "5"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_held_out_phrasings_are_not_in_training(code):
    for purpose, phrases in load_grammar(code).phrases.items():
        seen = {plain(text) for texts in phrases.train for text in texts}
        held = {plain(text) for texts in phrases.held for text in texts}
        assert not seen & held, purpose
    phrases = load_grammar(code).phrases
    assert sum(bool(each.held) for each in phrases.values()) >= 0.6 * len(phrases)


@pytest.mark.parametrize("code", LANGUAGES)
def test_held_out_phrasings_are_made_of_words_of_their_own_list(code):
    for purpose, each in load_grammar(code).phrases.items():
        if not purpose.startswith(WHOLE):
            shown = {word for texts in each.train for text in texts for word in plain(text).split()}
            words = {word for texts in each.held for text in texts for word in plain(text).split()}
            assert words <= shown, purpose


def test_training_never_shows_a_held_out_sum():
    dialogues = training_dialogues(5)
    for _ in range(300):
        for turn in next(dialogues).turns:
            if turn.intent in ("add", "sub"):
                a, _, b = turn.answer.split(" = ")[0].split(" ")
                assert not is_held(turn.intent, *sorted((int(a), int(b))))


def test_choices_expand_to_every_text():
    assert expand("(Hi|Hello) {x}(!|)") == ("Hi {x}!", "Hi {x}", "Hello {x}!", "Hello {x}")


def test_the_same_seed_writes_the_same_dialogues():
    first, second = training_dialogues(3), training_dialogues(3)
    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]


@pytest.mark.parametrize(
    ("intent", "answer", "wrong"),
    [
        ("add", "7 + 5 = 12.", "7 + 5 = 13."),
        ("count", "1, 2, 3", "1, 2, 3, 4"),
        ("repeat", "blorf tari", "blorf tarri"),
        ("ask name", "Your name is Zoltan.", "Your name is Zoran."),
        ("thanks", "You are welcome!", "Avec plaisir !"),
        ("unknown", load_grammar("en").answers["unknown"], load_grammar("fr").answers["unknown"]),
    ],
)
def test_the_judge_can_say_no(evaluation, intent, answer, wrong):
    turn = Turn("en", intent, "…", answer)
    assert evaluation.is_right(turn, answer)
    assert not evaluation.is_right(turn, wrong)
    assert not evaluation.is_right(turn, "")


def _share_right(outcomes) -> float:
    return sum(outcome.right for outcome in outcomes) / len(outcomes)


@pytest.mark.slow
def test_held_out_dialogues_are_answered_right(model, tokenizer, evaluation):
    dialogues = evaluation.held_out_single(71, 2)
    outcomes = evaluation.converse(model, tokenizer, dialogues, "one turn")
    talks = evaluation.held_out_several(72, 12, 2, 4)
    outcomes += evaluation.converse(model, tokenizer, talks, "2 to 4 turns")
    assert evaluation.count_dialogues(outcomes) >= 120
    wrong = [(o.turn.user, o.reply) for o in outcomes if not o.right]
    assert _share_right(outcomes) >= RIGHT, wrong
    for code in LANGUAGES:
        mine = [outcome for outcome in outcomes if outcome.turn.language == code]
        assert _share_right(mine) >= RIGHT_EACH, (code, wrong)


@pytest.mark.slow
def test_a_name_is_remembered_over_other_turns(model, tokenizer, evaluation):
    dialogues = evaluation.held_out_names(73, 24, (1, 3))
    outcomes = evaluation.converse(model, tokenizer, dialogues, "name asked later")
    asked = [outcome for outcome in outcomes if outcome.turn.intent == "ask name"]
    assert len(asked) >= 24
    assert _share_right(asked) >= RIGHT_NAMES, [(o.turn, o.reply) for o in asked if not o.right]


@pytest.mark.slow
def test_a_wrong_expectation_fails_the_measure(model, tokenizer, evaluation):
    dialogue = evaluation.held_out_single(74, 2)[0]
    spoiled = Dialogue(dialogue.system, (replace(dialogue.turns[0], answer="No."),))
    outcomes = evaluation.converse(model, tokenizer, [spoiled, dialogue], "one turn")
    assert Counter(outcome.right for outcome in outcomes)[False] >= 1
