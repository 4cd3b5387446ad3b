"""The Image tab's painted parts: the form, the picture on its way or finished, the gallery. Values in, HTML out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine import Kept, ModelSpec, Progress
from ui.cards import button
from ui.conversations import flat
from ui.header import name_of
from ui.words import say

# A preset's name, and its sides as shares of the model's own.
PRESETS = (
    ("image.square", 1, 1), ("image.portrait", 4, 5), ("image.tall", 2, 3), ("image.landscape", 5, 4),
    ("image.wide", 3, 2),
)  # fmt: skip
NAMED = ("lcm-dreamshaper", "sd-turbo", "sdxl-turbo", "flux-schnell", "z-image-turbo")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as the form shows it."""

    id: str
    title: str
    side: int
    steps: int
    guidance: float

    @classmethod
    def of(cls, spec: ModelSpec) -> Offer:
        told = spec.options
        return cls(
            spec.id,
            name_of(spec),
            int(told.get("side") or 512),
            int(told.get("steps") or 30),
            float(told.get("guidance") or 0.0),
        )


@dataclass(frozen=True, slots=True)
class Going:
    """What is on its way: how far it is, since when and from which step that is counted, what the model is at."""

    began: float
    first: int = 0
    state: Progress | None = None
    preview: str = ""
    waiting: str = ""


# The form


def form(
    offers: Sequence[Offer],
    loras: Sequence[str],
    schedulers: Sequence[str],
    source: str,
    language: str,
) -> str:
    """What is asked for. `source` is a `data:` URL of the picture to begin from."""
    if not offers:
        return lacking(language)
    rows = [_prompt(bool(source), language), _source(source, language), _sizes(language)]
    rows += [_numbers(language), _seed(language), _more(offers, loras, schedulers, language)]
    go = (
        f'<p class="go"><button type="submit" class="act primary">{flat(say("image.draw", language))}</button>'
        f"{button('stop', say('image.stop', language), 'stop')}</p>"
    )
    return f'<form class="drawing" data-source="{int(bool(source))}">{"".join(rows)}{go}</form>'


def lacking(language: str) -> str:
    """How to get a model that draws."""
    listed = "".join(f"<li>{flat(name)}</li>" for name in NAMED)
    return (
        f'<div class="lacking"><h2>{flat(say("image.none_draws", language))}</h2>'
        f"<p>{flat(say('image.get_one', language))}</p><ul>{listed}</ul>"
        f'<p><a class="act primary" href="#models">{flat(say("image.to_models", language))}</a></p></div>'
    )


def _field(name: str, text: str, inside: str, wide: bool = False) -> str:
    look = ' class="wide"' if wide else ""
    return f'<label{look} data-field="{name}"><span>{flat(text)}</span>{inside}</label>'


def _prompt(has_source: bool, language: str) -> str:
    must = "" if has_source else " required"
    hint = flat(say("image.prompt_hint", language))
    prompt = (
        f'<textarea name="prompt" rows="3" maxlength="12000"{must} placeholder="{hint}"></textarea>'
    )
    negative = (
        f'<textarea name="negative" rows="1" maxlength="3000" '
        f'placeholder="{flat(say("image.negative_hint", language))}"></textarea>'
    )
    return _field("prompt", say("image.prompt", language), prompt, True) + _field(
        "negative", say("image.negative", language), negative, True
    )


def _source(source: str, language: str) -> str:
    """The picture to begin from, and how much of it may change."""
    if not source:
        words = flat(say("image.from_picture", language))
        return f'<p class="wide from"><button type="button" class="act quiet" data-act="choose">{words}</button></p>'
    slider = (
        '<input type="range" name="strength" min="0.05" max="1" step="0.05" value="0.6">'
        '<output data-of="strength">0.6</output>'
    )
    mask = button("mask", say("image.mask", language))
    drop = button("clear", say("image.without", language), "quiet")
    alt = flat(say("image.source", language))
    return (
        f'<div class="wide source"><div class="canvas"><img src="{source}" alt="{alt}"></div>'
        f'<div>{_field("strength", say("image.strength", language), slider)}<p class="row">{mask}{drop}</p></div></div>'
    )


def _sizes(language: str) -> str:
    rows = "".join(_preset(say(key, language), w, h) for key, w, h in PRESETS)
    named = (("width", "image.width"), ("height", "image.height"))
    sides = "×".join(
        f'<input name="{name}" inputmode="numeric" maxlength="4" aria-label="{flat(say(key, language))}">'
        for name, key in named
    )
    title = flat(say("image.size", language))
    return f'<div class="wide sizes"><span>{title}</span><p>{rows}</p><p class="sides">{sides}</p></div>'


def _preset(name: str, wide: int, high: int) -> str:
    told = f'title="{flat(name)}" aria-label="{flat(name)}"'
    return (
        f'<button type="button" class="size" data-act="size" data-w="{wide}" data-h="{high}" {told}>'
        f'<i style="aspect-ratio:{wide}/{high}"></i></button>'
    )


def _numbers(language: str) -> str:
    count = '<input name="count" type="number" min="1" max="16" value="1">'
    steps = '<input name="steps" type="number" min="1" max="500" placeholder="…">'
    guidance = '<input name="guidance" type="number" min="0" max="50" step="0.1" placeholder="…">'
    return (
        _field("count", say("image.count", language), count)
        + _field("steps", say("image.steps", language), steps)
        + _field("guidance", say("image.guidance", language), guidance)
    )


def _seed(language: str) -> str:
    box = (
        f'<input name="seed" inputmode="numeric" maxlength="19" placeholder="{flat(say("image.by_chance", language))}">'
        + button("dice", say("image.dice", language), icon="dice")
        + button("lock", say("image.lock", language), icon="lock", pressed=False)
    )
    title = flat(say("image.seed", language))
    return f'<div class="wide seed"><label><span>{title}</span></label><p>{box}</p></div>'


def _more(
    offers: Sequence[Offer], loras: Sequence[str], schedulers: Sequence[str], language: str
) -> str:
    models = "".join(
        f'<option value="{flat(one.id)}" data-side="{one.side}" data-steps="{one.steps}" '
        f'data-guidance="{one.guidance:g}">{flat(one.title)}</option>'
        for one in offers
    )
    own = flat(say("image.own", language))
    ways = "".join(f"<option>{flat(name)}</option>" for name in schedulers)
    found = _field(
        "model", say("image.model", language), f'<select name="model">{models}</select>', True
    )
    found += _field(
        "scheduler",
        say("image.scheduler", language),
        f'<select name="scheduler"><option value="">{own}</option>{ways}</select>',
        not loras,
    )
    if loras:
        named = "".join(f"<option>{flat(name)}</option>" for name in loras)
        none = flat(say("image.no_lora", language))
        select = f'<select name="lora"><option value="">{none}</option>{named}</select>'
        scale = '<input name="scale" type="number" min="-4" max="4" step="0.1" value="1">'
        found += _field("lora", say("image.lora", language), select)
        found += _field("scale", say("image.scale", language), scale)
    return found


# The picture


def stage(
    shown: Kept | None, going: Going | None, now: float, language: str, other: Kept | None = None
) -> str:
    """What is on its way, else the picture that is looked at, beside another where two are compared."""
    if going is not None:
        return _going(going, now, language)
    if shown is None:
        words = flat(say("image.hello", language))
        more = flat(say("image.hello_more", language))
        return f'<div class="easel empty"><i class="pic-picture"></i><h2>{words}</h2><p>{more}</p></div>'
    if other is not None:
        both = "".join(_figure(kept, language) for kept in (shown, other))
        return f'<div class="easel two" data-id="{shown.id}">{both}</div>'
    return f'<div class="easel" data-id="{shown.id}">{_figure(shown, language)}{_tools(shown, language)}</div>'


def _going(going: Going, now: float, language: str) -> str:
    state = going.state
    share = 100 * state.done / state.total if state and state.total else 0
    words = going.waiting or say("image.begins", language)
    if state is not None:
        left = (now - going.began) * (state.total - state.done) / max(state.done, 1)
        words = say(
            "image.step_of", language, done=state.done, total=state.total, left=f"{left:.0f}"
        )
    seen = f'<img src="{going.preview}" alt="">' if going.preview else '<i class="pic-picture"></i>'
    return (
        f'<div class="easel going"><figure><div class="frame">{seen}</div></figure>'
        f'<p class="state" role="status">{flat(words)}</p><span class="track" role="progressbar" '
        f'aria-valuenow="{share:.0f}" aria-label="{flat(say("image.progress", language))}">'
        f'<i style="width:{share:.1f}%"></i></span></div>'
    )


def _figure(kept: Kept, language: str) -> str:
    recipe = kept.recipe
    prompt = str(recipe.get("prompt", "")) or kept.title
    facts = [f"{kept.width}×{kept.height}", *_facts(recipe, language)]
    told = "".join(f"<span>{flat(fact)}</span>" for fact in facts)
    return (
        f'<figure><div class="frame"><img src="v1/gallery/{kept.id}/picture" alt="{flat(prompt)}" '
        f'style="--wide:{kept.width or 1};--high:{kept.height or 1}"></div>'
        f'<figcaption><p class="prompt">{flat(prompt)}</p><p class="facts">{told}</p></figcaption></figure>'
    )


def _facts(recipe: dict[str, Any], language: str) -> list[str]:
    names = {"steps": "image.steps", "guidance": "image.guidance", "seed": "image.seed"}
    facts = [str(recipe["model"])] if recipe.get("model") else []
    facts += [
        f"{say(key, language)} {recipe[name]}" for name, key in names.items() if name in recipe
    ]
    facts += [str(recipe["scheduler"])] if recipe.get("scheduler") else []
    return facts + [f"{name} {scale:g}" for name, scale in recipe.get("loras", ())]


def _tools(kept: Kept, language: str) -> str:
    save = (
        f'<a class="act" href="v1/gallery/{kept.id}/picture?download=true" download>'
        f"{flat(say('image.save', language))}</a>"
    )
    tools = [
        button("use", say("image.use", language), id=kept.id) if kept.recipe else "",
        button("refine", say("image.refine", language), id=kept.id),
        save,
        button("send", say("image.ask_about", language), id=kept.id),
        button(
            "favour",
            say("image.favourite", language),
            icon="star",
            pressed=kept.favourite,
            id=kept.id,
        ),
        button("remove", say("image.remove", language), icon="delete", id=kept.id),
    ]
    return f'<p class="tools">{"".join(tools)}</p>'


# The gallery


def shelf(pictures: Sequence[Kept], picked: str, other: str, searching: bool, language: str) -> str:
    """The pictures that were kept, newest first."""
    rows = "".join(_thumb(kept, picked, other, language) for kept in pictures)
    if not rows:
        words = flat(say("image.nothing_found" if searching else "image.no_pictures", language))
        return f'<div class="shelf"><p class="none">{words}</p></div>'
    return f'<div class="shelf"><ul>{rows}</ul></div>'


def _thumb(kept: Kept, picked: str, other: str, language: str) -> str:
    prompt = flat(str(kept.recipe.get("prompt", "")) or kept.title)
    mark = ' aria-current="true"' if kept.id == picked else ""
    mark += ' data-other="1"' if kept.id == other else ""
    star = '<i class="pic-star"></i>' if kept.favourite else ""
    return (
        f'<li data-key="{kept.id}"{mark}><button type="button" data-pick="{kept.id}" title="{prompt}">'
        f'<img src="v1/gallery/{kept.id}/thumb" alt="{prompt}" loading="lazy">{star}</button></li>'
    )


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    """Bytes as an address of their own."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def outcome(stamp: int, **told: Any) -> str:
    """What the page's script is to do next."""
    values = "".join(
        f' data-{name}="{flat(value if isinstance(value, str) else json.dumps(value))}"'
        for name, value in told.items()
    )
    return f'<i data-stamp="{stamp}"{values}></i>'
