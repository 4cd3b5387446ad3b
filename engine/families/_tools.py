"""Which format a model writes its calls in, and telling calls from text while they are being written.

Knows chat templates as evidence and text as it comes; the formats themselves are read in `_tool_parsers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import LoadFailed
from engine.families import _tool_parsers as parsers
from engine.families._scan import Called, NotACall, Scan, Short
from engine.requests import Tool

CLOSERS = frozenset("}])>`;")  # no call ends without one of these


@dataclass(frozen=True, slots=True)
class Shape:
    """How calls are written, for those that are forced: `open` (`head` arguments `tail`) `gap` … `close`.

    `{name}` and `{key}` stand for names. Arguments are a JSON object, or, with `field`, the text before
    and after each value; such values are plain where they are text (`raw`) and else JSON.
    """

    head: str
    tail: str = ""
    open: str = ""
    gap: str = ""
    close: str = ""
    field: tuple[str, str] | None = None
    between: str = ""
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A format of calls.

    Args:
        begins: what begins a call, anywhere in an answer.
        starts: what begins one as the first thing of an answer only.
        signs: any of these in a chat template tells the format; a `&` joins those that must all be there.
        halts: text after which nothing of the answer counts.
    """

    name: str
    parse: Callable[[Scan], None]
    begins: tuple[str, ...]
    signs: tuple[str, ...]
    shape: Shape
    starts: tuple[str, ...] = ()
    halts: tuple[str, ...] = ()
    more: tuple[str, ...] = ()  # other marks it may be written with

    @property
    def words(self) -> tuple[str, ...]:
        """All texts that the format is written with."""
        shape = self.shape
        own = (shape.open, shape.head, shape.tail, shape.close, *(shape.field or ()))
        return (*self.begins, *self.halts, *self.more, *own)


OBJECT = '{"name": "{name}", "arguments": '
TAGGED = Shape("<tool_call>\n" + OBJECT, "}\n</tool_call>", gap="\n")
VALUES = ("<parameter={key}>\n", "\n</parameter>\n")
INVOKED = ('<parameter name="{key}">', "</parameter>\n")
DSML = ('<｜DSML｜parameter name="{key}">', "</｜DSML｜parameter>\n")
FENCED = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n"
KIMI = "<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>"


def _list(begin: str, end: str, name: str = OBJECT) -> Shape:
    return Shape(name, "}", begin + "[", ", ", "]" + end)


# The first whose sign is found counts, so those with the more telling signs come first.
FORMATS = (
    Format(
        "deepseek", parsers.deepseek, ("<｜tool▁calls▁begin｜>",), ("<｜tool▁calls▁begin｜>&```json",),
        Shape(FENCED, "\n```<｜tool▁call▁end｜>", "<｜tool▁calls▁begin｜>", "\n", "<｜tool▁calls▁end｜>"),
    ),
    Format(
        "deepseek-v3.1", parsers.deepseek, ("<｜tool▁calls▁begin｜>",), ("<｜tool▁calls▁begin｜>",),
        Shape(
            "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁begin｜>", "", "<｜tool▁calls▁end｜>",
        ),
    ),
    Format(
        "deepseek-v3.2", parsers.invoke, ("<｜DSML｜function_calls>",), ("｜DSML｜",),
        Shape(
            '<｜DSML｜invoke name="{name}">\n', "</｜DSML｜invoke>", "<｜DSML｜function_calls>\n", "\n",
            "\n</｜DSML｜function_calls>", DSML, raw=True,
        ),
    ),
    Format(
        "kimi", parsers.kimi, ("<|tool_calls_section_begin|>",), ("<|tool_calls_section_begin|>",),
        Shape(KIMI, "<|tool_call_end|>", "<|tool_calls_section_begin|>", "", "<|tool_calls_section_end|>"),
    ),
    Format(
        "minimax", parsers.invoke, ("<minimax:tool_call>",), ("<minimax:tool_call>",),
        Shape(
            '<invoke name="{name}">\n', "</invoke>", "<minimax:tool_call>\n", "\n",
            "\n</minimax:tool_call>", INVOKED, raw=True,
        ),
    ),
    Format(
        "seed", parsers.xml, ("<seed:tool_call>",), ("<seed:tool_call>",),
        Shape(
            "<seed:tool_call>\n<function={name}>\n", "</function>\n</seed:tool_call>", gap="\n",
            field=VALUES, raw=True,
        ),
    ),
    Format(
        "glm", parsers.glm, ("<tool_call>",), ("<arg_key>",),
        Shape(
            "<tool_call>{name}\n", "</tool_call>", gap="\n", raw=True,
            field=("<arg_key>{key}</arg_key>\n<arg_value>", "</arg_value>\n"),
        ),
    ),
    Format(
        "xml", parsers.xml, ("<tool_call>", "<function="), ("<function=&<parameter=",),
        Shape(
            "<tool_call>\n<function={name}>\n", "</function>\n</tool_call>", gap="\n",
            field=VALUES, raw=True,
        ),
    ),
    Format(
        "gemma", parsers.gemma, ("<start_function_call>",), ("<start_function_call>",),
        Shape(
            "<start_function_call>call:{name}{", "}<end_function_call>",
            field=("{key}:", ""), between=",",
        ),
        halts=("<start_function_response>",),
    ),
    Format(
        "gemma4", parsers.gemma, ("<|tool_call>",), ("<|tool_call>",),
        Shape("<|tool_call>call:{name}{", "}<tool_call|>", field=("{key}:", ""), between=","),
        halts=("<|tool_response>",),
    ),
    Format(
        "mistral", parsers.mistral, ("[TOOL_CALLS]",), ("[TOOL_CALLS]&[ARGS]",),
        Shape("[TOOL_CALLS]{name}[ARGS]"), more=("[CALL_ID]",),
    ),
    Format(
        "mistral-list", parsers.mistral, ("[TOOL_CALLS]",), ("[TOOL_CALLS]",),
        _list("[TOOL_CALLS]", ""),
    ),
    Format(
        "command", parsers.listed, ("<|START_ACTION|>",), ("<|START_ACTION|>",),
        _list("<|START_ACTION|>", "<|END_ACTION|>",
              '{"tool_call_id": "0", "tool_name": "{name}", "parameters": '),
    ),
    Format(
        "nemotron", parsers.listed, ("<TOOLCALL>",), ("<TOOLCALL>",),
        _list("<TOOLCALL>", "</TOOLCALL>"),
    ),
    Format(
        "lfm2", parsers.pythonic, ("<|tool_call_start|>",), ("<|tool_call_start|>",),
        Shape("{name}(", ")", "<|tool_call_start|>[", ", ", "]<|tool_call_end|>", ("{key}=", ""), ", "),
    ),
    Format(
        "olmo", parsers.pythonic, ("<function_calls>",), ("<function_calls>",),
        Shape("{name}(", ")", "<function_calls>\n", "\n", "\n</function_calls>", ("{key}=", ""), ", "),
    ),
    Format(
        "internlm", parsers.listed, ("<|action_start|>",), ("<|action_start|>",),
        Shape('<|action_start|><|plugin|>{"name": "{name}", "parameters": ', "}<|action_end|>"),
    ),
    Format(
        "apertus", parsers.apertus, ("<|tools_prefix|>",), ("<|tools_prefix|>",),
        Shape('{"{name}": ', "}", "<|tools_prefix|>[", ", ", "]<|tools_suffix|>"),
    ),
    Format(
        "phi4", parsers.listed, ("functools", "<|tool_call|>"), ("functools[", "<|/tool_call|>"),
        _list("functools", ""), more=("<|/tool_call|>",),
    ),
    Format(
        "granite", parsers.listed, ("<|tool_call|>",), ("<|tool_call|>",), _list("<|tool_call|>", "")
    ),
    Format(
        "hunyuan", parsers.listed, ("<tool_calls>",), ("<tool_calls>",),
        _list("<tool_calls>", "</tool_calls>"),
    ),
    Format("hermes", parsers.hermes, ("<tool_call>",), ("<tool_call>",), TAGGED),
    Format(
        "llama4", parsers.pythonic, ("<|python_start|>",), ("<|python_start|>", "[func_name1("),
        Shape("{name}(", ")", "[", ", ", "]", ("{key}=", ""), ", "), starts=("[",),
        more=("<|python_end|>",),
    ),
    Format(
        "llama", parsers.llama, ("<|python_tag|>",), ("<|python_tag|>", "Environment: ipython"),
        Shape('{"name": "{name}", "parameters": ', "}", gap="; "), starts=("{",),
    ),
)  # fmt: skip
HERMES = next(one for one in FORMATS if one.name == "hermes")


def choose_format(template: str, tokens: Iterable[str], wish: str = "") -> Format:
    """The format that a chat template, or else the vocabulary, tells; `wish` names another.

    Raises:
        LoadFailed: there is no format of the wished name.
    """
    if wish:
        named = {one.name: one for one in FORMATS}
        if wish not in named:
            raise LoadFailed(
                f"There is no tool format '{wish[:40]}'. Set options.tools to one of: {', '.join(named)}."
            )
        return named[wish]
    for evidence in (template, "\n".join(tokens)):
        for one in FORMATS:
            if any(all(part in evidence for part in sign.split("&")) for sign in one.signs):
                return one
    return HERMES


def schemas(tools: Sequence[Tool]) -> Mapping[str, Mapping[str, Any]]:
    """The parameters of each tool by its name."""
    return {tool.name: tool.parameters for tool in tools}


def overlap(text: str, words: Iterable[str]) -> int:
    """How many characters at the end of `text` may be the beginning of one of `words`."""
    longest = 0
    for word in words:
        for size in range(min(len(word) - 1, len(text)), longest, -1):
            if text.endswith(word[:size]):
                longest = size
                break
    return longest


@dataclass(slots=True)
class CallReader:
    """Lets text through and takes calls out of it; holds back what may be the beginning of one.

    White space around calls belongs to the format and is left out. With `single`, nothing counts after the
    first call.
    """

    format: Format
    tools: Mapping[str, Mapping[str, Any]]
    single: bool = False
    met: bool = False  # nothing that comes now counts
    found: int = 0
    _text: str = ""
    _inside: bool = False
    _fresh: bool = True  # no word was said yet
    _after: bool = False  # the last thing was a call
    _blank: str = ""  # white space before what may be a call
    _parts: list[str | Called] = field(default_factory=list)

    def feed(self, text: str) -> list[str | Called]:
        """What is sure by now: text and whole calls, in their order."""
        self._text += text
        if not self._inside or not CLOSERS.isdisjoint(text):
            self._go(last=False)
        return self._given()

    def end(self) -> list[str | Called]:
        """The rest, once no more text comes; what is no whole call is text."""
        self._go(last=True)
        return self._given()

    def _given(self) -> list[str | Called]:
        parts, self._parts = self._parts, []
        return parts

    def _go(self, *, last: bool) -> None:
        while self._text and not self.met:
            if self._inside:
                if not self._read(last):
                    return
                continue
            begin, halt = self._begin(), self._halt()
            if begin is not None and (halt is None or begin < halt):
                before = self._text[:begin]
                self._say(before.rstrip())
                self._blank = before[len(before.rstrip()) :]
                self._text, self._inside = self._text[begin:], True
                continue
            if halt is not None:
                self._text, self.met = self._text[:halt].rstrip(), True
            keep = 0 if last or self.met else self._kept()
            self._say(self._text[: len(self._text) - keep])
            self._text = self._text[len(self._text) - keep :]
            return

    def _say(self, text: str) -> None:
        if self._after:
            text = text.lstrip()
        if text:
            self._parts.append(text)
            self._fresh = self._after = False

    def _kept(self) -> int:
        """How much of the text's end is held back: white space, and what may become a marker."""
        keep = overlap(self._text, self.format.begins + self.format.halts)
        body = self._text[: len(self._text) - keep]
        return keep + len(body) - len(body.rstrip())

    def _begin(self) -> int | None:
        """Where a call begins."""
        places = [self._text.find(word) for word in self.format.begins]
        if self._fresh:
            blank = len(self._text) - len(self._text.lstrip())
            if self._text.startswith(self.format.starts, blank):
                places.append(blank)
        return min((place for place in places if place >= 0), default=None)

    def _halt(self) -> int | None:
        places = [self._text.find(word) for word in self.format.halts]
        return min((place for place in places if place >= 0), default=None)

    def _read(self, last: bool) -> bool:
        """Read the call that stands here; False while it may go on."""
        scan = Scan(self._text, self.tools, last)
        try:
            self.format.parse(scan)
            end = scan.at
        except Short:
            if not last:
                return False
            end = scan.whole
        except (NotACall, RecursionError):
            end = scan.whole
        self._inside = False
        if (
            not scan.calls
        ):  # text that looked like one: its first character goes, so it does so no more
            self._say(self._blank + self._text[:1])
            self._text = self._text[1:]
            return True
        self._parts += scan.calls[:1] if self.single else scan.calls
        self.found += 1 if self.single else len(scan.calls)
        self._text, self._after, self._fresh = self._text[end:], True, False
        self.met = self.single
        return True


def written(name: str, arguments: str) -> str:
    """A call as the generic prompt asks for it."""
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments or "{}"}}}\n</tool_call>'
