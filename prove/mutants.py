"""Small faults put into a module's source, one at a time: would its tests notice?

Knows Python's syntax trees; not what the modules are for. What no test should hold on to is left alone: docstrings,
annotations, the words of errors and of the log.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
RECKONED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
QUIET = frozenset({"debug", "info", "warning", "error"})  # calls of a log


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one fault."""

    line: int
    what: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """All of them, in the order of their lines."""
    tree = ast.parse(source)
    found = []
    for number, (node, what, _) in enumerate(_changes(tree)):
        changed = copy.deepcopy(tree)
        _, _, change = next(each for n, each in enumerate(_changes(changed)) if n == number)
        change()
        text = ast.unparse(ast.fix_missing_locations(changed))
        found.append(Mutant(getattr(node, "lineno", 0), what, text))
    return found


Change = tuple[ast.AST, str, Callable[[], None]]


def _changes(tree: ast.AST) -> Iterator[Change]:
    for node in _meant(tree):
        yield from _of_statement(node)
        yield from _of_expression(node)


def _meant(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below that decide something."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_words(node, child):
                yield from _meant(child)


def _is_words(above: ast.AST, node: ast.AST) -> bool:
    """Texts that people read, imports, and what the module says about itself."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Attribute) and called.attr in QUIET
    return isinstance(above, ast.Raise)


def _of_statement(node: ast.AST) -> Iterator[Change]:
    """A statement of a body left out: a refusal, a call, a way out of a loop."""
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if not isinstance(body, list) or isinstance(node, ast.Module | ast.ClassDef):
            continue
        for at, statement in enumerate(body):
            left_out = isinstance(statement, ast.Raise | ast.Continue | ast.Break) or (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Call | ast.Await)
                and not _is_words(node, statement)
            )
            if left_out:
                yield statement, "left out", lambda b=body, n=at: b.__setitem__(n, ast.Pass())  # type: ignore[misc]


def _of_expression(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=ops):
            for at, operator in enumerate(ops):
                if other := COMPARED.get(type(operator)):
                    name = f"{type(operator).__name__} → {other.__name__}"
                    yield node, name, lambda n=at, o=other: ops.__setitem__(n, o())  # type: ignore[misc]
        case ast.BoolOp():
            turned = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield node, f"{turned.__name__} instead", lambda: setattr(node, "op", turned())
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield (
                node,
                "not left out",
                lambda: setattr(node, "operand", ast.UnaryOp(ast.Not(), inner)),
            )
        case ast.BinOp() if type(node.op) in RECKONED:
            reckoned = RECKONED[type(node.op)]
            yield node, f"{reckoned.__name__} instead", lambda: setattr(node, "op", reckoned())
        case ast.Constant(value=bool()):
            yield node, f"{not node.value}", lambda: setattr(node, "value", not node.value)
        case ast.Constant(value=int() as number):
            yield node, f"{number} + 1", lambda: setattr(node, "value", number + 1)
        case ast.IfExp():
            yield node, "the other branch", lambda: _swap(node)
        case ast.If() if not node.orelse:
            yield node, "never", lambda: setattr(node, "test", ast.Constant(False))
        case ast.Return() if node.value is not None and not isinstance(node.value, ast.Constant):
            yield node, "returns None", lambda: setattr(node, "value", ast.Constant(None))


def _swap(node: ast.IfExp) -> None:
    node.body, node.orelse = node.orelse, node.body
