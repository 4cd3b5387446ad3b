"""From a chat request to token ids, with the tokenizer's own chat template.

Knows messages, tools, templates and one tokenizer; nothing of models, sampling or what is in a picture.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from engine.errors import BadValue
from engine.families._reasoning import choose_style, opens, switches
from engine.families._seeing import Eyes
from engine.families._tools import HERMES, choose_format, written
from engine.requests import Call, ChatRequest, Message, TextPart, Tool

log = logging.getLogger("atelier.hf_chat")

MARK = "\u2042probe\u2042"  # looked for in a trial rendering; no template writes it by itself
CHARS = 24  # characters a token holds at most, on any real text; only used to cut hopeless prompts short
ASKED = Message.of("user", "?")
GENERIC = """You can call these tools, one JSON object a line:
{tools}
To call a tool, write nothing but this, once for each call:
<tool_call>
{{"name": its name, "arguments": an object of its arguments}}
</tool_call>"""


class Prompter:
    """Turns requests into ids for one tokenizer.

    Attributes:
        style: how the model marks its thoughts; None where it does not think aloud.
        format: how it writes calls of tools.
    """

    def __init__(
        self, tokenizer: Any, model: str, wish: str = "", eyes: Eyes | None = None
    ) -> None:
        self._tokenizer, self._model, self._eyes = tokenizer, model, eyes
        kept = getattr(tokenizer, "chat_template", None)
        self.template = "\n".join(kept.values()) if isinstance(kept, dict) else str(kept or "")
        self._has_template = bool(self.template)
        self._wants_parts = self._has_template and self._reads_parts_only()
        self.style = choose_style(self.template)
        tokens = [str(token.content) for token in tokenizer.added_tokens_decoder.values()]
        own = bool(wish) or self._takes_tools
        self.format = choose_format(self.template, tokens, wish) if own else HERMES
        if not self._has_template:
            log.warning("%s has no chat template; messages are written as 'role: text'", model)

    def ids(self, request: ChatRequest, context: int) -> tuple[list[int], bool]:
        """The prompt's ids, and False where it was so long that only its beginning was read.

        Raises:
            BadValue: the template refuses these messages, or a part is neither text nor a picture it sees.
        """
        return self.encode(self.render(request), request, context)

    def render(self, request: ChatRequest) -> str:
        """The prompt as text. Raises BadValue as `ids` does."""
        if request.prompt is not None:
            return request.prompt
        for message in request.messages:
            self._check(message)
        messages = request.messages
        if self._eyes is not None:
            messages = tuple(_harmless(message, self._eyes.words) for message in messages)
        if not self._takes_tools:
            messages = _generic(messages, request.tools)
        if not self._has_template:
            return "".join(f"{m.role}: {self._flat(m)}\n" for m in messages) + "assistant:"
        text = self._render(messages, request)
        self._check_pictures(text, request)
        if request.think is False and self.style and opens(self.style, text):
            text += "\n" * (not text.endswith("\n")) + self.style.close + "\n\n"
        return text

    def encode(self, text: str, request: ChatRequest, context: int) -> tuple[list[int], bool]:
        """The ids of a rendered prompt, as `ids` gives them."""
        limit = (context + 1000) * CHARS
        special = self.adds(text, request)
        ids: list[int] = self._tokenizer(text[:limit], add_special_tokens=special)["input_ids"]
        return ids, len(text) <= limit

    def adds(self, text: str, request: ChatRequest) -> bool:
        """Whether the tokenizer must add what a text begins with; templates write it themselves.

        Those of models that see leave it to the tokenizer now and then.
        """
        if request.prompt is not None or not self._has_template:
            return True
        begin = getattr(self._tokenizer, "bos_token", None)
        return self._eyes is not None and not (begin and text.startswith(begin))

    def _check(self, message: Message) -> None:
        for part in message.parts:
            if part.kind != "text" and not (part.kind == "image" and self._eyes is not None):
                raise BadValue(
                    f"{self._model} reads text only, but a message holds a part of kind '{part.kind}'. "
                    "Leave it out or choose a model that accepts it.",
                    param="messages",
                )

    def _check_pictures(self, text: str, request: ChatRequest) -> None:
        """Raise BadValue where the template left a picture out; most take them from users alone."""
        if self._eyes is not None and text.count(self._eyes.token) != len(request.pictures):
            raise BadValue(
                f"{self._model} does not take pictures in these places. Put them into messages of the user.",
                param="messages",
            )

    def _flat(self, message: Message) -> str:
        """A message as text alone; a picture is what stands for it."""
        if self._eyes is None or not message.pictures:
            return message.text
        token = self._eyes.token
        return "\n".join(part.text if part.kind == "text" else token for part in message.parts)

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        """What the template gets: parts in their order where it reads them."""
        if message.pictures and not self._takes_pictures:
            return self._flat(message)
        if message.pictures:
            return [
                {"type": "text", "text": part.text} if part.kind == "text" else {"type": "image"}
                for part in message.parts
            ]
        text = message.text
        return [{"type": "text", "text": text}] if self._wants_parts else text

    def _render(self, messages: Sequence[Message], request: ChatRequest) -> str:
        from jinja2.exceptions import TemplateError

        own = self._takes_tools
        try:
            text: str = self._tokenizer.apply_chat_template(
                [self._turn(message, messages) for message in messages],
                tools=[_declared(tool) for tool in request.tools] or None if own else None,
                tokenize=False,
                add_generation_prompt=True,
                **switches(self.template, request.think),
            )
        except TemplateError as error:
            if request.tools and not own and messages[0].role == "system":
                return self._render(_merged(messages), request)  # no system messages, it may be
            raise BadValue(
                f"{self._model} does not accept these messages: {error.message or error}. "
                "Change their roles or their order.",
                param="messages",
            ) from error
        return text

    def _turn(self, message: Message, all_: Sequence[Message]) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": message.role, "content": self._content(message)}
        if message.reasoning:
            # Templates differ in the name; none reads both.
            turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
        if message.calls:
            turn["tool_calls"] = [self._call(call) for call in message.calls]
        if message.role == "tool":
            calls = (call for other in all_ for call in other.calls)
            name = next((call.name for call in calls if call.id == message.call_id), "")
            turn |= {"name": name, "tool_call_id": self._id(message.call_id or "")}
        return turn

    def _call(self, call: Call) -> dict[str, Any]:
        arguments: Any = call.arguments or "{}"
        if not self._arguments_as_text:
            try:
                arguments = json.loads(arguments)
            except ValueError:
                arguments = {"arguments": call.arguments}
        function = {"name": call.name, "arguments": arguments}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, id: str) -> str:
        """A call's id; the templates of Mistral accept nine letters and digits only."""
        if not self.format.name.startswith("mistral") or (len(id) == 9 and id.isalnum()):
            return id
        return hashlib.sha256(id.encode()).hexdigest()[:9]

    # -- what a template does, found by trying

    def _tried(self, turns: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tools=tools, tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError, AttributeError, KeyError):
            return ""
        return text

    def _reads_parts_only(self) -> bool:
        """Whether the template loses a message given as a string and keeps it given as parts."""
        kept = []
        for content in (MARK, [{"type": "text", "text": MARK}]):
            kept.append(MARK in self._tried([{"role": "user", "content": content}], None))
        return kept == [False, True]

    @cached_property
    def _takes_pictures(self) -> bool:
        """Whether the template writes what stands for a picture."""
        parts = [{"type": "image"}, {"type": "text", "text": MARK}]
        text = self._tried([{"role": "user", "content": parts}], None)
        return self._eyes is not None and self._eyes.token in text and MARK in text

    @cached_property
    def _takes_tools(self) -> bool:
        """Whether the template writes the tools it is given."""
        if not self._has_template:
            return False
        turn = self._turn(ASKED, ())
        return MARK in self._tried([turn], [_declared(Tool(name=MARK, description="x"))])

    @cached_property
    def _arguments_as_text(self) -> bool:
        """Whether the template wants a call's arguments as JSON text, not as an object."""
        call = {"name": "f", "arguments": {"x": MARK}}
        turns = [
            self._turn(ASKED, ()),
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "abcdefghi", "type": "function", "function": call}
            ]},
            {"role": "tool", "content": "1", "name": "f", "tool_call_id": "abcdefghi"},
        ]  # fmt: skip
        text = self._tried(turns, [_declared(Tool(name="f"))])
        if MARK in text and "{'x'" not in text:
            return False
        call["arguments"] = json.dumps({"x": "probe"})
        return '"probe"' in self._tried(turns, [_declared(Tool(name="f"))])


def _declared(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


# For templates that know no tools ------------------------------------------------------------------


def _generic(messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[Message, ...]:
    """The conversation in system, user and assistant messages alone, the tools told in the first."""
    turns: list[Message] = []
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.text}\n</tool_response>"
            if turns and turns[-1].role == "user" and turns[-1].call_id:
                text = f"{turns[-1].text}\n{text}"
                turns.pop()
            turns.append(Message.of("user", text).model_copy(update={"call_id": "tool"}))
        elif message.calls:
            calls = [written(call.name, call.arguments) for call in message.calls]
            text = "\n".join([message.text, *calls] if message.text else calls)
            turns.append(Message.of("assistant", text))
        else:
            turns.append(message)
    if tools:
        told = GENERIC.format(tools="\n".join(_line(tool) for tool in tools))
        if turns[0].role == "system":
            told = f"{turns.pop(0).text}\n\n{told}"
        turns.insert(0, Message.of("system", told))
    return tuple(
        turn.model_copy(update={"call_id": None}) if turn.call_id else turn for turn in turns
    )


def _line(tool: Tool) -> str:
    told: Mapping[str, Any] = {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "parameters": tool.parameters or {},
    }
    return json.dumps(told, ensure_ascii=False)


def _merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same, its system message put before the first message of the user."""
    system, first, *rest = *messages, ASKED
    if first.pictures:
        told = TextPart(text=f"{system.text}\n\n")
        return (first.model_copy(update={"parts": (told, *first.parts)}), *rest[:-1])
    return (Message.of("user", f"{system.text}\n\n{first.text}"), *rest[:-1])


def _harmless(message: Message, words: Sequence[str]) -> Message:
    """The message with nothing in its texts that would pass for a picture."""

    def clean(text: str) -> str:
        for word in words:
            text = text.replace(word, f"{word[0]}\u200b{word[1:]}")
        return text

    parts = tuple(TextPart(text=clean(p.text)) if p.kind == "text" else p for p in message.parts)
    calls = tuple(
        call.model_copy(update={"arguments": clean(call.arguments)}) for call in message.calls
    )
    reasoning = clean(message.reasoning)
    return message.model_copy(update={"parts": parts, "calls": calls, "reasoning": reasoning})
