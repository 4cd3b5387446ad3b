"""How the model families write a call of a tool: one pure function for each format.

A parser reads a `Scan` whose text begins with the format's marker, and adds the calls it finds. It raises `Short`
while the text may go on, `NotACall` where it is something else. Nothing here knows models, tokens or requests.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from engine.families._scan import NotACall, Scan, Short, closing, typed, value_of

ARGUMENTS = ("arguments", "parameters", "args", "input")
NAMES = ("name", "tool_name", "function")
INTERPRETERS = ("python", "code_interpreter", "ipython")
LITERALS = {"true": True, "false": False, "null": None}


def add(scan: Scan, value: Any, *, known: bool = False) -> None:
    """Add the call, or the calls, of a JSON value; with `known`, only calls of tools that were offered."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            raise NotACall
        inner = one.get("function")
        if isinstance(inner, dict):
            one = {"id": one.get("id"), **inner}
        name = next((one[key] for key in NAMES if key in one), None)
        arguments: Any = next((one[key] for key in ARGUMENTS if key in one), {})
        if known and name not in scan.tools:
            raise NotACall
        scan.add(name, arguments, one.get("id") or "")


def hermes(scan: Scan) -> None:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3, Granite 4, SmolLM3."""
    scan.need("<tool_call>")
    value = scan.json()
    add(scan, value)
    while scan.meets("{"):
        scan.at -= 1
        add(scan, scan.json())
    scan.close("</tool_call>")


def xml(scan: Scan) -> None:
    """`<tool_call><function=f><parameter=p>…</parameter></function></tool_call>`: Qwen3-Coder, Seed-OSS, Nemotron 3."""
    opened = scan.need("<tool_call>", "<seed:tool_call>", "<function=")
    if opened == "<function=":
        scan.at -= len(opened)
    while scan.meets("<function="):
        name, arguments = scan.until(">").strip(), {}
        schema = (scan.tools.get(name) or {}).get("properties") or {}
        while scan.need("<parameter=", "</function>") == "<parameter=":
            key = scan.until(">").strip()
            text = scan.until("</parameter>")
            text = text.removeprefix("\n").removesuffix("\n")
            arguments[key] = typed(text, schema.get(key) or {})
        scan.add(name, arguments)
    if opened != "<function=":
        scan.close("</tool_call>", "</seed:tool_call>")


def glm(scan: Scan) -> None:
    """`<tool_call>f<arg_key>p</arg_key><arg_value>…</arg_value></tool_call>`: GLM-4.5 to 4.7."""
    scan.need("<tool_call>")
    name, arguments = scan.name(), {}
    schema = (scan.tools.get(name) or {}).get("properties") or {}
    while scan.need("<arg_key>", "</tool_call>") == "<arg_key>":
        key = scan.until("</arg_key>").strip()
        scan.need("<arg_value>")
        arguments[key] = typed(scan.until("</arg_value>"), schema.get(key) or {})
    scan.add(name, arguments)


def invoke(scan: Scan) -> None:
    """`<invoke name="f"><parameter name="p">…</parameter></invoke>` in an envelope: MiniMax M2, DeepSeek V3.2."""
    envelope = scan.need("<minimax:tool_call>", "<｜DSML｜function_calls>", "<function_calls>")
    mark = "｜DSML｜" if "DSML" in envelope else ""
    while scan.need(f"<{mark}invoke", envelope.replace("<", "</", 1)).endswith("invoke"):
        name, arguments = _attribute(scan.until(">"), "name"), {}
        schema = (scan.tools.get(name) or {}).get("properties") or {}
        if scan.meets("{"):
            scan.at -= 1
            arguments = scan.json()
        while scan.need(f"<{mark}parameter", f"</{mark}invoke>").endswith("parameter"):
            head = scan.until(">")
            key, text = _attribute(head, "name"), scan.until(f"</{mark}parameter>")
            told = _attribute(head, "string")
            kind = {"true": {"type": "string"}, "false": {}}.get(told, schema.get(key) or {})
            arguments[key] = typed(text, kind)
        scan.add(name, arguments)
    scan.whole = scan.at


def _attribute(head: str, name: str) -> str:
    match = re.search(rf'{name}="([^"]*)"', head)
    return match[1] if match else ""


def llama(scan: Scan) -> None:
    """`{"name": …, "parameters": {…}}`, alone or after `<|python_tag|>`: Llama 3.1 to 3.3."""
    tagged = bool(scan.meets("<|python_tag|>"))
    scan.space()
    if tagged and not scan.text.startswith("{", scan.at):
        _builtin(scan)
        return
    while True:
        add(scan, scan.json(), known=not tagged)
        if not scan.meets(";", ","):
            break
    scan.space()
    if not scan.over:
        raise NotACall
    if not scan.last:
        raise Short


def _builtin(scan: Scan) -> None:
    """`brave_search.call(query="…")`, or code for the interpreter that was offered."""
    if not scan.last:
        raise Short
    text = scan.text[scan.at :].strip()
    match = re.match(r"(\w+)\.call\(", text)
    scan.at = len(scan.text)
    if match:
        name, arguments = _call_of(text.replace(".call(", "(", 1))
        return scan.add(name, arguments)
    code = next((name for name in INTERPRETERS if name in scan.tools), None)
    if not text or code is None:
        raise NotACall
    return scan.add(code, {"code": text})


def pythonic(scan: Scan) -> None:
    """`[f(a=1), g()]`, bare or in an envelope: Llama 4, Llama 3.2, LFM2, Olmo 3."""
    ends = {
        "<|python_start|>": "<|python_end|>",
        "<|tool_call_start|>": "<|tool_call_end|>",
        "<function_calls>": "</function_calls>",
    }
    mark = scan.meets(*ends)
    if mark:
        body = _enclosed(scan, ends[mark])
    else:
        end = closing(scan.text, scan.at, "\"'")
        if end < 0:
            raise Short
        body, scan.at = scan.text[scan.at : end], end
    if mark and body.strip().startswith(("{", '[{"')):
        return add(scan, value_of(body.strip()))
    for name, arguments in _calls_of(body):
        if not mark and name not in scan.tools:
            raise NotACall
        scan.add(name, arguments)
    return None


def _enclosed(scan: Scan, end: str) -> str:
    if scan.last and end not in scan.text[scan.at :]:
        body, scan.at = scan.text[scan.at :], len(scan.text)
        return body
    return scan.until(end)


def _calls_of(body: str) -> list[tuple[str, dict[str, Any]]]:
    text = body.strip()
    if not text.startswith("["):
        text = "[" + ",".join(line for line in text.splitlines() if line.strip()) + "]"
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise NotACall from None
    if not isinstance(tree, ast.List) or not tree.elts:
        raise NotACall
    return [_plain_call(node) for node in tree.elts]


def _call_of(text: str) -> tuple[str, dict[str, Any]]:
    return _calls_of(f"[{text}]")[0]


def _plain_call(node: ast.expr) -> tuple[str, dict[str, Any]]:
    if not isinstance(node, ast.Call) or node.args:
        raise NotACall
    name = ast.unparse(node.func)
    return name, {word.arg: _literal(word.value) for word in node.keywords if word.arg}


def _literal(node: ast.expr) -> Any:
    """A literal of Python or JSON. Raises NotACall for anything that would have to be computed."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, str | int | float):
            return value
        case ast.Name(id=name) if name in LITERALS:
            return LITERALS[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_literal(part) for part in parts]
        case ast.Dict(keys=keys, values=values):
            return {str(_literal(k)): _literal(v) for k, v in zip(keys, values, strict=True) if k}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
    raise NotACall


def mistral(scan: Scan) -> None:
    """`[TOOL_CALLS][{…}]`, later `[TOOL_CALLS]f[ARGS]{…}` or `[TOOL_CALLS]f{…}`, the marker before each."""
    scan.need("[TOOL_CALLS]")
    scan.space()
    if scan.over:
        raise Short
    if scan.text[scan.at] in "[{":
        return add(scan, scan.json())
    while True:
        name, label = scan.name(r"[\w.-]+"), ""
        if scan.meets("[CALL_ID]"):
            label = scan.name(r"\w+")
        scan.meets("[ARGS]")
        scan.add(name, scan.json(), label)
        if not scan.meets("[TOOL_CALLS]"):
            return None


def deepseek(scan: Scan) -> None:
    """Calls between `<｜tool▁calls▁begin｜>` and its end: DeepSeek V3, R1 (with a fence) and V3.1 (without)."""
    scan.need("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
    if scan.text.startswith("<｜tool▁call▁begin｜>"):
        scan.at = 0
    while scan.meets("<｜tool▁call▁begin｜>"):
        name = scan.until("<｜tool▁sep｜>").strip()
        if name == "function":
            name = scan.until("\n").strip()
        scan.meets("```json")
        arguments = scan.json()
        scan.meets("```")
        scan.add(name, arguments)
        scan.close("<｜tool▁call▁end｜>")
    scan.close("<｜tool▁calls▁end｜>")


def kimi(scan: Scan) -> None:
    """`<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{…}<|tool_call_end|>` in a section: Kimi-K2."""
    scan.need("<|tool_calls_section_begin|>")
    while scan.meets("<|tool_call_begin|>"):
        label = scan.until("<|tool_call_argument_begin|>").strip()
        arguments = scan.json()
        scan.add(re.sub(r"^functions\.|:\d+$", "", label), arguments, label)
        scan.close("<|tool_call_end|>")
    scan.close("<|tool_calls_section_end|>")


def listed(scan: Scan) -> None:
    """A marker and a JSON list or object: Granite 3, Phi-4-mini, Nemotron, Command, InternLM, Hunyuan, Jamba."""
    ends = {
        "<|tool_call|>": "<|/tool_call|>",
        "<TOOLCALL>": "</TOOLCALL>",
        "<tool_calls>": "</tool_calls>",
        "<|START_ACTION|>": "<|END_ACTION|>",
        "<|action_start|>": "<|action_end|>",
        "functools": "",
    }
    mark = scan.need(*ends)
    if mark == "<|action_start|>":
        scan.need("<|plugin|>")
    value = scan.json()
    if mark == "<|tool_call|>" and isinstance(value, dict) and not any(k in value for k in NAMES):
        raise NotACall
    add(scan, value)
    if ends[mark]:
        try:
            scan.meets(ends[mark])  # Granite writes none
        except Short:
            if not scan.last:
                raise
    scan.whole = scan.at


def apertus(scan: Scan) -> None:
    """`<|tools_prefix|>[{"f": {…}}]<|tools_suffix|>`: Apertus."""
    scan.need("<|tools_prefix|>")
    value = scan.json()
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            raise NotACall
        for name, arguments in one.items():
            scan.add(name, arguments)
    scan.close("<|tools_suffix|>")


def gemma(scan: Scan) -> None:
    """`<start_function_call>call:f{p:<escape>…<escape>}<end_function_call>`; Gemma 4 has other marks."""
    ends = {"<start_function_call>": "<end_function_call>", "<|tool_call>": "<tool_call|>"}
    mark = scan.need(*ends)
    quote = "<escape>" if mark.startswith("<s") else '<|"|>'
    scan.need("call:")
    name = scan.name(r"[\w.-]+")
    scan.need("{")
    scan.add(name, _fields(scan, quote))
    scan.close(ends[mark])


def _fields(scan: Scan, quote: str) -> dict[str, Any]:
    """The rest of an object whose keys are bare, after its opening brace."""
    fields: dict[str, Any] = {}
    while not scan.meets("}"):
        scan.meets(",")
        scan.space()
        key = scan.until(quote) if scan.meets(quote) else scan.until(":")
        if scan.text[scan.at - 1] != ":":
            scan.need(":")
        fields[key.strip().strip('"')] = _value(scan, quote)
    return fields


def _value(scan: Scan, quote: str) -> Any:
    if scan.meets(quote):
        return scan.until(quote)
    if scan.meets("{"):
        return _fields(scan, quote)
    if scan.meets("["):
        items = []
        while not scan.meets("]"):
            scan.meets(",")
            items.append(_value(scan, quote))
        return items
    scan.space()
    if scan.over:
        raise Short
    if scan.text[scan.at] == '"':
        match = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL).match(scan.text, scan.at)
        if match is None:
            raise Short
        scan.at = match.end()
        return value_of(match[0])
    word = scan.name(r"[^,}\]\s]+")
    return typed(word, {})
