"""The Creatures corner's painted parts: the card that was drawn, and the deck. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence

from engine import Kept
from ui.cards import button
from ui.conversations import flat
from ui.words import say

RARITIES = ("F", "E", "D", "C", "B", "A", "S", "S+")


def corner(cards: Sequence[Kept], picked: str, busy: bool, language: str) -> str:
    """The newest or the picked card large, and all of them below."""
    chosen = next((card for card in cards if card.id == picked), cards[0] if cards else None)
    meet = (
        f'<button type="button" class="act primary meet" data-act="meet"{" disabled" if busy else ""}>'
        f"{flat(say('creature.meet', language))}</button>"
    )
    if chosen is None:
        title = flat(say("creature.hello", language))
        hello = (
            f'<div class="card back" aria-hidden="true"><i></i></div><h2>{title}</h2>'
            f"<p>{flat(say('creature.hello_more', language))}</p>"
        )
        return f'<div class="corner empty"><div class="table">{hello}{meet}</div></div>'
    tools = (
        f'<a class="act" href="v1/gallery/{chosen.id}/picture?download=true" download>'
        f"{flat(say('image.save', language))}</a>"
        + button("refine", say("image.refine", language), id=chosen.id)
        + button(
            "favour",
            say("image.favourite", language),
            icon="star",
            pressed=chosen.favourite,
            id=chosen.id,
        )
        + button("remove", say("creature.free", language), icon="delete", id=chosen.id)
    )
    return (
        f'<div class="corner"><div class="table">{_card(chosen, language)}<div class="beside">{meet}'
        f'<p class="tools">{tools}</p>{_chances(cards, language)}</div></div>{_deck(cards, chosen.id, language)}</div>'
    )


def _rank(rarity: str) -> int:
    return RARITIES.index(rarity) if rarity in RARITIES else 0


def _card(card: Kept, language: str) -> str:
    rank = _rank(card.rarity)
    stars = "★" * (1 + rank // 2) + "☆" * (3 - rank // 2)
    rarity = flat(say("creature.rarity", language, rarity=card.rarity))
    return (
        f'<article class="card rank-{rank}" data-key="{card.id}" aria-label="{flat(card.title)}, {rarity}">'
        f'<header><b>{flat(card.title)}</b><em title="{rarity}">{flat(card.rarity)}</em></header>'
        f'<div class="window"><img src="v1/gallery/{card.id}/picture" alt="{flat(card.title)}"></div>'
        f"<footer><span>{stars}</span><code>{flat(_maker(card))}</code></footer></article>"
    )


def _chances(cards: Sequence[Kept], language: str) -> str:
    """How many of each rarity there are."""
    counts = {rarity: sum(card.rarity == rarity for card in cards) for rarity in RARITIES}
    rows = "".join(
        f'<li class="rank-{_rank(rarity)}{" none" if not count else ""}"><b>{flat(rarity)}</b>{count}</li>'
        for rarity, count in counts.items()
    )
    return f'<ul class="ranks" aria-label="{flat(say("creature.ranks", language))}">{rows}</ul>'


def _deck(cards: Sequence[Kept], picked: str, language: str) -> str:
    rows = "".join(
        f'<li data-key="{card.id}" class="rank-{_rank(card.rarity)}"{_current(card, picked)}>'
        f'<button type="button" data-pick="{card.id}" title="{flat(card.title)}"><img src="v1/gallery/{card.id}/thumb" '
        f'alt="" loading="lazy"><span>{flat(card.title)}</span><em>{flat(card.rarity)}</em></button></li>'
        for card in cards
    )
    words = flat(say("creature.export", language))
    export = f'<a class="act quiet" href="v1/gallery/pack.zip?kind=creature" download>{words}</a>'
    title = flat(say("creature.deck", language, n=len(cards)))
    return f'<section class="deck"><h3>{title}{export}</h3><ul>{rows}</ul></section>'


def _current(card: Kept, picked: str) -> str:
    return ' aria-current="true"' if card.id == picked else ""


def _maker(card: Kept) -> str:
    """Who drew a card's picture."""
    return str(card.recipe.get("model") or card.model)
