"""Texts in pieces and back, glossaries, languages found out, and the names people give them."""

from __future__ import annotations

import random
import time

import pytest

from engine.asking_translation import ask, read
from engine.detection import detect
from engine.errors import BadValue
from engine.glossaries import Glossary, tries
from engine.passages import split
from engine.tongues import code_of, parse_name, parse_tongue

LETTER = """# A title

Hello Mr. Smith. How are you?  I am
fine!

- first item: one. Two!
  1. nested item
> quoted

This is a long line of a paragraph that was wrapped by hand and goes
on here. Another sentence begins and it runs past the end of the line
as well.\r\n\r\n\tIndented 😀

https://example.com/a.b 12345
"""


def test_a_text_is_its_pieces():
    pieces = split(LETTER)
    assert "".join(piece.source for piece in pieces) == LETTER
    said = [piece.text for piece in pieces if piece.said]
    assert said[:4] == ["A title", "Hello Mr. Smith.", "How are you?", "I am"]
    assert "first item: one." in said and "nested item" in said and "quoted" in said
    assert not any("https" in text or text.startswith(("-", ">", "1.")) for text in said)


def test_lines_that_were_wrapped_are_one_sentence_and_wrapped_again():
    [long] = [p for p in split(LETTER) if p.text.startswith("This is a long")]
    assert long.text.endswith("goes on here.") and len(long.breaks) == 1
    assert long.put(long.text.upper()).count("\n") == 1
    assert long.put("Kurz.") == "Kurz."  # nowhere to break


@pytest.mark.parametrize("seed", range(3))
def test_any_text_is_its_pieces(seed: int):
    rng = random.Random(seed)
    parts = [
        "a",
        "Bc. ",
        " \n",
        "\n",
        "- ",
        "word " * 12,
        "\t",
        "。",
        "! ",
        "1. ",
        "é…",
        "\r\n",
        " ",
        "> ",
        "🙂",
    ]
    for _ in range(400):
        text = "".join(rng.choices(parts, k=rng.randrange(20)))
        assert "".join(piece.source for piece in split(text)) == text
        put = "".join(p.put(p.text) if p.said else p.text for p in split(text))
        assert put.split() == text.split()


@pytest.mark.parametrize(
    "text", ["." * 100_000, "a" * 100_000, "word " * 20_000, "One. " * 20_000, "@" * 50_000]
)
def test_long_texts_are_cut_quickly(text: str):
    began = time.process_time()
    split(text)
    assert time.process_time() - began < 5


def test_a_glossary_is_kept_whatever_a_translator_does():
    glossary = Glossary({"hotel": "Auberge", "Paris": ""})
    text = "Where is the hotel in paris? A hotelier knows."
    losing = [lambda t: t.upper(), lambda t: "", lambda t: t.replace("ZQ1", "").replace("[1]", "")]
    for translate in losing:
        made = next(
            m for way in tries(text, glossary) if (m := way.read([translate(t) for t in way.texts]))
        )
        assert made.count("Auberge") == 1 and "paris" in made and "[" not in made
    assert glossary.apply("Hotel!") == "Auberge!"
    assert next(tries("Hotel", glossary)).read([]) == "Auberge"  # nothing is left to ask
    assert next(tries("no words of it", glossary)).texts == ("no words of it",)
    assert Glossary({"東京": "Tokyo"}).apply("私は東京です") == "私はTokyoです"


def test_marks_that_a_translator_spells_anew_are_found():
    first = next(tries("See ZQ1 and the hotel.", Glossary({"hotel": "Auberge"})))
    assert first.texts == ("See ZQ1 and the ZQ2.",)
    assert first.read(["Voir ZQ1 et le zq 2."]) == "Voir ZQ1 et le Auberge."
    assert first.read(["Voir ZQ1."]) is None and first.read(["ZQ2 ZQ2"]) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello", "en"), ("Bonjour", "fr"), ("Olá", "pt"), ("Привет", "ru"), ("Merci", "fr"), ("Guten Tag", "de"),
        ("Where is the station?", "en"), ("Où est la gare ?", "fr"), ("Onde fica a estação?", "pt"),
        ("Где вокзал?", "ru"), ("こんにちは", "ja"), ("¿Dónde está la estación?", "es"), ("🙂🙂 12", "und"),
        ("", "und"),
    ],
)  # fmt: skip
def test_languages_are_found_out(text: str, code: str):
    assert detect(text)[0] == code


def test_what_is_plainly_another_language_is_said_to_be():
    ours = ("en", "fr", "pt", "ru")
    assert detect("Das ist ein ganz normaler deutscher Satz.", ours)[0] == "de"
    assert detect("Ola amigos", ours)[0] == "pt"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("French", "fr"), ("fr", "fr"), ("FRA", "fr"), ("fr_Latn", "fr"), ("fra_Latn", "fr"), ("français", "fr"),
        ("pt-BR", "pt"), ("русский", "ru"), ("zh-TW", "zh-hant"), ("Hausa", "ha"), ("arb_Arab", "ar"),
    ],
)  # fmt: skip
def test_languages_by_the_names_people_give_them(name: str, code: str):
    assert parse_name(name) == code


def test_tokens_of_models_are_languages():
    tokens = (
        "fra_Latn",
        "__fr__",
        ">>fra<<",
        "<2fr>",
        "srp_Cyrl",
        "zho_Hant",
        "ace_Arab",
        "swh_Latn",
        "__zu__",
    )
    assert [code_of(t) for t in tokens] == [
        "fr",
        "fr",
        "fr",
        "fr",
        "sr",
        "zh-hant",
        "ace-arab",
        "sw",
        "zu",
    ]
    with pytest.raises(BadValue, match=r"Klingon.*English \(en\), French \(fr\)"):
        parse_tongue("Klingon", ("fr", "en"), "x", "target")


def test_a_chat_models_answer_is_cleaned():
    question = ask("Hallo [[1]]", "de", "fr")
    assert "from German into French" in question and question.endswith(
        "<text>\nHallo [[1]]\n</text>"
    )
    said = [
        "Bonjour",
        '"Bonjour"',
        "« Bonjour »",
        "```\nBonjour\n```",
        "<text>Bonjour</text>",
        "Translation: Bonjour",
    ]
    said += [
        "Sure! Here is the translation:\n\nBonjour",
        "Traduction :\nBonjour",
        "Bonjour\n\n(Note: informal.)",
    ]
    assert {read(text, "Hallo") for text in said} == {"Bonjour"}
    assert (
        read('"Bonjour"', '"Hallo"') == '"Bonjour"' and read("Note: ja", "Note: oui") == "Note: ja"
    )
    assert read("la " * 5000, "Hallo") == "" and read("  ", "Hallo") == ""
