"""Which statements the tests carry, read from their source.

What is selected, skipped for want of a browser, or run on another platform does not matter then.
A mark counts where pytest gives it to a test: as a decorator of a test function or test class, in
`pytestmark`, and as `marks=` of `pytest.param`. Names that stand for `pytest`, `pytest.mark`,
`pytest.mark.row`, or for a mark are followed within a file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mark:
    """One call of `pytest.mark.row`.

    Attributes:
        place: File and line.
        ids: What it says.
        readable: Whether all of its arguments are written out.
        carries: Whether it belongs to a test.
    """

    place: str
    ids: tuple[str, ...]
    readable: bool
    carries: bool


def marks_of(path: Path, root: Path) -> list[Mark]:
    """The marks in a file."""
    source = path.read_text(encoding="utf-8")
    return marks_in(source, path.relative_to(root).as_posix())


def marks_in(source: str, file: str) -> list[Mark]:
    """The marks in a source text; what the file is called decides whether pytest looks into it."""
    if "row" not in source:
        return []
    tree = ast.parse(source)
    names = _Names(tree)
    carrying = set(_in_params(tree, names))
    if file.rpartition("/")[2].startswith("test_"):
        carrying.update(_around_tests(tree.body, names))
    return [_mark(call, file, call in carrying) for call in names.all_calls(tree)]


def _mark(call: ast.Call, file: str, carries: bool) -> Mark:
    ids = tuple(
        arg.value
        for arg in call.args
        if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
    )
    readable = len(ids) == len(call.args) > 0 and not call.keywords
    return Mark(f"{file}:{call.lineno}", ids, readable, carries)


class _Names:
    """What the names of a file stand for, as far as marks are concerned."""

    def __init__(self, tree: ast.Module) -> None:
        self._long = {"pytest": "pytest"}
        self._marks: dict[str, ast.expr] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._long[alias.asname or alias.name] = alias.name
            elif isinstance(node, ast.ImportFrom) and node.module == "pytest":
                for alias in node.names:
                    self._long[alias.asname or alias.name] = f"pytest.{alias.name}"
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                self._assigned(node)

    def _assigned(self, node: ast.Assign | ast.AnnAssign) -> None:
        assert node.value is not None
        for target in _targets(node):
            if self.says(node.value) in ("pytest.mark", "pytest.mark.row", "pytest.param"):
                self._long[target] = self.says(node.value)
            else:
                self._marks[target] = node.value

    def says(self, node: ast.expr) -> str:
        """The whole dotted name of an expression, `""` if it is none."""
        if isinstance(node, ast.Name):
            return self._long.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (before := self.says(node.value)):
            return f"{before}.{node.attr}"
        return ""

    def is_row(self, node: ast.AST) -> bool:
        """Whether it is a call of `pytest.mark.row`, however it is spelled."""
        return isinstance(node, ast.Call) and self.says(node.func) == "pytest.mark.row"

    def all_calls(self, tree: ast.Module) -> list[ast.Call]:
        """Every mark of the file, wherever it stands."""
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        return sorted(filter(self.is_row, found), key=lambda call: call.lineno)

    def calls(self, node: ast.expr) -> Iterator[ast.Call]:
        """The marks that an expression is or lists."""
        if isinstance(node, ast.Call) and self.is_row(node):
            yield node
        elif isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                yield from self.calls(element)
        elif isinstance(node, ast.Starred):
            yield from self.calls(node.value)
        elif isinstance(node, ast.Name) and (value := self._marks.pop(node.id, None)):
            # Taken out meanwhile: a name may be made of itself.
            yield from self.calls(value)
            self._marks[node.id] = value


def _targets(node: ast.stmt) -> list[str]:
    targets: Sequence[ast.expr] = ()
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _in_params(tree: ast.Module, names: _Names) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and names.says(node.func) == "pytest.param":
            for keyword in node.keywords:
                if keyword.arg == "marks":
                    yield from names.calls(keyword.value)


def _around_tests(body: Sequence[ast.stmt], names: _Names) -> Iterator[ast.Call]:
    """The marks that pytest gives to the tests in the body of a module or class."""
    if not any(map(_holds_a_test, body)):
        return
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and "pytestmark" in _targets(node):
            yield from names.calls(node.value or ast.Constant(None))
        elif _holds_a_test(node):
            assert isinstance(node, FunctionNode | ast.ClassDef)
            for decorator in node.decorator_list:
                yield from names.calls(decorator)
            if isinstance(node, ast.ClassDef):
                yield from _around_tests(node.body, names)


def _holds_a_test(node: ast.stmt) -> bool:
    if isinstance(node, FunctionNode):
        return node.name.startswith("test")
    if isinstance(node, ast.ClassDef):
        return node.name.startswith("Test") and any(map(_holds_a_test, node.body))
    return False
