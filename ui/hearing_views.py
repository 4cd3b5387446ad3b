"""What writing recordings down looks like: their source, how they are heard, their words. Values in, HTML out."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cache

from engine.languages import LANGUAGES
from ui.conversations import flat
from ui.desks import icon, says, stamp, tongue
from ui.samples import FOLDER
from ui.words import say

COMMON = ("en", "fr", "pt", "ru", "es", "de", "it", "zh", "ja", "ar", "hi")
SOUNDS = {
    "speech-en.mp3": "en",
    "speech-fr.mp3": "fr",
    "speech-pt.mp3": "pt",
    "speech-ru.mp3": "ru",
}

SAYS = (
    "hearing.sending", "hearing.waiting", "hearing.loading", "hearing.listening", "hearing.made", "hearing.stopped",
    "hearing.failed", "hearing.nothing", "hearing.recording", "hearing.record", "hearing.finish",
    "hearing.no_microphone", "hearing.insecure", "hearing.refused", "hearing.copied", "hearing.recorded",
    "hearing.unknown",
)  # fmt: skip
BLANKS = ("time", "tongue", "model", "n", "reason", "seconds")


@dataclass(frozen=True, slots=True)
class Hearer:
    """A model that is here: its id, name and languages, and whether it writes English of all of them."""

    model: str
    name: str
    languages: tuple[str, ...]
    translates: bool


@dataclass(frozen=True, slots=True)
class Ears:
    """What there is to listen with, the default first; names of models that could be fetched; whether the default
    is a starter."""

    models: tuple[Hearer, ...]
    better: tuple[str, ...]
    starter: bool

    def stamp(self, language: str) -> str:
        """What changes with it."""
        return stamp(language, *self.better, *(hearer.model for hearer in self.models))


def desk(e: Ears, language: str) -> str:
    """The whole part, with the texts that its script says."""
    return (
        f'<div class="hearing-desk" data-stamp="{e.stamp(language)}" '
        f'data-says="{says(SAYS, BLANKS, language)}">'
        f'<section class="hearing-main">{_source(language)}{_how(e, language)}{_run(language)}'
        f"{_player(language)}{_text(language)}</section>"
        f'<aside class="hearing-side">{_save(language)}{_samples(language)}{_better(e, language)}</aside></div>'
    )


def _source(language: str) -> str:
    """Where a recording comes from."""
    return (
        f"<h2>{flat(say('hearing.title', language))}</h2>"
        '<div class="hearing-drop" data-of="drop">'
        f"<p>{flat(say('hearing.bring', language))}</p>"
        f'<p class="row"><button type="button" class="act primary" data-act="choose">{icon("file")}'
        f"<span>{flat(say('hearing.choose', language))}</span></button>"
        f'<button type="button" class="act" data-act="record" data-of="record">{icon("record")}'
        f'<span data-of="recorder">{flat(say("hearing.record", language))}</span></button></p>'
        '<p class="level" data-of="level" hidden><i></i></p>'
        '<input type="file" data-of="file" accept="audio/*,video/*,.opus,.mkv,.amr" hidden></div>'
    )


def _how(e: Ears, language: str) -> str:
    """How it is heard."""
    models = "".join(
        f'<option value="{flat(h.model)}" data-translates="{int(h.translates)}" '
        f'data-languages="{flat(" ".join(h.languages))}">{flat(h.name)}</option>'
        for h in e.models
    )
    known = {code for hearer in e.models for code in hearer.languages or LANGUAGES} & set(LANGUAGES)
    codes = [code for code in COMMON if code in known]
    codes += sorted(known - set(codes), key=lambda code: tongue(code).casefold())
    tongues = "".join(f'<option value="{code}">{flat(tongue(code))}</option>' for code in codes)
    same, english = (flat(say(key, language)) for key in ("hearing.same", "hearing.english"))
    return (
        '<div class="hearing-how">'
        f'<label><span>{flat(say("hearing.language", language))}</span><select data-of="language">'
        f'<option value="">{flat(say("hearing.automatic", language))}</option>{tongues}</select></label>'
        f"<label><span>{flat(say('hearing.model', language))}</span>"
        f'<select data-of="model">{models}</select></label>'
        f'<label><span>{flat(say("hearing.task", language))}</span><select data-of="task">'
        f'<option value="">{same}</option><option value="translate">{english}</option></select></label>'
        f'<label class="timing"><input type="checkbox" data-of="words"> '
        f"<span>{flat(say('hearing.words', language))}</span></label></div>"
    )


def _run(language: str) -> str:
    """How far it is."""
    return (
        '<div class="hearing-run" data-of="run" hidden>'
        f'<span class="track" role="progressbar" aria-label="{flat(say("hearing.progress", language))}" '
        'data-of="track"><i></i></span>'
        f'<button type="button" class="act stop" data-act="stop">{icon("stop")}'
        f"<span>{flat(say('hearing.stop', language))}</span></button></div>"
        '<p class="hearing-news" role="status" data-of="news"></p>'
    )


def _player(language: str) -> str:
    return (
        '<div class="hearing-player" data-of="player" hidden><p><b data-of="name"></b>'
        f'<button type="button" class="link" data-act="again">{flat(say("hearing.again", language))}</button></p>'
        '<div data-of="media"></div></div>'
    )


def _text(language: str) -> str:
    hint = flat(say("hearing.click", language))
    return (
        f'<ol class="hearing-text" data-of="text" aria-label="{hint}" title="{hint}" hidden></ol>'
    )


def _save(language: str) -> str:
    kinds = (("txt", "hearing.as_text"), ("srt", "hearing.as_srt"), ("vtt", "hearing.as_vtt"),
             ("json", "hearing.as_json"))  # fmt: skip
    buttons = "".join(
        f'<button type="button" class="act" data-act="save" data-kind="{kind}">{icon("save")}'
        f"<span>{flat(say(key, language))}</span></button>"
        for kind, key in kinds
    )
    return (
        f'<div class="hearing-save" data-of="save" hidden><h3>{flat(say("hearing.save", language))}</h3>'
        f'<p class="saves">{buttons}<button type="button" class="act" data-act="copy" data-of="copy">{icon("copy")}'
        f"<span>{flat(say('hearing.copy', language))}</span></button></p></div>"
    )


def _samples(language: str) -> str:
    rows = "".join(
        f'<li><button type="button" class="sounds" data-act="sample" data-name="{name}" '
        f'data-language="{code}" data-sound="{_sound(name)}">{icon("play")}<span><b>{flat(tongue(code))}</b>'
        f"<i>{flat(say('hearing.sample', language))}</i></span></button></li>"
        for name, code in SOUNDS.items()
        if (FOLDER / name).is_file()
    )
    title = flat(say("samples.try", language))
    return f'<h3 class="samples-title">{title}</h3><ul class="hearing-samples">{rows}</ul>'


def _better(e: Ears, language: str) -> str:
    """What a starter can and cannot, and where larger models are."""
    if not e.starter:
        return ""
    names = ", ".join(e.better[:3])
    return (
        f'<p class="hearing-note">{flat(say("hearing.starter", language))} '
        f'<a href="#models">{flat(say("hearing.better", language, names=names))}</a></p>'
    )


@cache
def _sound(name: str) -> str:
    return b64encode((FOLDER / name).read_bytes()).decode()
