"""The examples of genro-asgi's document, which are sessions at Python's prompt."""

from __future__ import annotations

import doctest
from typing import Any

import foreign

_PARSER = doctest.DocTestParser()


def typed(number: str) -> foreign.Example:
    """Return what is typed in an example, as one."""
    return foreign.Example(f"genro/{number}", "".join(each.source for each in _session(number)))


async def replay(number: str, **names: Any) -> dict[str, Any]:
    """Type an example line by line, and see that Python answers what is written there."""
    for step in _session(number):
        source = f"answer = ({step.source})" if step.want else step.source
        names = await foreign.Example(f"genro/{number}", source).block(**names)
        if step.want:
            assert repr(names.pop("answer")) == step.want.strip()
    return names


def _session(number: str) -> list[doctest.Example]:
    text = (foreign.DOCUMENTS / "genro" / f"{number}.txt").read_text(encoding="utf-8")
    return _PARSER.get_examples(text, f"genro/{number}")
