"""Import strings: `main:app` → the application, or a sentence that says what is wrong."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

DEFAULT_NAME = "app"


class LoadError(Exception):
    """The text names no application; the message says why."""


def complete(target: str) -> str:
    """Return an import string with its attribute: `main` means `main:app`."""
    module, _, name = target.partition(":")
    if not module or module.startswith((".", "/")) or module.endswith(".py"):
        raise LoadError(
            f"{target!r} is not an import string; write module:name, such as 'main:app'"
        )
    return f"{module}:{name or DEFAULT_NAME}"


def look_in(directory: Path) -> None:
    """Let modules be imported from a directory before all others."""
    sys.path.insert(0, str(directory.resolve()))
    importlib.invalidate_caches()


def check_module(target: str) -> None:
    """Make sure that the module of a complete import string can be found, without importing it."""
    package = target.partition(":")[0].partition(".")[0]
    if package not in sys.modules and PathFinder.find_spec(package) is None:
        raise _not_found(package)


def load(target: str) -> object:
    """Return the callable that a complete import string names.

    Raises:
        LoadError: There is no such module or attribute, or it is not callable. What the module
            itself raises while it is imported passes through.
    """
    module_name, _, name = target.partition(":")
    check_module(target)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # One that the module asks for is the module's own mistake and deserves its traceback.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise _not_found(module_name) from None
    for part in name.split("."):
        owner, found = found, getattr(found, part, None)
        if found is None:
            raise _no_attribute(owner, part)
    if not callable(found):
        raise LoadError(f"{target} is {_a(type(found).__name__)}, not an ASGI application")
    return found


def _not_found(module: str) -> LoadError:
    here = Path(sys.path[0])
    names = {path.stem for path in here.glob("*.py")}
    names.update(path.parent.name for path in here.glob("*/__init__.py"))
    return LoadError(f"there is no module {module!r} in {here}{_hint(module, names)}")


def _no_attribute(owner: object, name: str) -> LoadError:
    if not isinstance(owner, ModuleType):
        return LoadError(f"{_a(type(owner).__name__)} has no attribute {name!r}")
    public = {key: value for key, value in vars(owner).items() if not key.startswith("_")}
    hint = _hint(name, public)
    apps = [key for key, value in public.items() if type(value).__name__ == "App"]
    if not hint and apps:
        hint = f"; there is {' and '.join(f'{owner.__name__}:{key}' for key in apps)}"
    return LoadError(f"module {owner.__name__!r} has no attribute {name!r}{hint}")


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"
