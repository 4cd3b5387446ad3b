"""The cards of the Models tab: values in, HTML out. Foreign values are escaped here and nowhere else.

What a card is made of is `ui/stock.py`; what its buttons do is `ui/keeping.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import Plan
from ui.conversations import flat
from ui.header import name_of, size, span
from ui.stock import GROUPS, Card, Scene
from ui.words import say

DOES = {
    "chat": "models.does_chat",
    "embed": "models.does_embed",
    "image": "models.does_image",
    "label": "models.does_label",
    "detect": "models.does_detect",
    "ocr": "models.does_ocr",
    "transcribe": "models.does_transcribe",
    "speak": "models.does_speak",
    "translate": "models.does_translate",
}
FITS = {
    "fits": "models.fits",
    "after_unload": "models.fits_after",
    "too_big": "models.too_big",
    "unknown": "models.fit_unknown",
}
PHASES = {
    "queued": "models.phase_queued",
    "downloading": "models.phase_downloading",
    "loading": "models.phase_loading",
    "running": "models.phase_running",
    "paused": "models.phase_paused",
    "done": "models.phase_done",
    "failed": "models.phase_failed",
    "cancelled": "models.phase_cancelled",
}
TONGUES = 5  # languages named on a card; the rest is a number


def button(
    act: str,
    text: str,
    style: str = "",
    *,
    icon: str = "",
    pressed: bool | None = None,
    **data: str,
) -> str:
    """A button of painted HTML: `act` and the data are told to the server when it is pressed.

    With an icon it shows that alone; the text is what is read out and shown on hovering.
    """
    given = "".join(f' data-{name}="{flat(value)}"' for name, value in data.items())
    given += "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    if icon:
        look = f'class="icon pic-{icon} {style}" title="{flat(text)}" aria-label="{flat(text)}"'
        return f'<button type="button" {look} data-act="{act}"{given}></button>'
    return (
        f'<button type="button" class="act {style}" data-act="{act}"{given}>{flat(text)}</button>'
    )


def shelf(scene: Scene, language: str) -> str:
    """All cards, by what the models do."""
    names = {card.spec.id: name_of(card.spec) for card in scene.cards}
    parts = []
    for group in GROUPS:
        cards = [card for card in scene.cards if card.group == group]
        if cards:
            title = flat(say(DOES[group], language))
            painted = "".join(_card(card, names, language) for card in cards)
            parts.append(
                f'<section class="group" data-key="{group}" aria-label="{title}">'
                f'<h3>{title}<span class="count">{len(cards)}</span></h3>'
                f'<div class="cards">{painted}</div></section>'
            )
    none = flat(say("models.none_found", language))
    return f'<div class="shelf">{"".join(parts)}<p class="none" data-key="none" hidden>{none}</p></div>'


def _card(card: Card, names: Mapping[str, str], language: str) -> str:
    spec = card.spec
    title = flat(name_of(spec))
    words = " ".join(
        [spec.id, spec.title, spec.repo, card.server, spec.licence, spec.params, *spec.does]
    )
    flags = "".join(
        f" data-{name}"
        for name, true in (("ready", card.ready), ("fitting", fits_here(card)))
        if true
    )
    note = f'<p class="id">{flat(spec.id)}</p>' if spec.id != name_of(spec) else ""
    return (
        f'<article class="card{" held" if card.resident else ""}" data-key="{flat(spec.id)}" '
        f'data-card="{flat(spec.id)}" data-words="{flat(words.lower())}"{flags} aria-label="{title}">'
        f"<header><h4>{title}</h4>{_badges(card, language)}</header>{note}"
        f'<p class="facts">{_facts(card, language)}</p>'
        f"{_state(card, names, language)}<footer>{_actions(card, language)}</footer></article>"
    )


def fits_here(card: Card) -> bool:
    """It runs, or would run, without anything bigger."""
    if card.resident or card.server:
        return not card.down
    return card.plan is None or card.plan.fits != "too_big"


def _badges(card: Card, language: str) -> str:
    if card.spec.starter:
        kind, name, why = "starter", say("model.starter", language), "models.starter_hint"
    elif card.server:
        kind, name, why = "server", card.server, "models.server_hint"
    elif card.own:
        kind, name, why = "own", say("models.own", language), "models.own_hint"
    else:
        kind, name, why = "real", say("models.real", language), "models.real_hint"
    found = f'<span class="badge {kind}" title="{flat(say(why, language))}">{flat(name)}</span>'
    if card.recommended and not card.spec.starter:
        text, why = say("models.recommended", language), say("models.recommended_hint", language)
        found += f'<span class="badge good" title="{flat(why)}">{flat(text)}</span>'
    if card.default_of:
        found += f'<span class="badge default">{flat(say("models.default", language))}</span>'
    return f'<span class="badges">{found}</span>'


def _facts(card: Card, language: str) -> str:
    """Parameters, size, licence, languages, context: what is known of them."""
    spec = card.spec
    facts = [spec.params]
    if spec.size:
        facts.append(size(spec.size))
    if spec.licence:
        facts.append(spec.licence)
    if spec.languages:
        more = len(spec.languages) - TONGUES
        told = " ".join(spec.languages[:TONGUES]) + (f" +{more}" if more > 0 else "")
        facts.append(told)
    if spec.context:
        facts.append(say("models.context", language, n=_thousands(spec.context)))
    return "".join(f"<span>{flat(fact)}</span>" for fact in facts if fact)


def _thousands(count: int) -> str:
    return f"{round(count / 1024)}k" if count >= 10_000 else str(count)


def _state(card: Card, names: Mapping[str, str], language: str) -> str:
    """The line that tells where the model stands: on its way, in memory, or whether it would fit."""
    if card.fetch is not None:
        return _fetching(card, language)
    kind, short, long = _standing(card, names, language)
    said = f'<span class="why">{flat(long)}</span>' if long else ""
    return f'<p class="fit {kind}"><i class="mark"></i><b>{flat(short)}</b>{said}</p>'


def _standing(card: Card, names: Mapping[str, str], language: str) -> tuple[str, str, str]:
    """A colour, a word and a sentence."""
    if card.loading:
        return "busy", say(PHASES["loading"], language), ""
    if card.resident:
        idle = say("models.loaded", language, size=size(card.resident.memory))
        return "held", idle, card.resident.form
    if card.server:
        down = say("models.server_down", language, server=card.server)
        far = say("models.elsewhere", language, server=card.server)
        return ("too_big", down, "") if card.down else ("fits", far, "")
    if card.plan is None:
        return "unknown", say("models.fit_unknown", language), ""
    named = listed([names.get(gone.id, gone.id) for gone in card.plan.unloads])
    short = say(FITS[card.plan.fits], language, names=named)
    return card.plan.fits, short, plan_line(card.plan, names, language, leaving=False)


def plan_line(plan: Plan, names: Mapping[str, str], language: str, leaving: bool = True) -> str:
    """A plan in one or two sentences of the reader's language.

    Args:
        leaving: name those who are unloaded for it, with the time they were idle, which changes all the while.
    """
    if not plan.needed:
        return say("models.plan_unknown", language)
    about = "" if plan.measured else "≈ "
    need = say("models.plan_need", language, needed=about + size(plan.needed))
    if plan.fits == "too_big":
        held = plan.needed <= plan.total
        key = "models.plan_held" if held else "models.plan_limit"
        return f"{need} {say(key, language, total=size(plan.total))}"
    form = plan.quantisation + (" + offload" if plan.offload else "")
    parts = [need, say("models.plan_form", language, form=form.strip(" +"))] if form else [need]
    if plan.unloads and leaving:
        gone = [
            f"{names.get(m.id, m.id)} ({say('page.idle_for', language, time=span(m.idle_s))})"
            for m in plan.unloads
        ]
        parts.append(say("models.plan_unloads", language, names=listed(gone)))
    return " ".join(parts)


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _fetching(card: Card, language: str) -> str:
    """A download's progress; the numbers are filled in from the jobs list as they change."""
    ticket = card.fetch
    assert ticket is not None
    if ticket.phase == "failed":
        word = flat(say(PHASES["failed"], language))
        return (
            f'<p class="fit too_big"><i class="mark"></i><b>{word}</b>'
            f'<span class="why">{flat(ticket.error)}</span></p>'
        )
    word = flat(say(PHASES[ticket.phase], language))
    return (
        f'<div class="fetch {ticket.phase}" data-of="{flat(ticket.id)}"><p class="fit busy">'
        f'<i class="mark"></i><b>{word}</b><span class="why percent"></span></p>'
        f'<span class="track"><i></i></span></div>'
    )


def _actions(card: Card, language: str) -> str:
    """What can be done with it: one plain button at the left, the rest as icons at the right."""
    main = _fetch_actions(card, language) if card.fetch else _main_action(card, language)
    return f'<span class="main">{main}</span><span class="rest">{_icons(card, language)}</span>'


def _fetch_actions(card: Card, language: str) -> str:
    ticket = card.fetch
    assert ticket is not None
    cancel = button("ask_cancel", say("page.cancel", language), "quiet", job=ticket.id)
    again = {
        "paused": ("resume", "models.resume"),
        "failed": ("retry", "models.retry"),
    }.get(ticket.phase, ("pause", "models.pause"))
    return button(again[0], say(again[1], language), job=ticket.id) + cancel


def _main_action(card: Card, language: str) -> str:
    model = card.spec.id
    too_big = card.plan is not None and card.plan.fits == "too_big"
    if not card.present:
        style = "" if too_big else "primary"
        return button("ask_download", say("models.download", language), style, model=model)
    chat = (
        button("chat", say("models.use", language), "primary" if card.resident else "", model=model)
        if "chat" in card.spec.does and not card.down
        else ""
    )
    if card.server:
        return chat
    if card.resident:
        return chat + button("unload", say("models.unload", language), "quiet", model=model)
    if card.loading:
        return f'<button class="act" disabled>{flat(say(PHASES["loading"], language))}</button>'
    return chat + ("" if too_big else button("ask_load", say("models.load", language), model=model))


def _icons(card: Card, language: str) -> str:
    """Default, form and remove. Pinning and keeping are done where the model lies: in the memory's chips."""
    model, found = card.spec.id, ""
    if card.ready and card.group not in card.default_of:
        text = say("models.make_default", language)
        found += button("default", text, icon="star", model=model, does=card.group)
    if card.formed and card.present:
        found += button("ask_form", say("models.form", language), icon="tune", model=model)
    local = not card.server and not card.spec.starter
    if local and (card.own or (card.present and card.spec.repo)) and card.fetch is None:
        found += button("ask_remove", say("models.remove", language), icon="delete", model=model)
    return found
