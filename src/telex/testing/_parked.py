"""Where a task waits, in words: for a test that has to say why it failed."""

from __future__ import annotations

import asyncio
import gc
import inspect
import linecache
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final

_TELEX: Final = Path(__file__).parents[1]
_WITH_FRAMES: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
_WRAPPERS: Final = frozenset(
    {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}
)
"""What CPython puts around one of those when it is awaited; none says what is inside."""


def describe(task: asyncio.Task[Any]) -> str:
    """Return the name of a task and the lines of the application's code in which it waits.

    Lines of Telex, of installed packages and of the standard library are left out, unless there
    are no others.
    """
    coro = task.get_coro()
    if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
        return f"{task.get_name()}: has not begun"
    frames = list(_frames(task))
    own = [frame for frame in frames if not _is_library(frame.f_code.co_filename)] or frames[-1:]
    if not own:
        return f"{task.get_name()}, at a place that cannot be seen"
    return "\n".join([f"{task.get_name()}, waiting at", *map(_line, own)])


def _frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Walk from the outermost coroutine of a suspended task to the innermost."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        match waiting:
            case CoroutineType():
                frame, waiting = waiting.cr_frame, waiting.cr_await
            case AsyncGeneratorType():
                frame, waiting = waiting.ag_frame, waiting.ag_await
            case GeneratorType():
                frame, waiting = waiting.gi_frame, waiting.gi_yieldfrom
            case _:
                frame, waiting = None, _unwrapped(waiting)
        if frame is not None:
            yield frame


def _unwrapped(waiting: Any) -> Any:
    if type(waiting).__name__ not in _WRAPPERS:
        return None
    inside = gc.get_referents(waiting)
    known = (x for x in inside if isinstance(x, _WITH_FRAMES) or type(x).__name__ in _WRAPPERS)
    return next(known, None)


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
