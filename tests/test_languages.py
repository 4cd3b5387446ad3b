"""Hints of a language as people write them."""

from __future__ import annotations

import pytest

from engine import languages
from engine.errors import BadValue
from engine.languages import LANGUAGES, NAMES, installed_packs, parse_languages, readable
from engine.tongues import own_name


@pytest.mark.parametrize(
    ("hint", "codes"),
    [
        ("", ()),
        ("auto", ()),
        (" Auto ", ()),
        ("ru", ("ru",)),
        ("RUS", ("ru",)),
        ("Russian", ("ru",)),
        ("русский", ("ru",)),
        ("Russe", ("ru",)),
        ("russo", ("ru",)),
        ("rus+eng", ("ru", "en")),
        ("fra+eng", ("fr", "en")),
        ("fr,en", ("fr", "en")),
        ("fr; en / pt", ("fr", "en", "pt")),
        ("en+en", ("en",)),
        ("auto+ru", ("ru",)),
        ("Français", ("fr",)),
        ("francais", ("fr",)),
        ("francês", ("fr",)),
        ("французский", ("fr",)),
        ("fre", ("fr",)),
        ("anglais et russe", ("en", "ru")),
        ("português e inglês", ("pt", "en")),
        ("English French", ("en", "fr")),
        ("pt-BR", ("pt",)),
        ("pt_PT", ("pt",)),
        ("en_US", ("en",)),
        ("chi_sim", ("zh",)),
        ("zh-Hans", ("zh",)),
        ("zh", ("zh",)),
        ("chi_tra", ("zh-hant",)),
        ("zh-TW", ("zh-hant",)),
        ("Simplified Chinese", ("zh",)),
        ("日本語", ("ja",)),
        ("العربية", ("ar",)),
        ("iw", ("he",)),
        ("srp_latn", ("sr-latn",)),
        ("cyrillic", ("ru",)),
        ("ger", ("de",)),
    ],
)
def test_hints(hint: str, codes: tuple[str, ...]):
    assert parse_languages(hint) == codes


@pytest.mark.parametrize("hint", ["Klingon", "fr+Klingon", "xx", "Lorem ipsum", "ru en xx", "?"])
def test_unknown_ones_are_refused_with_what_is_there(hint: str):
    with pytest.raises(BadValue) as caught:
        parse_languages(hint)
    told = str(caught.value)
    assert caught.value.param == "language"
    assert all(name in told for name in ("English", "French", "Portuguese", "Chinese"))
    assert ("Russian" in told) == ("rus" in installed_packs())


def test_a_pack_of_ones_own_is_a_language(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(languages, "installed_packs", lambda: frozenset({"my_font", "rus"}))
    assert parse_languages("my_font+rus") == ("my_font", "ru")
    with pytest.raises(BadValue, match="my_font"):
        parse_languages("another_font")


def test_no_name_means_two_languages():
    owners: dict[str, set[str]] = {}
    for language in LANGUAGES.values():
        for name in (language.code, language.pack, *language.codes, *language.names):
            owners.setdefault(name.casefold(), set()).add(language.code)
    assert {name: codes for name, codes in owners.items() if len(codes) > 1} == {}


def test_every_name_leads_to_its_language():
    for language in LANGUAGES.values():
        for name in (language.code, language.pack, *language.codes, *language.names):
            assert parse_languages(name) == (language.code,), name


def test_what_is_there():
    without = readable(())
    assert {"en", "zh", "ja", "pt"} <= set(without)
    assert not {"ru", "ar", "el", "vi", "ko"} & set(without)
    assert {"ru", "own"} <= set(readable(["rus", "own"]))
    assert NAMES["ru"] == "Russian"
    assert LANGUAGES["zh"].package == "tesseract-ocr-chi-sim"


def test_without_tesseract_there_are_no_packs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed_packs() == frozenset()


@pytest.mark.parametrize(
    ("code", "own"),
    [("en", "English"), ("fr", "français"), ("ru", "русский"), ("xx", "xx")],
)
def test_a_language_names_itself(code: str, own: str):
    assert own_name(code) == own
