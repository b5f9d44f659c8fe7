"""The examples in docs/, as modules."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pages

DOCS = sorted((pages.ROOT / "docs").glob("*.md"))
RUNNABLE = {
    block.name: block.code
    for path in DOCS
    for block in pages.blocks(path.read_text(encoding="utf-8"))
    if block.name is not None
}


@functools.cache
def example(name: str) -> Any:
    """Run an example and return it as a module. Convertors are registered once a process."""
    made = types.ModuleType(name)
    # As it stands in a file of its own, without the `__future__` of this one.
    code = compile(RUNNABLE[name], f"docs:{name}", "exec", dont_inherit=True)
    with logging_as_it_was():
        exec(code, made.__dict__)
    return made


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Undo what an application of Litestar does to the process when it is made."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        # Its listener ends with the process; it cannot be stopped twice.
        for added in [each for each in root.handlers if each not in handlers]:
            root.removeHandler(added)


def shown(page: str, language: str) -> list[str]:
    """The blocks of a language on a page."""
    text = (pages.ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block.code.rstrip() for block in pages.blocks(text) if block.language == language]
