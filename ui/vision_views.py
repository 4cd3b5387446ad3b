"""The Vision tab's painted parts: the picture, what was found in it, its labels. Values in, HTML out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine import Event, Loading, Queued, Segment
from ui.cards import button
from ui.conversations import flat
from ui.samples import PICTURES, gallery
from ui.vision_desk import Desk, Picture
from ui.words import say

SHADES = 6  # colours of boxes and bars, as the style sheet has them
PRESETS = (
    ("vision.preset_describe", "vision.preset_describe_ask"),
    ("vision.preset_text", "vision.preset_text_ask"),
    ("vision.preset_count", "vision.preset_count_ask"),
    ("vision.preset_simple", "vision.preset_simple_ask"),
    ("vision.preset_alt", "vision.preset_alt_ask"),
    ("vision.preset_odd", "vision.preset_odd_ask"),
)


def stage(desk: Desk, language: str) -> str:
    """The picture with what can be done with it; without one, how to bring one."""
    if desk.picture is None:
        return _empty(language)
    picture = desk.picture
    alt = flat(say("vision.your_picture", language))
    tools = (
        button("choose", say("vision.another", language), "quiet"),
        _camera("quiet", language),
        button("to_ocr", say("vision.to_ocr", language), "quiet"),
        button("clear", say("vision.clear", language), icon="delete"),
    )
    return (
        f'<div class="stage" data-picture="1"><div class="frame"><figure class="picture" '
        f'data-key="{flat(_key(picture))}" style="--wide:{picture.width};--high:{picture.height}">'
        f'<img src="{picture.shown}" alt="{alt}" draggable="false">'
        f'<div class="boxes" data-view="boxes"></div></figure></div>'
        f'<footer><p class="facts"><span>{flat(picture.name)}</span>'
        f"<span>{picture.width} × {picture.height}</span></p>"
        f'<span class="tools">{"".join(tools)}</span></footer></div>'
    )


def _key(picture: Picture) -> str:
    return f"{picture.name}/{len(picture.data)}/{picture.width}x{picture.height}"


def _camera(style: str, language: str) -> str:
    return button(
        "camera", say("vision.camera", language), style, take=say("vision.take", language),
        none=say("vision.no_camera", language), cancel=say("page.cancel", language),
    )  # fmt: skip


def _empty(language: str) -> str:
    choose = button("choose", say("vision.choose", language), "primary")
    camera = _camera("", language)
    return (
        f'<div class="stage empty"><div class="drop"><i class="pic-picture"></i>'
        f"<h2>{flat(say('vision.hello', language))}</h2>"
        f"<p>{flat(say('vision.bring', language))}</p><p class='row'>{choose}{camera}</p></div>"
        f'<p class="or">{flat(say("samples.try", language))}</p>{gallery(PICTURES, language)}</div>'
    )


def presets(language: str, note: str = "") -> str:
    """Questions for a click, in the reader's language; `note` is the key of what to know about the model."""
    shown = "".join(
        button("ask", say(name, language), question=say(question, language))
        for name, question in PRESETS
    )
    name = flat(say("vision.presets", language))
    told = missing(note, language) if note else ""
    return (
        f'<div class="quick">{told}<div class="presets" role="group" aria-label="{name}">{shown}'
        "</div></div>"
    )


def lacking(key: str, language: str) -> str:
    """In place of what would be found."""
    return f'<div class="found">{missing(key, language)}</div>'


def missing(key: str, language: str) -> str:
    """What no model here can do, or what the one that is here cannot, and the way to another."""
    link = flat(say("models.bigger" if key == "vision.starter" else "vision.get_one", language))
    return f'<p class="missing">{flat(say(key, language))} <a href="#models">{link}</a></p>'


def working(state: Event | None, language: str) -> str:
    """While a picture is looked at."""
    match state:
        case Queued(ahead) if ahead:
            text = say("chat.queued", language, ahead=ahead)
        case Loading(model, fraction):
            percent = f" {round(fraction * 100)} %" if fraction is not None else ""
            text = say("chat.loading", language, model=model) + percent
        case _:
            text = say("vision.looking", language)
    dots = '<i class="dots"><b></b><b></b><b></b></i>'
    return f'<div class="found"><p class="state going" role="status">{dots}{flat(text)}</p></div>'


def wrong(sentence: str) -> str:
    return f'<div class="found"><p class="state failed" role="alert">{flat(sentence)}</p></div>'


# Things


def things(desk: Desk, language: str) -> str:
    """Boxes for the picture and the list beside it; the script hides what is below the threshold."""
    if desk.picture is None or desk.things is None:
        return '<div class="found"></div>'
    if not desk.things:
        none = flat(say("vision.nothing", language))
        return f'<div class="found"><p class="none" role="status">{none}</p></div>'
    shades = _shades(desk.things)
    boxes = "".join(
        _box(n, thing, desk.picture, shades[thing.text]) for n, thing in enumerate(desk.things)
    )
    rows = "".join(_row(n, thing, shades[thing.text]) for n, thing in enumerate(desk.things))
    few = flat(say("vision.all_below", language))
    return (
        f'<div class="found"><div class="boxes">{boxes}</div><p class="tally" role="status"></p>'
        f'<ul class="things">{rows}</ul><p class="none below" hidden>{few}</p>'
        f'<p class="by">{flat(desk.finder)}</p></div>'
    )


def _shades(found: Sequence[Segment]) -> dict[str, int]:
    """A colour for each name, the most frequent first."""
    names = [name for name, _ in Counter(thing.text for thing in found).most_common()]
    return {name: n % SHADES for n, name in enumerate(names)}


def _box(number: int, thing: Segment, picture: Picture, shade: int) -> str:
    x0, y0, x1, y1 = thing.box or (0.0, 0.0, 0.0, 0.0)
    wide, high = 100 / max(1, picture.width), 100 / max(1, picture.height)
    place = (
        f"left:{x0 * wide:.3f}%;top:{y0 * high:.3f}%;"
        f"width:{(x1 - x0) * wide:.3f}%;height:{(y1 - y0) * high:.3f}%"
    )
    low = " low" if y0 * high < 6 else ""
    return (
        f'<span class="box edge-{shade}{low}" data-thing="{number}" data-key="{number}" '
        f'data-score="{thing.score or 0:.4f}" style="{place}">'
        f'<b class="shade-{shade}">{flat(thing.text)} {_percent(thing.score)}</b></span>'
    )


def _row(number: int, thing: Segment, shade: int) -> str:
    return (
        f'<li tabindex="0" data-thing="{number}" data-key="{number}" data-name="{flat(thing.text)}" '
        f'data-score="{thing.score or 0:.4f}"><i class="swatch shade-{shade}"></i>'
        f"<span>{flat(thing.text)}</span><b>{_percent(thing.score)}</b></li>"
    )


# Labels


def bars(desk: Desk, language: str) -> str:
    """A bar for each label, the likeliest first."""
    if desk.labels is None:
        return '<div class="found"></div>'
    ranked = sorted(desk.labels, key=lambda label: -(label.score or 0))
    rows = "".join(
        f'<li class="{"best" if n == 0 else ""}"><span>{flat(label.text)}</span>'
        f'<i class="bar"><u style="width:{100 * (label.score or 0):.2f}%"></u></i>'
        f"<b>{_percent(label.score)}</b></li>"
        for n, label in enumerate(ranked)
    )
    name = flat(say("vision.labels", language))
    return (
        f'<div class="found"><ul class="bars" aria-label="{name}">{rows}</ul>'
        f'<p class="by">{flat(desk.labeller)}</p></div>'
    )


def _percent(score: float | None) -> str:
    value = 100 * (score or 0)
    return f"{value:.0f} %" if value >= 1 or value == 0 else "< 1 %"
