"""What speaking a text looks like: the text, how it is spoken, the sound, the voices. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from engine import Voice
from engine.languages import LANGUAGES
from engine.sound_formats import SOUND_FORMATS
from ui.conversations import flat
from ui.desks import icon, says, stamp, tongue
from ui.words import say

MOST = 20_000  # characters that the page speaks at once: its browser keeps the sound
SPEEDS = (0.5, 2.0)
COMMON = ("en", "fr", "pt", "ru", "es", "de", "it", "zh", "ja", "ar", "hi")

SAYS = (
    "speaking.speak", "speaking.stop", "speaking.empty", "speaking.making", "speaking.waiting",
    "speaking.made", "speaking.stopped", "speaking.failed", "speaking.too_long", "speaking.characters",
    "speaking.consent_first", "speaking.cloned", "speaking.no_microphone", "speaking.record",
    "speaking.recording", "speaking.sample", "speaking.fitting",
)  # fmt: skip
BLANKS = ("done", "model", "first", "reason", "most", "n", "name")


@dataclass(frozen=True, slots=True)
class Desk:
    """What there is to speak with.

    Args:
        models: ids and names of the models that are here.
        titles, licences: of all models, by id.
        better: names of models that could be fetched.
        cloners: names of those that clone voices; `clones`: one of them is here.
    """

    models: tuple[tuple[str, str], ...]
    voices: tuple[Voice, ...]
    titles: Mapping[str, str]
    licences: Mapping[str, str]
    better: tuple[str, ...]
    cloners: tuple[str, ...]
    clones: bool

    def stamp(self, language: str) -> str:
        """What changes with it."""
        return stamp(language, *self.better, *(f"{v.model}/{v.name}" for v in self.voices))


def desk(d: Desk, language: str) -> str:
    """The whole part, with the texts that its script says."""
    return (
        f'<div class="speaking-desk" data-stamp="{d.stamp(language)}" data-most="{MOST}" '
        f'data-says="{says(SAYS, BLANKS, language)}">'
        f'<section class="speaking-main">{_text(language)}{_how(d, language)}{_sound(language)}</section>'
        f'<aside class="speaking-side">{_voices(d, language)}{_clone(d, language)}</aside></div>'
    )


def _text(language: str) -> str:
    title, hint = flat(say("speaking.title", language)), flat(say("speaking.hint", language))
    return (
        f'<h2>{title}</h2><div class="speaking-box"><textarea data-of="text" rows="7" dir="auto" '
        f'aria-label="{title}" placeholder="{hint}" maxlength="{MOST}"></textarea>'
        f'<p class="speaking-under"><button type="button" class="link" data-act="sample">'
        f'{flat(say("speaking.try", language))}</button><output data-of="count"></output></p></div>'
    )


def _how(d: Desk, language: str) -> str:
    automatic = flat(say("speaking.automatic", language))
    models = "".join(
        f'<option value="{flat(model)}">{flat(name)}</option>' for model, name in d.models
    )
    spoken = {code for voice in d.voices if (code := voice.language) in LANGUAGES}
    codes = [code for code in COMMON if code in spoken]
    codes += sorted(spoken - set(codes), key=lambda code: tongue(code).casefold())
    tongues = "".join(f'<option value="{code}">{flat(tongue(code))}</option>' for code in codes)
    low, high = SPEEDS
    first = f'<option value="">{automatic}</option>'
    return (
        '<div class="speaking-how">'
        f"<label><span>{flat(say('speaking.voice', language))}</span>"
        f'<button type="button" class="chosen" data-act="voices" data-of="chosen">'
        f"{flat(say('speaking.fitting', language))}</button></label>"
        f"<label><span>{flat(say('speaking.language', language))}</span>"
        f'<select data-of="language">{first}{tongues}</select></label>'
        f"<label><span>{flat(say('speaking.model', language))}</span>"
        f'<select data-of="model">{first}{models}</select></label>'
        f'<label class="speed"><span>{flat(say("speaking.speed", language))} <output data-of="pace">1×</output></span>'
        f'<input type="range" data-of="speed" min="{low}" max="{high}" step="0.05" value="1"></label>'
        '<button type="button" class="act primary go" data-act="speak" data-of="go">'
        f"{flat(say('speaking.speak', language))}</button></div>"
    )


def _sound(language: str) -> str:
    play, seek = flat(say("speaking.play", language)), flat(say("speaking.seek", language))
    formats = "".join(
        f'<button type="button" class="act" data-save="{name}">{name.upper()}</button>'
        for name in SOUND_FORMATS
        if name != "pcm"
    )
    return (
        '<div class="speaking-sound" data-of="sound" hidden>'
        f'<button type="button" class="round" data-act="play" aria-label="{play}" title="{play}">'
        f'<span class="when-still">{icon("play")}</span><span class="when-playing">{icon("pause")}</span></button>'
        f'<canvas data-of="wave" tabindex="0" role="slider" aria-label="{seek}" aria-valuemin="0"></canvas>'
        '<output class="time" data-of="time">0:00</output></div>'
        '<p class="speaking-news" role="status" data-of="news"></p>'
        '<div class="speaking-save" data-of="save" hidden>'
        f"<span>{flat(say('speaking.save', language))}</span>{formats}</div>"
        f'<details class="speaking-call"><summary>{flat(say("speaking.call", language))}</summary>'
        '<pre><code data-of="call"></code></pre></details>'
    )


def _voices(d: Desk, language: str) -> str:
    find = flat(say("speaking.find", language))
    fitting = (
        '<li class="voice" data-find=""><button type="button" class="pick" data-voice="" data-model="" '
        f'aria-pressed="true"><b>{flat(say("speaking.automatic", language))}</b>'
        f"<span>{flat(say('speaking.fitting', language))}</span></button></li>"
    )
    order = {code: n for n, code in enumerate(dict.fromkeys((language, *COMMON)))}
    voices = sorted(d.voices, key=lambda v: order.get(v.language, 99 if v.language else 98))
    rows = "".join(_voice(voice, d, language) for voice in voices)
    more = ""
    if d.better:
        told = flat(say("speaking.better", language, names=", ".join(d.better)))
        more = f'<p class="aside">{told} <a href="#models">{flat(say("speaking.get", language))}</a></p>'
    return (
        f"<h3>{flat(say('speaking.voices', language))}</h3>"
        f'<input type="search" data-of="find" placeholder="{find}" aria-label="{find}">'
        f'<ul class="voices" data-of="voices">{fitting}{rows}</ul>'
        f'<p class="aside" data-of="none" hidden>{flat(say("speaking.none", language))}</p>{more}'
    )


def _voice(voice: Voice, d: Desk, language: str) -> str:
    title = voice.title or voice.name
    spoken = tongue(voice.language) if voice.language else say("speaking.any", language)
    gender = say("speaking.female", language) if voice.gender == "female" else ""
    gender = say("speaking.male", language) if voice.gender == "male" else gender
    facts = (
        spoken,
        gender,
        d.titles.get(voice.model, voice.model),
        voice.licence or d.licences.get(voice.model, ""),
    )
    words = " ".join((title, voice.name, voice.locale, *facts, *_names(voice.language))).casefold()
    asked = urlencode({"voice": voice.name, "model": voice.model})
    hear = flat(say("speaking.hear", language, name=title))
    return (
        f'<li class="voice" data-find="{flat(words)}">'
        f'<button type="button" class="pick" data-voice="{flat(voice.name)}" data-model="{flat(voice.model)}" '
        f'data-name="{flat(title)}" aria-pressed="false"><b>{flat(title)}</b>'
        f"<span>{flat(' · '.join(fact for fact in facts if fact))}</span></button>"
        f'<button type="button" class="round small" data-hear="v1/ai/speech/sample?{flat(asked)}" '
        f'aria-label="{hear}" title="{hear}">{icon("ear")}</button></li>'
    )


def _names(code: str) -> tuple[str, ...]:
    return LANGUAGES[code].names if code in LANGUAGES else ()


def _clone(d: Desk, language: str) -> str:
    head = f"<h3>{flat(say('speaking.clone', language))}</h3>"
    names = ", ".join(d.cloners)
    if not d.clones:
        told = flat(say("speaking.clone_needs", language, names=names or "XTTS"))
        get = flat(say("speaking.get", language))
        return f'<section class="clone">{head}<p class="aside">{told} <a href="#models">{get}</a></p></section>'
    forget = flat(say("speaking.forget", language))
    return (
        f'<section class="clone">{head}<p class="aside">{flat(say("speaking.clone_hint", language))}</p>'
        f'<label class="consent"><input type="checkbox" data-of="consent"> '
        f"<span>{flat(say('speaking.consent', language))}</span></label>"
        f'<p class="row"><button type="button" class="act" data-act="record" data-of="record">{icon("record")}'
        f"<span>{flat(say('speaking.record', language))}</span></button>"
        f'<button type="button" class="act" data-act="choose">{icon("file")}'
        f"<span>{flat(say('speaking.choose', language))}</span></button>"
        '<input type="file" accept="audio/*,video/*" data-of="file" hidden></p>'
        '<p class="cloned" data-of="cloned" hidden><b></b>'
        f'<button type="button" class="round small" data-act="forget" aria-label="{forget}" title="{forget}">'
        f"{icon('close')}</button></p></section>"
    )
