"""What the Voice tab's script is told: its words in the reader's language, who can take part, and what was said.

One JSON value; the script makes the page of it and talks to the server by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import Capability, Engine, ModelSpec, Voice
from engine.languages import LANGUAGES
from ui.conversations import flat
from ui.desks import tongue
from ui.header import name_of
from ui.parts import Seen, reader, session_of, told_by
from ui.words import say

WORDS = (
    "voice.hello", "voice.how", "voice.talk", "voice.release", "voice.tap", "voice.hearing", "voice.thinking",
    "voice.speaking", "voice.loading", "voice.free", "voice.free_on", "voice.stop", "voice.new", "voice.open",
    "voice.type", "voice.send", "voice.model", "voice.voice", "voice.language", "voice.listener", "voice.automatic",
    "voice.any",
    "voice.settings", "voice.you", "voice.nothing", "voice.cut", "voice.times", "voice.time_vad", "voice.time_stt",
    "voice.time_token", "voice.time_audio", "voice.insecure", "voice.denied", "voice.no_microphone", "voice.lost",
    "chat.sample_1", "chat.sample_2", "chat.sample_3",
)  # fmt: skip
ERRORS = (
    "error.QUEUE_FULL", "error.TIMED_OUT", "error.OUT_OF_MEMORY", "error.INFERENCE_FAILED",
)  # fmt: skip


@dataclass(slots=True)
class Facts:
    """The tab's one handler over one engine."""

    engine: Engine
    seen: Seen = field(default_factory=Seen)

    async def look(self, told: str, request: gr.Request) -> Any:
        """The page looks; `all` when it has just come."""
        language, session = reader(request), session_of(request)
        facts = await asyncio.to_thread(self.facts, language, session)
        html = painted(facts)
        [news] = self.seen.news(str(request.session_hash), [html], "all" in told_by(told))
        return html if news else gr.skip()

    def facts(self, language: str, session: str) -> dict[str, Any]:
        """Everything, as JSON has it."""
        listeners = self._here("transcribe")
        chats = self._here("chat")
        missing = [
            say(key, language)
            for key, models in (("voice.no_chat", chats), ("voice.no_listener", listeners))
            if not models
        ]
        voices = self.engine.voices()
        return {
            "words": {key.partition(".")[2]: say(key, language) for key in WORDS},
            "errors": {key.partition(".")[2]: say(key, language) for key in ERRORS},
            "missing": missing,
            "hears": bool(listeners),
            "models": _rows(chats, language),
            "listeners": _rows(listeners, language),
            "voices": [_voice(voice) for voice in voices],
            "languages": _languages(voices, language),
            "said": [
                {"role": e.role, "text": e.text, "cut": e.finish == "stopped"}
                for e in self.engine.dialogues.entries(session)
            ],
            "conversation": self.engine.dialogues.kept(session),
        }

    def _here(self, does: Capability) -> list[ModelSpec]:
        """The models that can do it and need no download first."""
        is_present = self.engine.downloads.is_present
        return [spec for spec in self.engine.models(does) if is_present(spec)]


def painted(facts: dict[str, Any]) -> str:
    """The value as the script finds it."""
    return f'<div class="facts" data-facts="{flat(json.dumps(facts, ensure_ascii=False))}"></div>'


def _rows(models: Sequence[ModelSpec], language: str) -> list[list[str]]:
    """Ids and names, the starters marked."""
    mark = f" · {say('model.starter', language)}"
    return [[spec.id, name_of(spec) + mark * spec.starter] for spec in models]


def _voice(voice: Voice) -> list[str]:
    return [voice.name, voice.title or voice.name, voice.language, voice.model]


def _languages(voices: Sequence[Voice], language: str) -> list[list[str]]:
    """Codes and names of what can be spoken, each in its own words, those of the page first."""
    ours = ("en", "fr", "pt", "ru")
    codes = {voice.language for voice in voices if voice.language in LANGUAGES}
    ordered = [code for code in ours if code in codes]
    ordered += sorted(codes - set(ours), key=lambda code: tongue(code).casefold())
    return [["", say("voice.automatic", language)], *([code, tongue(code)] for code in ordered)]
