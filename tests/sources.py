"""Our own Python files as syntax trees, and the checks that read them.

A check takes a `Source` (or all of them) and returns its complaints as "path:line: what"; it knows
no test framework, so that each can be shown a bad sample as well.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "api", "app", "bench", "engine", "examples", "middleware", "prove", "routers", "scripts", "starter",
    "tests", "ui",
}  # fmt: skip
PRODUCT = ("api", "app", "engine", "middleware", "routers", "ui")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name.

    Args:
        target: the module, resolved: `from engine import lane` is "engine.lane" if that is one.
        name: the name taken from it, empty for a whole module.
        eager: it happens when its module is imported: not in a function, not for typing.
    """

    target: str
    name: str
    line: int
    eager: bool
    typing_only: bool = False

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file: its path under the root, its dotted module name and its text."""

    path: str
    module: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text, self.path)

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def at(self, line: int, complaint: str) -> str:
        return f"{self.path}:{line}: {complaint}"


@functools.cache
def _parse(text: str, path: str) -> ast.Module:
    return ast.parse(text, path)


def none(complaints: Iterable[str]) -> None:
    """Fails with one complaint a line where there are any."""
    found = list(complaints)
    assert not found, "\n" + "\n".join(found)


@functools.cache
def all_sources() -> tuple[Source, ...]:
    """Every .py file of the checkout but those under hidden folders."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).parts
        if not any(part.startswith((".", "__pycache__")) for part in parts):
            found.append(Source("/".join(parts), module_name(parts), file.read_text("utf-8")))
    return tuple(found)


def module_name(parts: tuple[str, ...]) -> str:
    names = [*parts[:-1], parts[-1].removesuffix(".py")]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def known_modules() -> frozenset[str]:
    return frozenset(source.module for source in all_sources())


def imports(source: Source, known: frozenset[str] = frozenset()) -> list[Import]:
    """All imports of a file, those inside functions and `if TYPE_CHECKING` included."""
    return list(_imports(source.tree, source, known or known_modules(), True, False))


def _imports(
    node: ast.AST, source: Source, known: frozenset[str], eager: bool, typing: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, "", child.lineno, eager, typing)
        elif isinstance(child, ast.ImportFrom):
            base = _base(child, source)
            for alias in child.names:
                inner = f"{base}.{alias.name}"
                target, name = (inner, "") if inner in known else (base, alias.name)
                yield Import(target, name, child.lineno, eager, typing)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(_box(part), source, known, False, True)
            for part in child.orelse:
                yield from _imports(_box(part), source, known, eager, typing)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, source, known, eager and not inside, typing)


def _box(statement: ast.stmt) -> ast.Module:
    return ast.Module(body=[statement], type_ignores=[])


def _base(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    package = source.module.split(".")
    if not source.path.endswith("__init__.py"):
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def third_party(found: list[Import]) -> list[Import]:
    """The imports that are neither ours nor the standard library's."""
    return [i for i in found if i.top not in OURS and i.top not in sys.stdlib_module_names]


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# Budgets ------------------------------------------------------------------------------------------


def long_file(source: Source, limit: int) -> list[str]:
    lines = source.text.count("\n") + 1
    return [source.at(1, f"{lines} lines, more than {limit}")] if lines > limit else []


def long_functions(source: Source, limit: int) -> list[str]:
    return [
        source.at(node.lineno, f"{node.name} takes {node.end_lineno - node.lineno + 1} lines")
        for node in functions(source)
        if node.end_lineno and node.end_lineno - node.lineno >= limit
    ]


def globals_used(source: Source) -> list[str]:
    return [
        source.at(node.lineno, f"global {', '.join(node.names)}")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Global)
    ]


def broad_excepts(source: Source) -> list[str]:
    """`except:`, `except Exception`, `except BaseException`, unless it ends in a bare `raise`."""
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) != "raise":
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            named = {ast.unparse(kind) if kind else "everything" for kind in kinds}
            if named & {"everything", "Exception", "BaseException"}:
                found.append(source.at(node.lineno, f"except {', '.join(sorted(named))}"))
    return found


def untyped_returns(source: Source) -> list[str]:
    return [
        source.at(node.lineno, f"{node.name} has no return type")
        for node in functions(source)
        if node.returns is None
    ]


def undocumented(source: Source) -> list[str]:
    """The module, its public classes and functions; an error drawn in its module's tree counts."""
    module_doc = ast.get_docstring(source.tree) or ""
    found = [] if module_doc or not source.tree.body else [source.at(1, "the module")]
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            drawn = f"─ {node.name} " in module_doc
            if not node.name.startswith("_") and not drawn and not ast.get_docstring(node):
                found.append(source.at(node.lineno, node.name))
    return [f"{complaint} has no docstring" for complaint in found]


MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "remove", "setdefault", "update",
}  # fmt: skip


def mutated_globals(source: Source) -> list[str]:
    """Functions that change a name of their module: `NAME[k] = v`, `NAME.append(v)`, …"""
    names = {
        target.id
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = []
    for function in functions(source):
        local = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)} | {
            n.id
            for n in ast.walk(function)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for node in ast.walk(function):
            name = _changed(node)
            if name in names - local:
                found.append(source.at(node.lineno, f"{function.name} changes {name}"))
    return found


def _changed(node: ast.AST) -> str | None:
    """The name that a node changes in place."""
    holder: ast.expr | None = None
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(
        node.ctx, ast.Store | ast.Del
    ):
        holder = node.value
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in MUTATORS
    ):
        holder = node.func.value
    return holder.id if isinstance(holder, ast.Name) else None
