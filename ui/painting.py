"""What the chat tab looks like in each of its states, as updates by component.

Reads the engine, changes nothing. The layout is `ui/tabs/chat.py`, the flow of events `ui/talk.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from engine import Conversation, Engine, Entry, Event, Result
from ui import snippets
from ui.conversations import answer, code_block, flat, footer, hidden, listing, progress, shown
from ui.header import choices, name_of, title_of
from ui.parts import Views, address, reader, session_of
from ui.words import say

Updates = dict[Any, Any]
LISTED = 200  # conversations at the side; the search finds the others
SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Widgets:
    """The places of the tab that its handlers read and paint.

    Attributes:
        opened: the id of the open conversation, empty for a new one.
        fields: the parameters' inputs by their names in `ChatRequest`.
        tools: buttons that need an open conversation.
    """

    opened: gr.State
    search: gr.Textbox
    listing: gr.Markdown
    model: gr.Dropdown
    title: gr.Markdown
    log: gr.Chatbot
    state: gr.Markdown
    box: gr.Textbox
    system: gr.Textbox
    fields: dict[str, Any]
    code: gr.Markdown
    tools: tuple[gr.Button, ...]

    @property
    def form(self) -> dict[str, Any]:
        """What a question is asked with, by argument name."""
        return {"opened": self.opened, "model": self.model, "system": self.system, **self.fields}

    @property
    def painted(self) -> list[Any]:
        """Every component a handler may update."""
        return [
            self.opened, self.listing, self.model, self.title, self.log, self.state, self.box,
            self.system, *self.fields.values(), self.code, *self.tools,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Painter:
    """Updates for the tab of one engine."""

    engine: Engine
    w: Widgets
    views: Views

    def opening(
        self, found: Conversation | None, entries: Sequence[Entry], request: gr.Request
    ) -> Updates:
        """A conversation, or the empty page, with the controls it was used with."""
        language = reader(request)
        model = self.model_of(found, request)
        updates: Updates = {
            self.w.opened: found.id if found else "",
            self.w.model: gr.Dropdown(choices=self._choices(language), value=model),
            self.w.log: gr.Chatbot(
                value=shown(entries, language)[0], **self._greeting(model, language)
            ),
            **self.named(found),
            **self.resting(entries, language),
        }
        if found is not None:
            for name, field in self.w.fields.items():
                kept = found.parameters.get(name)
                text = "" if kept is None else str(kept)
                updates[field] = "\n".join(kept or ()) if name == "stop" else text
            updates[self.w.system] = found.system
        return updates

    def named(self, found: Conversation | None) -> Updates:
        """The title, and the actions that need a conversation."""
        return {
            self.w.title: f"<p>{flat(found.title)}</p>" if found else "",
            **{tool: gr.Button(interactive=found is not None) for tool in self.w.tools},
        }

    def resting(self, entries: Sequence[Entry], language: str) -> Updates:
        """No answer is on its way: the line under the last one, and a box to type in."""
        last = entries[-1] if entries else None
        line = footer(last, title_of(self.engine, last.model if last else ""), language)
        older = hidden(entries)
        if older:
            line += f'<p class="state">{flat(say("chat.hidden", language, n=older))}</p>'
        return {self.w.state: line}

    def following(
        self,
        before: Sequence[dict[str, Any]],
        result: Result,
        state: Event | None,
        model: str,
        language: str,
    ) -> Updates:
        """An answer on its way, with everything said before it."""
        log = list(before)
        if result.text or result.reasoning:
            log += answer(result.text, result.reasoning, language, growing=True)
        line = progress(result, state, title_of(self.engine, model), language)
        return {self.w.log: log, self.w.state: line}

    async def listing(self, request: gr.Request, query: str = "") -> Updates:
        """The conversations at the side."""
        rows = await self.engine.conversations.list(query, limit=LISTED)
        text = listing(
            rows,
            opened=self.views.opened(request),
            answering={turn.conversation_id for turn in self.engine.turns.running()},
            query=query.strip(),
            language=reader(request),
            now=datetime.now(UTC),
        )
        return {self.w.listing: text}

    def picker(self, language: str) -> Updates:
        """The model picker's rows, with what is in memory now."""
        return {self.w.model: gr.Dropdown(choices=self._choices(language))}

    def code(
        self, request: gr.Request, found: Conversation | None, said: Sequence[Entry]
    ) -> Updates:
        """The last call of a conversation as code; an example where nothing was said."""
        language = reader(request)
        messages = [{"role": e.role, "content": e.text} for e in said if e.text]
        if found is not None and found.system and messages:
            messages.insert(0, {"role": "system", "content": found.system})
        example = [{"role": "user", "content": say("chat.sample_1", language)}]
        call = snippets.Call(
            base=address(request),
            model=self.model_of(found, request) or "",
            messages=messages or example,
            options=found.parameters if found is not None else {},
            token=bool(self.engine.settings.token),
        )
        note = say("chat.code_hint" if messages else "chat.code_example", language)
        blocks = (
            ("curl", snippets.curl(call)),
            ("Python · openai", snippets.openai(call)),
            ("Python · gradio_client", snippets.gradio(call)),
        )
        text = "".join(code_block(title, code, language) for title, code in blocks)
        return {self.w.code: f'<div><p class="note">{flat(note)}</p>{text}</div>'}

    def model_of(self, found: Conversation | None, request: gr.Request) -> str | None:
        """The conversation's model, else the one this browser chose, else the default."""
        ids = [spec.id for spec in self.engine.models("chat")]
        chosen = self.engine.sessions.get(session_of(request)).model
        for model in (found.model if found else "", chosen):
            if model in ids:
                return model
        return self.engine.registry.default("chat").id if ids else None

    def _choices(self, language: str) -> list[tuple[str, str]]:
        loaded = {model.id for model in self.engine.status().resident}
        return choices(self.engine.models("chat"), loaded, language)

    def _greeting(self, model: str | None, language: str) -> dict[str, Any]:
        spec = next((s for s in self.engine.models("chat") if s.id == model), None)
        starter = spec is None or spec.starter
        key = "chat.hello_starter" if starter else "chat.hello_model"
        text = flat(say(key, language, model=name_of(spec) if spec else ""))
        if starter:
            text += f' <a href="#models">{flat(say("models.bigger", language))}</a>'
        samples = [say(f"chat.sample_{n}", language) for n in range(1, SAMPLES + 1)]
        return {
            "placeholder": f"<h2>{say('chat.hello', language)}</h2><p>{text}</p>",
            "examples": [{"text": sample} for sample in samples],
        }
