"""Which voices there are, and which model speaks where none is named: by voice, language and what it takes.

Knows the catalog and the families' lists of voices; speaks nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import AtelierError, BadValue
from engine.registry import ModelSpec
from engine.requests import SpeakRequest
from engine.voices import Voice, find_voice, guess_language, spoken_language, unspoken, voice_of

if TYPE_CHECKING:
    from engine.models import Models


def voices_of(engine: Models, spec: ModelSpec) -> tuple[Voice, ...]:
    """The voices of a model; none where its family has no list or its files are not here. May run a program."""
    family = engine.families.get(spec.family)
    found = getattr(family, "voices", None)
    if found is None or not engine.downloads.is_present(spec):
        return ()
    try:
        return tuple(found(spec))
    except AtelierError:  # a broken folder; loading it will say what is wrong
        return ()


def list_voices(engine: Models) -> list[Voice]:
    """The voices of all models that are here, the better models first."""
    return [voice for spec in speakers(engine) for voice in voices_of(engine, spec)]


def speakers(engine: Models) -> list[ModelSpec]:
    """The models that speak, in the order in which they are asked: the chosen default, quick good ones, the one
    that always works, then what is asked by name alone."""
    rows = engine.models("speak")
    default = engine.registry.default("speak").id if rows else ""
    return sorted(
        rows,
        key=lambda spec: (
            spec.starter or spec.id != default,
            not spec.options.get("everyday"),
            not spec.starter,
        ),
    )


def find_speaker(engine: Models, request: SpeakRequest) -> ModelSpec:
    """The model that speaks a request which names none.

    Raises:
        Unknown: no model has the voice. BadValue: none speaks the language, or none here takes a reference.
    """
    rows = speakers(engine)
    if request.reference is not None:
        rows = [spec for spec in rows if "audio" in spec.accepts]
        here = [spec for spec in rows if engine.downloads.is_present(spec)]
        if not here:
            able = ", ".join(spec.id for spec in rows)
            raise BadValue(
                f"No model here clones voices. Get one on the Models tab first: {able or 'none known'}.",
                param="reference",
            )
        return here[0]
    voices = {spec.id: voices_of(engine, spec) for spec in rows}
    held = [spec for spec in rows if voices[spec.id]]
    if not held:
        return engine.registry.default("speak")
    everything = [voice for spec in held for voice in voices[spec.id]]
    language = spoken_language(request.language, {voice.language for voice in everything})
    wanted = language or guess_language(request.text)
    if plain := request.voice.partition("+")[0]:
        named = [(spec, find_voice(voices[spec.id], plain)) for spec in held]
        fitting = [spec for spec, voice in named if voice and voice.language in ("", wanted)]
        if fitting or (fitting := [spec for spec, voice in named if voice]):
            return fitting[0]
        voice_of(everything, plain, language, "any model here")  # raises
    for spec in held:
        if wanted in spoken_by(spec, voices[spec.id]):
            return spec
    if language:
        raise unspoken(
            language, (code for spec in held for code in spoken_by(spec, voices[spec.id]))
        )
    return next((spec for spec in held if spec.starter), held[0])


def spoken_by(spec: ModelSpec, voices: Sequence[Voice]) -> frozenset[str]:
    """The codes of the languages that a model speaks: those of its voices, and its own where a voice speaks all."""
    own = {voice.language for voice in voices}
    return frozenset((own | set(spec.languages) if "" in own else own) - {""})
