"""Writes questions about a scene with the one right answer to each, and conversations made of them.

Everything is drawn from a random.Random, so a seed names a data set. It knows nothing of pixels.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from starter.chat_data import Turn
from starter.chat_grammar import LANGUAGES, load_grammar
from starter.chat_noise import roughen
from starter.vision_scene import COLOURS, KINDS, Scene, Shape
from starter.vision_words import Words, load_words

# Columns and rows that "left", "top" and so on mean when asked about; corners and centre mean one cell.
WIDE = {1: (0, 1, 2), 3: (0, 3, 6), 5: (2, 5, 8), 7: (6, 7, 8)}
WEIGHTS = {
    "describe": 32,
    "count_all": 8,
    "count_some": 10,
    "colour_of": 9,
    "its_colour": 4,
    "kind_of": 8,
    "at": 10,
    "exists": 9,
    "biggest": 4,
    "smallest": 3,
    "size_of": 4,
    "compare": 4,
    "where": 9,
    "background": 6,
    "picture": 2,
    "colours": 4,
    "kinds": 4,
    "beyond": 4,
    "greet": 1,
    "thanks": 1,
    "bye": 0.5,
    "identity": 1.5,
}
PLAIN_WEIGHTS = WEIGHTS | {"picture": 12, "its_colour": 8, "describe": 30}
TALK = ("greet", "thanks", "bye")
FIXED = ("unknown", "unseen", "no_picture", "identity", "greet")
ABOUT_ITSELF = (*TALK, "identity", "beyond")
Asked = tuple[dict[str, str], str]  # the values of a question's placeholders, and its answer


@dataclass(frozen=True)
class Topic:
    """What a question is about: a kind, a colour or both; "" leaves one open."""

    kind: str
    colour: str

    def of(self, scene: Scene) -> tuple[Shape, ...]:
        """The shapes it is true of."""
        return tuple(
            shape
            for shape in scene.shapes
            if self.kind in ("", shape.kind) and self.colour in ("", shape.colour)
        )

    @property
    def noun(self) -> str:
        return self.kind or "shape"


class Guide:
    """Somebody who sees the scene and answers questions about it in one language."""

    def __init__(self, scene: Scene, words: Words, rng: random.Random) -> None:
        self.scene = scene
        self.words = words
        self.rng = rng

    def ask(self, intent: str) -> Asked:
        """Draws what the question is about; the values for its placeholders and the answer."""
        if intent in ("beyond", "identity", *TALK):
            return {}, self.words.answer["unknown" if intent == "beyond" else intent]
        if not self.scene.known:
            _, answer = {}, self.words.answer["unseen"]
            values, _ = self._asked(intent)(Scene((), "white"))
            return values, answer
        return self._asked(intent)(self.scene)

    def _asked(self, intent: str) -> Callable[[Scene], Asked]:
        about: dict[str, Callable[[Scene], Asked]] = {
            "count_all": lambda scene: ({}, self._count(scene, Topic("", ""))),
            "count_some": self._count_some,
            "colour_of": self._colour_of,
            "its_colour": self._its_colour,
            "kind_of": self._kind_of,
            "at": self._at,
            "exists": self._exists,
            "biggest": lambda scene: ({}, self._extreme(scene, True)),
            "smallest": lambda scene: ({}, self._extreme(scene, False)),
            "size_of": self._size_of,
            "compare": self._compare,
            "where": self._where,
            "background": lambda scene: ({}, self._ground(scene, "background")),
            "picture": lambda scene: ({}, self._ground(scene, "" if scene.shapes else "picture")),
            "describe": lambda scene: ({}, self.describe(scene)),
            "colours": lambda scene: ({}, self._colours(scene)),
            "kinds": lambda scene: ({}, self._kinds(scene)),
        }
        return about[intent]

    def _topic(self, scene: Scene, kind: bool, colour: bool, absent: float = 0.15) -> Topic:
        """Something to ask about: mostly one that is there, else one that might be."""
        if scene.shapes and self.rng.random() >= absent:
            shape = self.rng.choice(scene.shapes)
            return Topic(shape.kind if kind else "", shape.colour if colour else "")
        near = self.rng.choice(scene.shapes) if scene.shapes and self.rng.random() < 0.5 else None
        drawn_kind, drawn_colour = self.rng.choice(KINDS), self.rng.choice(COLOURS)
        if near and kind and colour:
            drawn_kind, drawn_colour = self.rng.choice(
                [(near.kind, drawn_colour), (drawn_kind, near.colour)]
            )
        return Topic(drawn_kind if kind else "", drawn_colour if colour else "")

    def _one(self, shape: Shape, sized: bool = False) -> str:
        return self.words.name("a", shape.kind, shape.colour, shape.big if sized else None)

    def _the(self, shape: Shape) -> str:
        return self.words.name("the", shape.kind, shape.colour)

    def _values(self, topic: Topic) -> dict[str, str]:
        names = {
            form: self.words.name(form, topic.noun, topic.colour)
            for form in ("the", "of", "some", "a")
        }
        return names | {"end": self.words.end_of(topic.noun)}

    def _none(self, topic: Topic) -> str:
        return self.words.say("zero", some=self.words.name("some", topic.noun, topic.colour))

    def _several(self, topic: Topic, shapes: tuple[Shape, ...], placed: bool = False) -> str:
        named = [
            f"{self._one(shape)} {self.words.said[shape.cell]}" if placed else self._one(shape)
            for shape in shapes
        ]
        count = self.words.number(len(shapes), topic.noun, topic.colour)
        return self.words.say("several", n=count, list=self.words.series(named))

    def _count(self, scene: Scene, topic: Topic) -> str:
        found = len(topic.of(scene))
        if not found:
            return self._none(topic)
        number = self.words.number(found, topic.noun, topic.colour)
        return self.words.say("one" if found == 1 else "count", n=number)

    def _count_some(self, scene: Scene) -> Asked:
        kind, colour = self.rng.choice([(True, False), (False, True), (True, True), (True, False)])
        topic = self._topic(scene, kind, colour)
        return self._values(topic), self._count(scene, topic)

    def _colour_of(self, scene: Scene) -> Asked:
        topic = self._topic(scene, True, False)
        return self._values(topic), self._tell_colour(scene, topic)

    def _tell_colour(self, scene: Scene, topic: Topic) -> str:
        found = topic.of(scene)
        if len(found) != 1:
            return self._several(topic, found) if found else self._none(topic)
        colour = self.words.colour_as(found[0].colour, found[0].kind)
        return self.words.say("is_colour", The=self._upper_the(found[0].kind), colour=colour)

    def _upper_the(self, kind: str, colour: str = "") -> str:
        text = self.words.name("the", kind, colour)
        return text[0].upper() + text[1:]

    def _its_colour(self, scene: Scene) -> Asked:
        if len(scene.shapes) == 1:
            return {}, self._tell_colour(scene, Topic(scene.shapes[0].kind, ""))
        return {}, self._colours(scene) if scene.shapes else self._ground(scene, "picture")

    def _kind_of(self, scene: Scene) -> Asked:
        topic = self._topic(scene, False, True)
        colour = self.words.colour_as(topic.colour, "shape")
        values = self._values(topic) | {"colour": colour}
        values |= {
            f"colour.{key}": self.words.colour[topic.colour].get(key, colour) for key in "mn"
        }
        found = topic.of(scene)
        if len(found) != 1:
            return values, self._several(topic, found) if found else self._none(topic)
        the = self._upper_the("shape", topic.colour)
        return values, self.words.say("is_kind", The=the, a=self.words.name("a", found[0].kind))

    def _at(self, scene: Scene) -> Asked:
        cell = self.rng.choice([shape.cell for shape in scene.shapes] or [4])
        cell = self.rng.randrange(9) if self.rng.random() < 0.35 else cell
        if self.rng.random() < 0.3:
            cell = self.rng.choice([1, 3, 5, 7])
        place = self.words.said[cell]
        if self.rng.random() < 0.4:
            place = self.rng.choice(self.words.asked[cell])
        found = [shape for shape in scene.shapes if shape.cell in WIDE.get(cell, (cell,))]
        listed = self.words.series([self._one(shape, True) for shape in found]) if found else ""
        answer = f"{listed[0].upper()}{listed[1:]}." if found else self.words.answer["nothing"]
        return {"place": place}, answer

    def _exists(self, scene: Scene) -> Asked:
        kind, colour = self.rng.choice([(True, False), (False, True), (True, True), (True, True)])
        topic = self._topic(scene, kind, colour, absent=0.5)
        values = self._values(topic)
        return values, self.words.say(
            "yes" if topic.of(scene) else "no", a=values["a"], some=values["some"]
        )

    def _extreme(self, scene: Scene, big: bool) -> str:
        if not scene.shapes:
            return self._none(Topic("", ""))
        found = [shape for shape in scene.shapes if shape.big == big]
        if len(scene.shapes) > 1 and len(found) in (0, len(scene.shapes)):
            return self.words.answer["same"]
        found = found or list(scene.shapes)
        name = ("biggest" if big else "smallest") + ("_several" if len(found) > 1 else "")
        return self.words.say(name, list=self.words.series([self._the(shape) for shape in found]))

    def _size_of(self, scene: Scene) -> Asked:
        topic = self._topic(scene, True, self.rng.random() < 0.25, absent=0.06)
        found = topic.of(scene)
        values = self._values(topic)
        if len(found) > 1:
            topic = Topic(found[0].kind, found[0].colour)
            found, values = topic.of(scene), self._values(topic)
        if not found:
            return values, self._none(topic)
        size = self.words.size_as(found[0].big, found[0].kind)
        the = self._upper_the(topic.kind, topic.colour)
        return values, self.words.say("is_size", The=the, size=size)

    def _compare(self, scene: Scene) -> Asked:
        single = [shape for shape in scene.shapes if len(Topic(shape.kind, "").of(scene)) == 1]
        if len(single) < 2:
            raise LookupError("nothing to compare")
        pair = self.rng.sample(single, 2)
        values = {
            key: self.words.name("the", shape.kind)
            for key, shape in zip(("one", "two"), pair, strict=True)
        }
        if pair[0].big == pair[1].big:
            return values, self.words.answer["equal"]
        winner = pair[0] if pair[0].big else pair[1]
        size = self.words.size_as(True, winner.kind)
        return values, self.words.say("bigger", The=self._upper_the(winner.kind), size=size)

    def _where(self, scene: Scene) -> Asked:
        topic = self._topic(scene, True, self.rng.random() < 0.4, absent=0.1)
        values, found = self._values(topic), topic.of(scene)
        if len(found) != 1:
            return values, self._several(topic, found, placed=True) if found else self._none(topic)
        the = self._upper_the(topic.kind, topic.colour)
        return values, self.words.say("where", The=the, place=self.words.said[found[0].cell])

    def _ground(self, scene: Scene, intent: str) -> str:
        text = self.words.answer[intent or "background"]
        return self._coloured(text, scene.ground)

    def _coloured(self, text: str, colour: str) -> str:
        for key in ("f", "on"):
            form = self.words.colour[colour].get(key) or self.words.colour_as(colour)
            text = text.replace(f"{{colour.{key}}}", form)
        return text.replace("{colour}", self.words.colour_as(colour))

    def describe(self, scene: Scene) -> str:
        """The whole scene in one sentence, row by row."""
        words = self.words
        if not scene.shapes:
            return self._coloured(words.answer["plain"], scene.ground)
        named = [f"{self._one(shape, True)} {words.said[shape.cell]}" for shape in scene.shapes]
        listed = words.series(named)
        text = self._coloured(words.answer["scene"], scene.ground).replace(
            "{a}", f"a {words.colour_as(scene.ground)}"
        )
        return words.join_sounds(text.replace("{List}", listed[0].upper() + listed[1:]))

    def _colours(self, scene: Scene) -> str:
        if not scene.shapes:
            return self._none(Topic("", ""))
        names = dict.fromkeys(self.words.colour_as(shape.colour) for shape in scene.shapes)
        return self.words.answer["colours"].replace("{list}", ", ".join(names))

    def _kinds(self, scene: Scene) -> str:
        if not scene.shapes:
            return self._none(Topic("", ""))
        names = dict.fromkeys(self.words.noun[shape.kind]["s"] for shape in scene.shapes)
        return self.words.answer["kinds"].replace("{list}", ", ".join(names))


def write_turn(
    scene: Scene | None, code: str, rng: random.Random, held: bool = False, intent: str = ""
) -> Turn:
    """A question in the language and its answer; without a scene, the answer asks for a picture.

    Raises:
        LookupError: this intent cannot be asked about the scene, or no phrasing of it is held out.
    """
    words = load_words(code)
    weights = PLAIN_WEIGHTS if scene and scene.known and not scene.shapes else WEIGHTS
    intent = intent or rng.choices(list(weights), list(weights.values()))[0]
    if intent == "compare" and not (scene and scene.known):
        raise LookupError("nothing to compare")
    guide = Guide(scene or Scene((), "white"), words, rng)
    values, answer = guide.ask(intent)
    if not scene and intent not in ABOUT_ITSELF:
        answer = words.answer["no_picture"]
    frame = _phrase(intent, words, rng, held)
    text = roughen(frame, load_grammar(code), rng, intent not in TALK, 0.08 if held else 0.12)
    return Turn(code, intent, _fill(text, values, words, rng), answer)


def _phrase(intent: str, words: Words, rng: random.Random, held: bool) -> str:
    """A phrasing of the intent; a held-out one where there is one."""
    chat = load_grammar(words.code).phrases
    if intent in TALK:
        phrases = chat[f"talk.{intent}"]
    elif intent == "beyond" and rng.random() < 0.6:
        names = [
            name for name in chat if name.startswith("unknown.") and _is_closed(chat[name].train)
        ]
        phrases = chat[rng.choice(names)]
    else:
        phrases = words.ask[intent]
    return phrases.pick(rng, held and bool(phrases.held))


def _is_closed(phrases: tuple[tuple[str, ...], ...]) -> bool:
    return not any("{" in text for texts in phrases for text in texts)


def _fill(text: str, values: dict[str, str], words: Words, rng: random.Random) -> str:
    """The phrasing with its placeholders filled, other spellings of a word now and then."""
    lower = text == text.lower()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    if rng.random() < 0.12:
        for usual, other in words.spelled.items():
            text = text.replace(usual, other)
    text = words.join_sounds(text)
    text = text.replace("ё", "е") if words.code == "ru" and rng.random() < 0.4 else text
    return text if lower else text[:1].upper() + text[1:]


def write_turns(
    scene: Scene | None, count: int, rng: random.Random, held: bool = False
) -> tuple[Turn, ...]:
    """So many turns about one picture, mostly in one language."""
    code = rng.choice(LANGUAGES)
    turns: list[Turn] = []
    while len(turns) < count:
        try:
            turns.append(write_turn(scene, code, rng, held))
        except LookupError:
            continue
        if rng.random() < 0.15:
            code = rng.choice(LANGUAGES)
    return tuple(turns)
