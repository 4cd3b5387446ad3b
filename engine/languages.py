"""The languages of texts: the names people give them, their codes, scripts and Tesseract packs.

A leaf: knows what could be read here, not how reading is done.
"""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from engine.errors import BadValue

# code, codes of three letters (the first names the Tesseract pack unless one follows "="), script,
# then names: English first, native, French, Portuguese, Russian, and others in use.
_TABLE = """
en eng Latin|English|anglais|inglês|английский|en_us
fr fra,fre Latin|French|français|francês|французский
pt por Latin|Portuguese|português|portugais|португальский|Brazilian|brasileiro
ru rus Cyrillic|Russian|русский|russe|russo|Cyrillic
es spa Latin|Spanish|español|espagnol|espanhol|испанский|castellano|Castilian
de deu,ger Latin|German|Deutsch|allemand|alemão|немецкий
it ita Latin|Italian|italiano|italien|итальянский
nl nld,dut Latin|Dutch|Nederlands|néerlandais|holandês|neerlandês|нидерландский|голландский|Flemish
uk ukr Cyrillic|Ukrainian|українська|ukrainien|ucraniano|украинский
be bel Cyrillic|Belarusian|беларуская|biélorusse|bielorrusso|белорусский
bg bul Cyrillic|Bulgarian|български|bulgare|búlgaro|болгарский
sr srp Cyrillic|Serbian|српски|serbe|sérvio|сербский|rs_cyrillic|sr-cyrl
sr-latn srp-latn=srp_latn Latin|Serbian (Latin)|srpski|serbe (latin)|rs_latin
mk mkd,mac Cyrillic|Macedonian|македонски|macédonien|macedônio|македонский
kk kaz Cyrillic|Kazakh|қазақша|kazakh|cazaque|казахский
ky kir Cyrillic|Kyrgyz|кыргызча|kirghize|quirguiz|киргизский
tg tgk Cyrillic|Tajik|тоҷикӣ|tadjik|tadjique|таджикский
mn mon Cyrillic|Mongolian|монгол|mongol|монгольский
tt tat Cyrillic|Tatar|татарча|татарский
zh chi-sim=chi_sim,zho,chi Han|Chinese|中文|chinois|chinês|китайский|Simplified Chinese|Mandarin|简体中文|ch|ch_sim
zh-hant chi-tra=chi_tra Han|Traditional Chinese|繁體中文|chinois traditionnel|chinês tradicional|zh-tw|zh-hk|ch_tra
ja jpn Japanese|Japanese|日本語|japonais|japonês|японский|japan
ko kor Hangul|Korean|한국어|coréen|coreano|корейский
ar ara Arabic|Arabic|العربية|arabe|árabe|арабский
fa fas,per Arabic|Persian|فارسی|persan|persa|персидский|Farsi
ur urd Arabic|Urdu|اردو|ourdou|урду
ps pus Arabic|Pashto|پښتو|pachto|пушту
sd snd Arabic|Sindhi|سنڌي|sindhi|синдхи
ug uig Arabic|Uyghur|ئۇيغۇرچە|ouïghour|uigur|уйгурский
ckb ckb Arabic|Central Kurdish|کوردی|sorani
he heb Hebrew|Hebrew|עברית|hébreu|hebraico|иврит|iw
yi yid Hebrew|Yiddish|ייִדיש|iídiche|идиш
el ell,gre Greek|Greek|ελληνικά|grec|grego|греческий
grc grc Greek|Ancient Greek|grec ancien|grego antigo|древнегреческий
hi hin Devanagari|Hindi|हिन्दी|híndi|хинди|Devanagari
mr mar Devanagari|Marathi|मराठी|marathe|маратхи
ne nep Devanagari|Nepali|नेपाली|népalais|nepalês|непальский
sa san Devanagari|Sanskrit|संस्कृतम्|sânscrito|санскрит
bn ben Bengali|Bengali|বাংলা|bengalês|бенгальский|Bangla
as asm Bengali|Assamese|অসমীয়া|assamais|ассамский
gu guj Gujarati|Gujarati|ગુજરાતી|gujarate|гуджарати
pa pan Gurmukhi|Punjabi|ਪੰਜਾਬੀ|pendjabi|пенджабский
or ori Oriya|Odia|ଓଡ଼ିଆ|Oriya|ория
ta tam Tamil|Tamil|தமிழ்|tamoul|тамильский
te tel Telugu|Telugu|తెలుగు|télougou|телугу
kn kan Kannada|Kannada|ಕನ್ನಡ|canarês|каннада
ml mal Malayalam|Malayalam|മലയാളം|малаялам
si sin Sinhala|Sinhala|සිංහල|cingalais|cingalês|сингальский
th tha Thai|Thai|ไทย|thaï|tailandês|тайский
lo lao Lao|Lao|ລາວ|laotien|лаосский
km khm Khmer|Khmer|ខ្មែរ|кхмерский
my mya,bur Myanmar|Burmese|မြန်မာ|birman|birmanês|бирманский
bo bod,tib Tibetan|Tibetan|བོད་སྐད|tibétain|тибетский
dz dzo Tibetan|Dzongkha|རྫོང་ཁ
ka kat,geo Georgian|Georgian|ქართული|géorgien|georgiano|грузинский
hy hye,arm Armenian|Armenian|հայերեն|arménien|armênio|армянский
am amh Ethiopic|Amharic|አማርኛ|amharique|амхарский
ti tir Ethiopic|Tigrinya|ትግርኛ
dv div Thaana|Dhivehi|ދިވެހި
syr syr Syriac|Syriac|ܣܘܪܝܝܐ|syriaque|сирийский
chr chr Cherokee|Cherokee|ᏣᎳᎩ
iu iku Canadian|Inuktitut|ᐃᓄᒃᑎᑐᑦ
vi vie Latin|Vietnamese|tiếng Việt|vietnamien|vietnamita|вьетнамский
tr tur Latin|Turkish|Türkçe|turc|turco|турецкий
az aze Latin|Azerbaijani|azərbaycanca|azéri|азербайджанский
uz uzb Latin|Uzbek|oʻzbekcha|ouzbek|узбекский
pl pol Latin|Polish|polski|polonais|polonês|польский
cs ces,cze Latin|Czech|čeština|tchèque|tcheco|чешский
sk slk,slo Latin|Slovak|slovenčina|slovaque|eslovaco|словацкий
sl slv Latin|Slovenian|slovenščina|slovène|esloveno|словенский
hr hrv Latin|Croatian|hrvatski|croate|croata|хорватский
bs bos Latin|Bosnian|bosanski|bosniaque|bósnio|боснийский
hu hun Latin|Hungarian|magyar|hongrois|húngaro|венгерский
ro ron,rum Latin|Romanian|română|roumain|romeno|румынский|Moldovan
sq sqi,alb Latin|Albanian|shqip|albanais|albanês|албанский
sv swe Latin|Swedish|svenska|suédois|sueco|шведский
da dan Latin|Danish|dansk|danois|dinamarquês|датский
no nor,nob,nno Latin|Norwegian|norsk|norvégien|norueguês|норвежский|bokmål|nynorsk|nb|nn
fi fin Latin|Finnish|suomi|finnois|finlandês|финский
is isl,ice Latin|Icelandic|íslenska|islandais|islandês|исландский
fo fao Latin|Faroese|føroyskt|féroïen
et est Latin|Estonian|eesti|estonien|estoniano|эстонский
lv lav Latin|Latvian|latviešu|letton|letão|латышский
lt lit Latin|Lithuanian|lietuvių|lituanien|lituano|литовский
ca cat Latin|Catalan|català|catalão|каталанский
gl glg Latin|Galician|galego|galicien|галисийский
eu eus,baq Latin|Basque|euskara|basco|баскский
oc oci Latin|Occitan|occitano
co cos Latin|Corsican|corsu|corse
br bre Latin|Breton|brezhoneg|bretão|бретонский
cy cym,wel Latin|Welsh|Cymraeg|gallois|galês|валлийский
ga gle Latin|Irish|Gaeilge|irlandais|irlandês|ирландский
gd gla Latin|Scottish Gaelic|Gàidhlig
mt mlt Latin|Maltese|malti|maltais|maltês|мальтийский
lb ltz Latin|Luxembourgish|Lëtzebuergesch|luxembourgeois
fy fry Latin|Western Frisian|Frysk|Frisian
af afr Latin|Afrikaans|africâner|африкаанс
la lat Latin|Latin|latina|latim|латинский|латынь
eo epo Latin|Esperanto|espéranto|эсперанто
id ind Latin|Indonesian|bahasa Indonesia|indonésien|indonésio|индонезийский
ms msa,may Latin|Malay|bahasa Melayu|malais|malaio|малайский
jv jav Latin|Javanese|basa Jawa|javanais
su sun Latin|Sundanese|basa Sunda
tl tgl=fil,fil Latin|Filipino|Tagalog|филиппинский
ceb ceb Latin|Cebuano|Sinugboanon
sw swa Latin|Swahili|Kiswahili|suaíli|суахили
yo yor Latin|Yoruba|Yorùbá
mi mri,mao Latin|Maori|te reo Māori
qu que Latin|Quechua|Runasimi
to ton Latin|Tongan|lea faka-Tonga
ht hat Latin|Haitian Creole|kreyòl ayisyen|créole haïtien|Haitian
ku kur=kmr,kmr Latin|Kurdish|kurdî|kurde|curdo|курдский|Kurmanji
"""

RIGHT_TO_LEFT = frozenset({"Arabic", "Hebrew", "Syriac", "Thaana"})
# What RapidOCR's bundled model has letters for: Chinese, Japanese and the Latin scripts but these.
_RAPID_SCRIPTS = frozenset({"Latin", "Han", "Japanese"})
_NOT_RAPID = frozenset({"vi", "yo", "cy"})
_SEPARATORS = re.compile(r"\s*(?:[+,;/|&、，]|\s(?:and|et|und|e|и)\s)\s*")

_LOCAL = re.compile(r"([a-z]{2,3})(-(hans|latn|cyrl|arab))?(-([a-z]{2}|[0-9]{3}))?")


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    Args:
        code: of two letters where there is one, with the script where a language has two.
        names: as people write it, English first.
        codes: other codes, of three letters.
        pack: Tesseract's name for it.
        script: the letters it is written in, as Unicode calls them; Chinese and Japanese count as one each.
    """

    code: str
    names: tuple[str, ...]
    codes: tuple[str, ...]
    pack: str
    script: str

    @property
    def package(self) -> str:
        """The Debian package with Tesseract's pack."""
        return f"tesseract-ocr-{self.pack.replace('_', '-')}"

    @property
    def rapid(self) -> bool:
        """Whether RapidOCR's bundled model knows its letters."""
        return self.script in _RAPID_SCRIPTS and self.code not in _NOT_RAPID


def _read_table() -> Iterable[Language]:
    for line in _TABLE.strip().splitlines():
        head, *names = line.split("|")
        code, codes, script = head.split()
        first, *more = codes.split(",")
        iso, _, pack = first.partition("=")
        yield Language(code, tuple(names), (iso, *more), pack or iso, script)


LANGUAGES: Mapping[str, Language] = {language.code: language for language in _read_table()}
NAMES: Mapping[str, str] = {code: language.names[0] for code, language in LANGUAGES.items()}


def parse_languages(hint: str) -> tuple[str, ...]:
    """The codes of a hint as people write it: "Russian", "ru", "rus", "русский", "fra+eng", "pt-BR, en".

    "" and "auto" give none: the language is to be found out. A Tesseract pack that is installed here under a
    name of its own ("frk", "my_font") is a code too.

    Raises:
        BadValue: a part of it is no language; the message lists those that can be read here.
    """
    codes: list[str] = []
    for part in _SEPARATORS.split(hint.strip()):
        if not part or _fold(part) in {"auto", "any", "multi", "detect"}:
            continue
        codes += [code for code in _find(part) if code not in codes]
    return tuple(codes)


def _find(part: str) -> list[str]:
    """The language of a part, or the several that it names with nothing but spaces between them."""
    if (code := find_language(part)) is not None:
        return [code]
    words = part.split()
    found = [find_language(word) for word in words]
    if len(words) > 1 and all(found):
        return [code for code in found if code]
    packs = installed_packs()
    if part in packs:
        return [part]
    names = ", ".join(NAMES.get(code, code) for code in readable(packs))
    raise BadValue(
        f"'{part[:60]}' is no language that is known here. These can be read: {names}. "
        "Name one of them, or leave the language out to have it found.",
        param="language",
    )


def find_language(name: str) -> str | None:
    """The code of one name or code as people write it; of "pt-BR" that of its language. None: nothing is known."""
    index = _index()
    folded = _fold(name)
    local = _LOCAL.fullmatch(folded)
    return index.get(folded) or (index.get(local[1]) if local else None)


@lru_cache(maxsize=1)
def _index() -> Mapping[str, str]:
    index: dict[str, str] = {}
    for language in LANGUAGES.values():
        for name in (language.code, language.pack, *language.codes, *language.names):
            index.setdefault(_fold(name), language.code)
    return index


def _fold(name: str) -> str:
    """A name without case, accents and the kind of its dashes."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = (c for c in plain if not unicodedata.combining(c))
    return re.sub(r"[_\-‐‑–]+", "-", "".join(letters)).strip(" .-")


def installed_packs() -> frozenset[str]:
    """Names of the Tesseract packs on this machine; none where Tesseract is missing. Runs a program."""
    try:
        done = subprocess.run(
            ["tesseract", "--list-langs"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    lines = done.stdout.splitlines()[1:]
    return frozenset(line.strip() for line in lines if line.strip() and "/" not in line) - {
        "osd",
        "equ",
    }


def readable(packs: Iterable[str]) -> tuple[str, ...]:
    """The codes of what can be read with RapidOCR and these Tesseract packs, by English name."""
    held = set(packs)
    codes = {
        code for code, language in LANGUAGES.items() if language.rapid or language.pack in held
    }
    own = held - {language.pack for language in LANGUAGES.values()}
    return tuple(sorted(codes | own, key=lambda code: NAMES.get(code, code).casefold()))
