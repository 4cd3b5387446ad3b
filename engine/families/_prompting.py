"""From a chat request to token ids, with the tokenizer's own chat template.

Knows messages, templates and one tokenizer; nothing of models or sampling.
"""

from __future__ import annotations

import logging
from typing import Any

from engine.errors import BadValue
from engine.requests import ChatRequest, Message

log = logging.getLogger("atelier.hf_chat")

MARK = "\u2042probe\u2042"  # looked for in a trial rendering; no template writes it by itself
CHARS = 24  # characters a token holds at most, on any real text; only used to cut hopeless prompts short


class Prompter:
    """Turns requests into ids for one tokenizer."""

    def __init__(self, tokenizer: Any, model: str) -> None:
        self._tokenizer, self._model = tokenizer, model
        self._has_template = bool(getattr(tokenizer, "chat_template", None))
        self._wants_parts = self._has_template and self._reads_parts_only()
        if not self._has_template:
            log.warning("%s has no chat template; messages are written as 'role: text'", model)

    def ids(self, request: ChatRequest, context: int) -> tuple[list[int], bool]:
        """The prompt's ids, and False where it was so long that only its beginning was read.

        Raises:
            BadValue: the template refuses these messages, or a part is not text.
        """
        if request.prompt is not None:
            return self._encode(request.prompt, context, special=True)
        for message in request.messages:
            self._check(message)
        text = (
            self._render(request.messages) if self._has_template else self._plain(request.messages)
        )
        return self._encode(text, context, special=not self._has_template)

    def _encode(self, text: str, context: int, *, special: bool) -> tuple[list[int], bool]:
        limit = (context + 1000) * CHARS
        ids: list[int] = self._tokenizer(text[:limit], add_special_tokens=special)["input_ids"]
        return ids, len(text) <= limit

    def _check(self, message: Message) -> None:
        for part in message.parts:
            if part.kind != "text":
                raise BadValue(
                    f"{self._model} reads text only, but a message holds a part of kind '{part.kind}'. "
                    "Leave it out or choose a model that accepts it.",
                    param="messages",
                )

    def _render(self, messages: tuple[Message, ...]) -> str:
        from jinja2.exceptions import TemplateError

        turns = [self._turn(message.role, message.text) for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise BadValue(
                f"{self._model} does not accept these messages: {error.message or error}. "
                "Change their roles or their order.",
                param="messages",
            ) from error
        return text

    def _turn(self, role: str, text: str) -> dict[str, Any]:
        return {
            "role": role,
            "content": [{"type": "text", "text": text}] if self._wants_parts else text,
        }

    def _plain(self, messages: tuple[Message, ...]) -> str:
        return "".join(f"{message.role}: {message.text}\n" for message in messages) + "assistant:"

    def _reads_parts_only(self) -> bool:
        """Whether the template loses a message given as a string and keeps it given as parts."""
        from jinja2.exceptions import TemplateError

        kept = []
        for content in (MARK, [{"type": "text", "text": MARK}]):
            try:
                turns = [{"role": "user", "content": content}]
                text = self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            except (TemplateError, TypeError, ValueError):
                text = ""
            kept.append(MARK in text)
        return kept == [False, True]
