"""The examples in docs/, as modules."""

from __future__ import annotations

import functools
import types
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
    exec(code, made.__dict__)
    return made


def shown(page: str, language: str) -> list[str]:
    """The blocks of a language on a page."""
    text = (pages.ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block.code.rstrip() for block in pages.blocks(text) if block.language == language]
