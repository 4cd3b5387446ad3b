"""Texts as they are spoken: where sentences end in many languages, and what of markup is said."""

from __future__ import annotations

import time

import pytest

from engine.sentences import LONGEST, plain, split, take
from engine.voices import Voice, find_voice, guess_language, spoken_language, voice_of

SPLIT = {
    "Dr. Smith met Mr. J. R. R. Tolkien at 3.14 p.m. today. It was No. 5! Really? Yes.": [
        "Dr. Smith met Mr. J. R. R. Tolkien at 3.14 p.m. today.", "It was No. 5!", "Really?", "Yes."],
    "M. Dupont habite av. Foch, p. ex. au n° 3. Il dit : « Bonjour ! » puis part. C'est tout… enfin presque.": [
        "M. Dupont habite av. Foch, p. ex. au n° 3.", "Il dit : « Bonjour ! » puis part.",
        "C'est tout… enfin presque."],
    "O Sr. Silva mora na Av. Paulista, nº 1.500. Chegou às 10h. Tudo bem?": [
        "O Sr. Silva mora na Av. Paulista, nº 1.500.", "Chegou às 10h.", "Tudo bem?"],
    "Это было в 1990 г. Потом, т.е. позже, он жил на ул. Ленина. А. С. Пушкин писал и т.д. Конец.": [
        "Это было в 1990 г.", "Потом, т.е. позже, он жил на ул. Ленина.",
        "А. С. Пушкин писал и т.д.", "Конец."],
    "今天天气很好。我们去公园吧！「はい。」と言った。": [
        "今天天气很好。", "我们去公园吧！", "「はい。」", "と言った。"],
    "यह एक वाक्य है। दूसरा यहाँ है।": ["यह एक वाक्य है।", "दूसरा यहाँ है।"],
    "1. First point. 2. Second. 3. Third": ["1. First point.", "2. Second.", "3. Third"],
    "Really?! he asked. \"Yes.\" It is so.": ["Really?!", "he asked.", "\"Yes.\"", "It is so."],
    "A title\n\nThe first line\ngoes on. End.": ["A title", "The first line goes on.", "End."],
}  # fmt: skip


@pytest.mark.parametrize("text", SPLIT)
def test_sentences(text: str):
    assert [s.text for s in split(text)] == SPLIT[text]


def test_long_sentences_are_cut_where_one_breathes():
    clauses = ", ".join(f"clause number {n} of them" for n in range(60))
    for text in (clauses, "word " * 500, "x" * 2000, "汉字" * 800):
        pieces = split(text)
        assert all(0 < len(p.text) <= LONGEST for p in pieces) and len(pieces) > 3
        joined = "".join(p.text for p in pieces).replace(" ", "")
        assert joined == text.replace(" ", "").strip()
    assert all(p.text.endswith(",") for p in split(clauses)[:-1])


def test_pauses_tell_paragraphs_from_sentences():
    rests = [s.rest for s in split("One. Two.\n\nThree.")]
    assert rests == [1.0, 2.0, 2.0]


def test_a_growing_text_gives_what_is_certain():
    assert take("Hello there. Dr. Smith says 3.") == (["Hello there."], " Dr. Smith says 3.")
    assert take("Hi! How") == (["Hi!"], " How")
    assert take("你好。再见") == (["你好。"], "再见")
    assert take("A heading\n\nand more") == (["A heading\n\n"], "and more")
    text, said = "The first. The second one! And 3.5 of them. ", []
    held = ""
    for letter in text:
        done, held = take(held + letter)
        said += [one.strip() for one in done]
    assert said == ["The first.", "The second one!", "And 3.5 of them."]


PLAIN = {
    "**Bold**, *it*, `code` and ~~gone~~": "Bold, it, code and gone",
    "[link](http://x.y/z) ![alt](a.png)": "link alt",
    "See https://www.example.com/a/b?c=d now": "See example.com now",
    "# Title\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |": "Title\n\nquoted\n\na, b\n\n1, 2",
    "```py\nx = 1\n```\nDone": "Done",
    "```\nx = 1\n```": "x = 1",
    "a < b and c > d &amp; e": "a < b and c > d & e",
    "<speak>Hi <break time='1s'/>there</speak><script>alert(1)</script>": "Hi there",
    "Nice 😀👍🏽, thanks 👨‍👩‍👧!": "Nice , thanks !",
    "😀🎉": "😀🎉",
    "snake_case 2*3*4 a_b_c": "snake_case 2*3*4 a_b_c",
    "\x01\x00": "",
}


@pytest.mark.parametrize("text", PLAIN)
def test_markup_is_not_said(text: str):
    assert " ".join(plain(text).split(" ")) == PLAIN[text]


@pytest.mark.parametrize(
    "text",
    ["word. " * 17_000, "*" * 100_000, "<" * 100_000, "[" * 100_000, "_a" * 50_000, "| " * 50_000,
     "`" * 99_999, "a." * 50_000, "\n-" * 50_000, "**a" * 33_000, "<a " * 33_000, "```\n" * 25_000],
)  # fmt: skip
def test_hostile_length_takes_no_time(text: str):
    began = time.process_time()
    split(plain(text))
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    ("text", "language"),
    [("Bonjour tout le monde", "fr"), ("Olá, como está você?", "pt"), ("Привет, мир", "ru"),
     ("Її звати Оксана", "uk"), ("Hello world", "en"), ("今天天气很好", "zh"), ("こんにちは世界", "ja"),
     ("안녕하세요", "ko"), ("مرحبا", "ar"), ("Guten Tag, wie geht es Ihnen?", "de"),
     ("Hola, ¿qué tal?", "es"), ("Dzień dobry", "pl"), ("12345", "en"), ("", "en")],
)  # fmt: skip
def test_a_language_is_guessed(text: str, language: str):
    assert guess_language(text) == language


def test_voices_are_found_by_name_and_language():
    voices = [
        Voice("Heart", "k", "en"),
        Voice("Siwis", "k", "fr", aliases=("Elise",)),
        Voice("Any", "x"),
    ]
    assert find_voice(voices, "elise") is voices[1] and find_voice(voices, "nobody") is None
    assert (
        voice_of(voices, "", "fr", "k") is voices[1]
        and voice_of(voices, "", "ru", "k") is voices[2]
    )
    assert [spoken_language(hint) for hint in ("French", "fr", "fra", "fr-CA", "auto", "")] == [
        "fr", "fr", "fr", "fr", "", ""]  # fmt: skip
