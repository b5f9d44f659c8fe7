"""The house rules that no linter knows: sizes, names, mirrors, and modules that stand alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "telex"
MAX_FILE = 400
MAX_TEST_FILE = 700
"""Lines; a test file follows one module and is mostly tables."""
MAX_FUNCTION = 40
MAX_METHODS = 20

WITHOUT_TESTS = {
    "_types.py": "declarations only",
}
"""Files of the package that have no test file of their own, and why."""

NEEDS_AN_EXTRA = {
    "telex.cli",
    "telex._cli_connect",
    "telex._cli_routes",
    "telex._cli_show",
    "telex.server._assembly",
    "telex.server._channel",
    "telex.server._conversation",
    "telex.server._deflate",
    "telex.server._inbound",
    "telex.server._outbound",
    "telex.server._picows",
    "telex.server._serving",
    "telex.server.protocol",
}
"""Modules that cannot be imported with only the core installed."""

EXTRAS = [
    "uvicorn",
    "httpx",
    "httpx2",
    "typer",
    "rich",
    "pydantic",
    "websockets",
    "wsproto",
    "itsdangerous",
    "picows",
]
NOT_BY_IMPORT_TELEX = [*EXTRAS, "telex.server", "telex.testing", "telex.cli", "fastapi"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

SOURCES = sorted(PACKAGE.rglob("*.py"))
CODE = [*SOURCES, *sorted((ROOT / "examples").rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def functions(path: Path) -> Iterator[FunctionNode]:
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, FunctionNode):
            yield node


def length(function: FunctionNode) -> int:
    """Lines of a function without decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def public_methods(node: ast.ClassDef) -> list[str]:
    """The public methods a class defines in this file, properties not counted."""
    return [
        method.name
        for method in node.body
        if isinstance(method, FunctionNode)
        and not method.name.startswith("_")
        and not any("property" in ast.unparse(mark) for mark in method.decorator_list)
        and not any("setter" in ast.unparse(mark) for mark in method.decorator_list)
    ]


def mirror(path: Path) -> Path:
    """Where the tests of a file of the package belong."""
    inner = path.relative_to(PACKAGE)
    return ROOT / "tests" / inner.parent / f"test_{inner.stem.strip('_')}.py"


def test_every_file_of_the_package_has_its_test_file() -> None:
    missing = [
        f"{relative(path)} -> {relative(mirror(path))}"
        for path in SOURCES
        if path.name != "__init__.py"
        and path.name not in WITHOUT_TESTS
        and not mirror(path).exists()
    ]
    assert missing == []


def test_no_file_is_too_long() -> None:
    limits = dict.fromkeys(CODE, MAX_FILE) | dict.fromkeys(TESTS, MAX_TEST_FILE)
    sizes = {path: len(read(path).splitlines()) for path in limits}
    too_long = {relative(path): size for path, size in sizes.items() if size > limits[path]}
    assert too_long == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{relative(path)}:{function.lineno} {function.name}": length(function)
        for path in [*CODE, *TESTS]
        for function in functions(path)
        if length(function) > MAX_FUNCTION
    }
    assert too_long == {}


def test_no_class_has_too_many_public_methods() -> None:
    too_many = {
        f"{relative(path)} {node.name}": public_methods(node)
        for path in CODE
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.ClassDef) and len(public_methods(node)) > MAX_METHODS
    }
    assert too_many == {}


def test_a_file_name_says_what_lives_in_it() -> None:
    vague = re.compile(r"_?(utils?|helpers?|misc|common|tools)")
    assert [relative(path) for path in [*CODE, *TESTS] if vague.fullmatch(path.stem)] == []


def test_no_module_imports_from_the_top_of_the_package() -> None:
    """The walls do not see such an import, and it would drag in everything."""
    from_top = []
    submodules = {path.stem for path in PACKAGE.iterdir()}
    for path in SOURCES:
        for node in ast.walk(ast.parse(read(path))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.Import) and "telex" in names:
                from_top.append(relative(path))
            if isinstance(node, ast.ImportFrom) and node.module == "telex":
                from_top.extend(f"{relative(path)} {name}" for name in {*names} - submodules)
    assert from_top == []


PARTS = 6
"""Processes in which modules are imported alone; one would take too long on a busy machine."""

IMPORT_ALONE = """
import os, sys

names, forbidden = sys.argv[1].split(","), [name for name in sys.argv[2].split(",") if name]
sys.modules.update(dict.fromkeys(forbidden))
# Python imports the package before any module of it: whichever is asked for first, this is first.
import telex

for name in names:
    child = os.fork()
    if not child:
        try:
            __import__(name)
        except BaseException as error:
            print(f"{name}: {error!r}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def import_alone(names: list[str], forbidden: list[str]) -> list[str]:
    """Import each module in a process of its own; return what failed."""
    arguments = ["-X", "dev", "-W", "error", "-c", IMPORT_ALONE]
    result = subprocess.run(
        [sys.executable, *arguments, ",".join(names), ",".join(forbidden)],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_module_can_be_imported_alone_and_first(part: int) -> None:
    assert import_alone([module_name(path) for path in SOURCES[part::PARTS]], []) == []


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("part", range(PARTS))
def test_the_core_is_enough_for_all_but_the_command_line(part: int) -> None:
    names = [module_name(path) for path in SOURCES[part::PARTS]]
    failed = import_alone(names, EXTRAS)
    assert {line.partition(":")[0] for line in failed} == NEEDS_AN_EXTRA & {*names}


def test_importing_telex_imports_no_server_and_no_extra() -> None:
    code = "import sys, telex; print(*sys.modules, sep='\\n')"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert set(result.stdout.splitlines()) & {*NOT_BY_IMPORT_TELEX} == set()
