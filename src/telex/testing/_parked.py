"""Where a task waits, in words: for a test that has to say why it failed."""

from __future__ import annotations

import asyncio
import linecache
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

_TELEX: Final = Path(__file__).parents[1]


def describe(task: asyncio.Task[Any]) -> str:
    """Return the name of a task and the lines of the application's code in which it waits.

    Lines of Telex, of installed packages and of the standard library are left out, unless there
    are no others.
    """
    frames = list(_frames(task))
    own = [frame for frame in frames if not _is_library(frame.f_code.co_filename)] or frames[-1:]
    if not own:
        return f"{task.get_name()}: has not begun, or is running"
    return "\n".join([f"{task.get_name()}, waiting at", *map(_line, own)])


def _frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Walk from the outermost coroutine of a suspended task to the innermost."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                waiting = getattr(waiting, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
                break
        else:
            return


def _line(frame: FrameType) -> str:
    name, number = frame.f_code.co_filename, frame.f_lineno
    code = linecache.getline(name, number).strip()
    return f'  File "{name}", line {number}, in {frame.f_code.co_name}\n    {code}'.rstrip()


@cache
def _library_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    # Telex itself may be installed from its source folder.
    return (*(Path(sysconfig.get_path(name)) for name in names), _TELEX)


@cache
def _is_library(filename: str) -> bool:
    path = Path(filename)
    return filename.startswith("<frozen") or any(f in path.parents for f in _library_folders())
