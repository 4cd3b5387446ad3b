"""What the Translate tab looks like: languages, two panes, the glossary, files. Values in, HTML out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.tongues import english_name, own_name
from ui.cards import button
from ui.conversations import flat
from ui.desks import stamp
from ui.words import say

MOST = 1_000_000  # characters of a text
FILES = ".txt,.md,.markdown,.html,.htm,.srt,.vtt,.docx"
SAYS = (
    "auto", "detected", "translating", "left", "left_more", "left_file", "failed", "stopped", "same", "waiting",
    "words", "download", "again", "recent", "languages", "preparing", "copied",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desk:
    """What there is to translate with.

    Args:
        models, chats: ids and names of the models that are here: made for it, and those that chat.
        languages: the codes that each model knows; `everything`: all of them; `any`: what chat models are asked for.
        starters: ids of the models that know a phrasebook alone.
        better: names of models that could be fetched.
        speaks: whether a model speaks.
    """

    models: tuple[tuple[str, str], ...]
    chats: tuple[tuple[str, str], ...]
    languages: Mapping[str, Sequence[str]]
    everything: tuple[str, ...]
    any: tuple[str, ...]
    starters: tuple[str, ...]
    better: tuple[str, ...]
    speaks: bool

    def stamp(self, language: str) -> str:
        """What changes with it."""
        rows = (*self.models, *self.chats)
        return stamp(language, str(self.speaks), *self.better, *(model for model, _ in rows))


def desk(d: Desk, language: str) -> str:
    """The whole tab, with what its script needs to know."""
    codes = sorted({*d.everything, *d.any})
    known = {
        "languages": {model: [*found] for model, found in d.languages.items()},
        "all": [*d.everything],
        "any": [*d.any],
        "chats": [model for model, _ in d.chats],
        "starters": [*d.starters],
        "names": {code: [english_name(code), own_name(code)] for code in codes},
        "says": {key: say(f"translate.{key}", language) for key in SAYS},
        "reader": language,
    }
    return (
        f'<div class="translate-desk" data-stamp="{d.stamp(language)}" data-known="{flat(json.dumps(known))}">'
        f"{_bar(d, language)}{_glossary(language)}{_panes(d, language)}{_below(d, language)}</div>"
    )


def _bar(d: Desk, language: str) -> str:
    automatic = f'<option value="">{flat(say("translate.automatic", language))}</option>'
    made = "".join(f'<option value="{flat(m)}">{flat(name)}</option>' for m, name in d.models)
    chats = "".join(f'<option value="{flat(m)}">{flat(name)}</option>' for m, name in d.chats)
    group = (
        f'<optgroup label="{flat(say("translate.chats", language))}">{chats}</optgroup>'
        if chats
        else ""
    )
    swap = button("swap", say("translate.swap", language), icon="swap")
    terms = say("translate.glossary", language)
    return (
        '<header class="bar"><span class="pair">'
        f'<select data-of="from" aria-label="{flat(say("translate.from", language))}"></select>{swap}'
        f'<select data-of="to" aria-label="{flat(say("translate.to", language))}"></select></span>'
        f'<label class="by"><span>{flat(say("translate.by", language))}</span>'
        f'<select data-of="model">{automatic}{made}{group}</select></label>'
        f'<button type="button" class="act quiet" data-act="glossary" aria-expanded="false" '
        f'aria-controls="translate-terms">{flat(terms)}<b class="count" hidden></b></button>'
        f"{button('choose', say('translate.file', language), 'quiet')}"
        f'<input type="file" data-of="file" accept="{FILES}" multiple hidden></header>'
    )


def _glossary(language: str) -> str:
    return (
        '<div class="terms" id="translate-terms" hidden>'
        f"<label><span>{flat(say('translate.glossary_help', language))}</span>"
        f'<textarea data-of="glossary" rows="4" spellcheck="false" maxlength="100000" '
        f'placeholder="{flat(say("translate.glossary_example", language))}"></textarea></label></div>'
    )


def _panes(d: Desk, language: str) -> str:
    hint, result = say("translate.placeholder", language), say("translate.result", language)
    listen = say("translate.listen", language)
    loud = [
        button("listen", listen, icon="ear", side=side) if d.speaks else ""
        for side in ("from", "to")
    ]
    return (
        '<div class="panes"><section class="pane source">'
        f'<textarea data-of="text" dir="auto" spellcheck="true" maxlength="{MOST}" autofocus '
        f'aria-label="{flat(hint)}" placeholder="{flat(hint)}"></textarea>'
        f'<footer><span class="told" data-view="detected"></span><span class="size" data-view="size"></span>'
        f'<span class="tools">{loud[0]}{button("clear", say("translate.clear", language), icon="close")}</span>'
        f'<label class="live"><input type="checkbox" data-of="live" checked>'
        f"<span>{flat(say('translate.live', language))}</span></label>"
        f"{button('go', say('translate.go', language), 'primary')}</footer></section>"
        f'<section class="pane target" aria-label="{flat(result)}"><span class="track" hidden><i></i></span>'
        f'<div class="said" dir="auto" tabindex="0" data-hint="{flat(result)}"></div>'
        '<p class="doubts" hidden></p>'
        f'<footer><span class="told" data-view="state"></span><span class="tools">{loud[1]}'
        f"{button('copy', say('translate.copy', language), icon='copy')}"
        f"{button('save', say('translate.save', language), icon='export')}</span>"
        f"{button('stop', say('translate.stop', language), 'stop')}</footer></section></div>"
    )


def _below(d: Desk, language: str) -> str:
    drop = flat(say("translate.drop", language))
    better = ""
    if d.better and len(d.models) == len(d.starters):
        names = ", ".join(d.better[:4])
        better = (
            f'<p class="better">{flat(say("translate.better", language, names=names))} '
            f'<button type="button" class="link" data-act="models">{flat(say("translate.models", language))}'
            "</button></p>"
        )
    return f'<ul class="files" aria-label="{drop}"></ul><p class="drop-hint">{drop}</p>{better}'
