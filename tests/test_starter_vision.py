"""The starter vision model: its folder, its template, its scenes, and its answers about held-out ones."""

import io
import json
import random
from pathlib import Path

import pytest

from starter.chat_data import is_held
from starter.chat_grammar import LANGUAGES, plain
from starter.vision_data import WEIGHTS, Guide, write_turn
from starter.vision_scene import COLOURS, KINDS, Scene, Shape, draw_scene, write_scene
from starter.vision_words import load_words

FOLDER = Path(__file__).parent.parent / "assets" / "starters" / "starter-vision"
MOST_BYTES = 15 * 1024 * 1024
# Floors below what the committed weights reached, so that a worse copy is noticed. The goal is 0.95
# everywhere and is far from reached yet; the card in the folder says by how much.
RIGHT, RIGHT_EACH, RIGHT_DRAWN = 0.5, 0.42, 0.8
SCENE = Scene(
    (
        Shape("circle", "red", True, 0),
        Shape("star", "blue", False, 5),
        Shape("star", "green", False, 8),
    ),
    "white",
)


@pytest.fixture(scope="module")
def processor():
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32).eval()


def _answer(model, processor, picture, question):
    from starter import vision_eval

    talk = vision_eval.ask_about(picture, question)
    return vision_eval.answer_all(model, processor, [(talk, picture)])[0]


def test_folder_is_small_and_complete():
    files = {path.name: path for path in FOLDER.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "processor_config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "README.md",
    } <= set(files)
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt"))]
    assert sum(path.stat().st_size for path in files.values()) <= MOST_BYTES
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o644}


def test_config_is_a_plain_qwen3_vl_with_greedy_answers():
    config = json.loads((FOLDER / "config.json").read_text())
    generation = json.loads((FOLDER / "generation_config.json").read_text())
    assert config["architectures"] == ["Qwen3VLForConditionalGeneration"]
    assert config["text_config"]["max_position_embeddings"] == 1024
    assert "auto_map" not in config
    assert not generation.get("do_sample", False)
    assert generation["eos_token_id"] == config["text_config"]["eos_token_id"]


def test_card_names_licence_and_scores():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n")
    assert "| all |" in card
    assert "{" not in card


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_name_and_answer_exists_in_the_language(code):
    words = load_words(code)
    assert {"shape", *KINDS} == set(words.noun)
    assert set(COLOURS) == set(words.colour)
    assert set(WEIGHTS) - {"greet", "thanks", "bye"} == set(words.ask)
    assert len(words.said) == len(words.asked) == 9
    for phrases in words.ask.values():
        for text in (text for texts in phrases.train + phrases.held for text in texts):
            assert "|" not in text
            assert text.count("(") == 0, text


@pytest.mark.parametrize("code", LANGUAGES)
def test_held_out_phrasings_are_made_of_words_of_their_own_list(code):
    phrases = load_words(code).ask
    for each in phrases.values():
        shown = {plain(text) for texts in each.train for text in texts}
        held = {plain(text) for texts in each.held for text in texts}
        assert not shown & held
        words = {word for text in shown for word in text.split()}
        assert {word for text in held for word in text.split()} <= words
    assert sum(bool(each.held) for each in phrases.values()) >= 0.45 * len(phrases)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (
            "en",
            (
                "A big red circle at the top left, a small blue star on the right and "
                "a small green star at the bottom right, on a white background."
            ),
        ),
        (
            "fr",
            (
                "Un grand cercle rouge en haut à gauche, une petite étoile bleue à droite et "
                "une petite étoile verte en bas à droite, sur fond blanc."
            ),
        ),
        (
            "pt",
            (
                "Um grande círculo vermelho em cima à esquerda, uma pequena estrela azul à direita e "
                "uma pequena estrela verde embaixo à direita, em fundo branco."
            ),
        ),
        (
            "ru",
            (
                "Большой красный круг слева вверху, маленькая синяя звезда справа и "
                "маленькая зелёная звезда справа внизу, на белом фоне."
            ),
        ),
    ],
)
def test_a_scene_is_described_in_each_language(code, answer):
    assert Guide(SCENE, load_words(code), random.Random(1)).describe(SCENE) == answer


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("en", ["1 heart", "2 hearts", "5 hearts", "an orange square"]),
        ("fr", ["1 cœur", "2 cœurs", "5 cœurs", "un carré orange"]),
        ("pt", ["1 coração", "2 corações", "5 corações", "um quadrado laranja"]),
        ("ru", ["1 сердце", "2 сердца", "5 сердец", "оранжевый квадрат"]),
    ],
)
def test_numbers_and_articles_agree(code, said):
    words = load_words(code)
    counted = [words.number(n, "heart") for n in (1, 2, 5)]
    assert [*counted, words.name("a", "square", "orange")] == said


def test_training_never_shows_a_held_out_combination():
    rng = random.Random(4)
    for _ in range(400):
        for shape in write_scene(rng).shapes:
            assert not is_held(shape.kind, shape.colour, shape.cell)
    for _ in range(100):
        scene = write_scene(rng, held=True)
        held = [is_held(shape.kind, shape.colour, shape.cell) for shape in scene.shapes]
        assert any(held) or not scene.shapes


def test_the_same_seed_draws_the_same_picture_and_question():
    def draw():
        rng = random.Random(9)
        scene = write_scene(rng)
        picture, spots = draw_scene(scene, (7, 7), rng)
        return scene, picture.tobytes(), spots, write_turn(scene, "ru", rng)

    assert draw() == draw()


def test_pictures_stand_before_the_words_of_their_message(processor):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image"}]
    text = processor.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}],
        add_generation_prompt=True,
    )
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is this?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (640, 480), (1080, 1920), (4000, 500)])
def test_every_picture_becomes_few_tokens(processor, size):
    from PIL import Image

    grid = processor.image_processor(Image.new("RGB", size), return_tensors="pt")["image_grid_thw"]
    assert 24 <= grid.prod().item() // 4 <= 64


def test_training_sees_what_the_model_sees(model, processor):
    """The packed forward pass of the recipe gives the numbers of the published class."""
    import torch

    from starter.vision_batch import MOST_PATCHES, Batch, Packer, Row, to_patches
    from starter.vision_scene import GRIDS
    from starter.vision_train import Places, hidden_states, see

    rng, grid = random.Random(2), (5, 8)
    picture = draw_scene(SCENE, grid, rng, 2.0)[0].resize((256, 160))
    turn = write_turn(SCENE, "fr", rng, intent="describe")
    talk = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": turn.user}]},
        {"role": "assistant", "content": turn.answer},
    ]
    inputs = processor(
        text=[processor.apply_chat_template(talk)], images=[picture], return_tensors="pt"
    )
    packer = Packer(processor.tokenizer, 1)
    row = Row([grid], packer.picture)
    row.text(packer.user)
    packer._look(row, 0)
    row.text(*packer._exchange(turn))
    row.text(packer.line)
    assert row.ids == inputs["input_ids"][0].tolist()
    patches = torch.zeros(1, MOST_PATCHES, 192)
    split = to_patches(picture, grid)
    patches[0, : len(split)] = split
    none = torch.zeros(1, 0, 5)
    lists = [torch.tensor([listed]) for listed in (row.ids, row.labels, row.place, row.part)]
    number = torch.tensor([list(GRIDS).index(grid)])
    position = torch.tensor(row.position).T[:, None]
    batch = Batch(patches, number, none, none, *lists, position)
    tower = model.model.visual
    with torch.no_grad():
        mine = model.lm_head(hidden_states(model, batch, see(tower, Places(tower), batch)))
        assert torch.allclose(mine, model(**inputs).logits, atol=1e-3)


def _drawing(size, ground, kind, colour):
    """A picture as somebody would make it in a paint program: no smoothing, one plain shape."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(picture)
    half = min(size) // 4
    x, y = size[0] // 2, size[1] // 2
    box = (x - half, y - half, x + half, y + half)
    if kind == "circle":
        draw.ellipse(box, fill=colour)
    elif kind == "triangle":
        draw.polygon([(x, y - half), (x + half, y + half), (x - half, y + half)], fill=colour)
    else:
        draw.rectangle(box, fill=colour)
    return picture


RED_CIRCLE = ("white", "circle", "red")
BLUE_SQUARE = ("white", "square", "blue")
DRAWN = [
    ("What colour is the circle?", "The circle is red.", (300, 200), RED_CIRCLE),
    ("Is there a red circle?", "Yes, there is a red circle.", (100, 100), RED_CIRCLE),
    ("How many shapes are there?", "There is 1 shape.", (1280, 720), ("white", "circle", "orange")),
    (
        "Describe this image",
        "A big red circle in the centre, on a white background.",
        (300, 200),
        RED_CIRCLE,
    ),
    (
        "What colour is the background?",
        "The background is black.",
        (800, 600),
        ("black", "circle", "white"),
    ),
    ("What color is this picture?", "The picture is red.", (400, 300), ("red", "square", "red")),
    ("De quelle couleur est le carré ?", "Le carré est bleu.", (200, 200), BLUE_SQUARE),
    (
        "Que montre cette image ?",
        "Un grand triangle noir au centre, sur fond blanc.",
        (256, 256),
        ("white", "triangle", "black"),
    ),
    (
        "De que cor é o quadrado?",
        "O quadrado é amarelo.",
        (512, 512),
        ("black", "square", "yellow"),
    ),
    (
        "O que há nesta imagem?",
        "Um grande quadrado azul no centro, em fundo branco.",
        (640, 480),
        BLUE_SQUARE,
    ),
    (
        "Какого цвета треугольник?",
        "Треугольник — зелёный.",
        (480, 640),
        ("white", "triangle", "green"),
    ),
    (
        "Опиши эту картинку",
        "Большой синий квадрат в центре, на белом фоне.",
        (640, 480),
        BLUE_SQUARE,
    ),
]


@pytest.mark.slow
def test_drawings_of_other_sizes_are_answered_right(model, processor):
    wrong = []
    for question, right, size, drawn in DRAWN:
        reply = _answer(model, processor, _drawing(size, *drawn), question)
        wrong += [(question, right, reply)] if reply != right else []
    assert len(wrong) <= (1 - RIGHT_DRAWN) * len(DRAWN), wrong


@pytest.mark.slow
def test_a_question_without_a_picture_asks_for_one(model, processor):
    words = load_words("en")
    assert _answer(model, processor, None, "Describe this image") == words.answer["no_picture"]


def _share(outcomes):
    return sum(outcome.right for outcome in outcomes) / len(outcomes)


@pytest.mark.slow
def test_held_out_scenes_are_answered_right(model, processor):
    from starter import vision_eval

    visits = vision_eval.held_out_single(81, 2)
    outcomes = vision_eval.converse(model, processor, visits, "one turn")
    outcomes += vision_eval.converse(
        model, processor, vision_eval.held_out_several(82, 16), "2 to 5 turns"
    )
    wrong = [(o.turn.user, o.turn.answer, o.reply) for o in outcomes if not o.right]
    assert len(outcomes) >= 200
    assert _share(outcomes) >= RIGHT, wrong
    for code in LANGUAGES:
        mine = [outcome for outcome in outcomes if outcome.turn.language == code]
        assert _share(mine) >= RIGHT_EACH, (code, wrong)


@pytest.mark.slow
def test_a_picture_of_another_scene_gets_another_answer(model, processor):
    """The answers come from the picture: the same question about two pictures differs."""
    pictures = [_drawing((300, 300), "white", "circle", colour) for colour in ("red", "blue")]
    question = "What colour is the circle?"
    replies = {_answer(model, processor, picture, question) for picture in pictures}
    assert len(replies) == 2


def test_jpeg_and_png_of_a_scene_become_the_same_tokens(processor):
    from PIL import Image

    picture = draw_scene(SCENE, (6, 8), random.Random(5), 2.0)[0]
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=90)
    shapes = [
        processor.image_processor(each, return_tensors="pt")["pixel_values"].shape
        for each in (picture, Image.open(stored))
    ]
    assert shapes[0] == shapes[1]
