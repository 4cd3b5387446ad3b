"""The languages of translation models: our codes, names as people write them, and the tokens that models know them by.

A leaf beside `engine.languages`, which names the languages that are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from engine.errors import BadValue
from engine.languages import LANGUAGES, NAMES, find_language

# Languages that are translated, not read: code, other codes, name.
_MORE = """
nn nno Norwegian Nynorsk|ha hau Hausa|ig ibo Igbo|ln lin Lingala|lg lug Ganda|mg mlg,plt Malagasy|so som Somali
xh xho Xhosa|zu zul Zulu|st sot Southern Sotho|nso ns Northern Sotho|tn tsn Tswana|ts tso Tsonga|ss ssw Swati
sn sna Shona|ny nya Chichewa|rw kin Kinyarwanda|rn run Rundi|wo wol Wolof|ff ful,fuv Fulah|bm bam Bambara
ee ewe Ewe|ak aka Akan|tw twi Twi|om orm,gaz Oromo|ki kik Kikuyu|kg kon Kongo|lua - Luba-Kasai|luo - Luo
fon - Fon|kam - Kamba|kmb - Kimbundu|umb - Umbundu|sg sag Sango|din dik Dinka|nus - Nuer|bem - Bemba
tum - Tumbuka|cjk - Chokwe|mos - Mossi|dyu - Dyula|kbp - Kabiyè|kab - Kabyle|tzm - Tamazight|taq - Tamasheq
kr knc Kanuri|kea - Kabuverdianu|ast - Asturian|an arg Aragonese|ba bak Bashkir|crh - Crimean Tatar
tk tuk Turkmen|azb - South Azerbaijani|fur - Friulian|lij - Ligurian|lmo - Lombard|scn - Sicilian
srd sc Sardinian|vec - Venetian|li lim Limburgish|szl - Silesian|ltg - Latgalian|pap - Papiamento|ilo - Ilocano
war - Waray|pag - Pangasinan|ace - Acehnese|ban - Balinese|bjn - Banjar|bug - Buginese|min - Minangkabau
sm smo Samoan|fj fij Fijian|tpi - Tok Pisin|gn grn Guarani|ay ayr,aym Aymara|awa - Awadhi|bho - Bhojpuri
hne - Chhattisgarhi|mag - Magahi|mai - Maithili|ks kas Kashmiri|sat - Santali|mni - Meitei|lus - Mizo|shn - Shan
kac - Jingpho|yue - Cantonese|ary - Moroccan Arabic|arz - Egyptian Arabic|apc - Levantine Arabic
ajp - South Levantine Arabic|acm - Mesopotamian Arabic|acq - Ta'izzi-Adeni Arabic|aeb - Tunisian Arabic
ars - Najdi Arabic|prs - Dari
"""
# Codes that models use for what has another name here.
_SAME = {
    "arb": "ar", "pes": "fa", "lvs": "lv", "nob": "no", "nno": "nn", "azj": "az", "uzn": "uz", "khk": "mn", "als": "sq",
    "zsm": "ms", "swh": "sw", "npi": "ne", "ory": "or", "pbt": "ps", "ydd": "yi", "quy": "qu", "kmr": "ku", "ekk": "et",
    "cmn": "zh", "fil": "tl", "iw": "he", "jw": "jv", "nb": "no", "zho": "zh", "ns": "nso",
}  # fmt: skip
_TAGGED = re.compile(r"([a-z]{2,3})_([A-Z][a-z]{3})")
# Scripts that a language is written in where a model's token does not say another.
_USUAL = {
    "sr": "Cyrl", "zh": "Hans", "ks": "Arab", "kr": "Latn", "ace": "Latn", "bjn": "Latn", "taq": "Latn", "min": "Latn",
    "mni": "Beng", "ar": "Arab", "uz": "Latn", "kk": "Cyrl", "az": "Latn", "tt": "Cyrl",
}  # fmt: skip


@lru_cache(maxsize=1)
def _more() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for entry in re.split(r"[|\n]", _MORE.strip()):
        code, codes, name = entry.split(" ", 2)
        found[code] = (name, tuple(c for c in codes.split(",") if c != "-"))
    return found


@lru_cache(maxsize=1)
def _index() -> Mapping[str, str]:
    index = dict(_SAME)
    for code, (name, codes) in _more().items():
        for key in (code, name, *codes):
            index.setdefault(key.casefold(), code)
    return index


def english_name(code: str) -> str:
    """The English name of a code; the code itself where there is none."""
    found = _more().get(code)
    if name := NAMES.get(code) or (found[0] if found else ""):
        return name
    plain, _, script = code.partition("-")
    return f"{english_name(plain)} ({script.title()})" if script and plain != code else code


def own_name(code: str) -> str:
    """How a language calls itself, where that is known; else its English name."""
    language = LANGUAGES.get(code)
    if code == "en" or language is None or len(language.names) < 2:
        return english_name(code)
    return language.names[1]


def code_of(token: str) -> str:
    """Our code of what a model calls a language: "fra_Latn", "__fr__", ">>fra<<", "<2fr>", "fra".

    A second script of a language is part of its code: "ace_Arab" stays "ace-arab".
    """
    bare = token.strip("_<>").removeprefix("2")
    tagged = _TAGGED.fullmatch(bare)
    plain, script = (tagged[1], tagged[2]) if tagged else (bare, "")
    if script == "Hant" or bare.lower() in {"zh_tw", "zh-tw", "cmn_hant"}:
        return "yue" if plain == "yue" else "zh-hant"
    folded = plain.casefold()
    code = _SAME.get(folded) or find_language(folded) or _index().get(folded) or folded
    if not script or _USUAL.get(code, script) == script:
        return code
    return f"{code}-{script.casefold()}"


def parse_tongue(name: str, known: Collection[str], model: str, param: str) -> str:
    """The code, among those a model knows, of a language as people write it ("French", "fr", "fra", "fr_Latn").

    Raises:
        BadValue: the model does not know it; lists those that it does.
    """
    code = parse_name(name)
    for found in (code, code.partition("-")[0]):
        if found in known:
            return found
    raise BadValue(
        f"{model} does not translate '{name[:60]}'. It knows: {listed(known)}. Choose among them, or another model.",
        param=param,
    )


def parse_name(name: str) -> str:
    """The code of a language as people write it; the name itself, in small letters, where nobody knows it."""
    text = name.strip()
    if found := find_language(text):
        return found
    folded = text.casefold()
    if found := _index().get(folded):
        return found
    if _TAGGED.fullmatch(text):
        return code_of(text)
    head = re.split(r"[-_]", folded)[0]
    return find_language(head) or _index().get(head) or folded


def is_auto(name: str) -> bool:
    """Whether a language is to be found out."""
    return name.strip().casefold() in {"", "auto", "detect", "und"}


def listed(codes: Iterable[str]) -> str:
    """Languages by name and code, for people."""
    named = sorted((english_name(code), code) for code in codes)
    return ", ".join(f"{name} ({code})" for name, code in named)
