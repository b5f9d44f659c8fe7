"""Reading the values of a request, and saying of each what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from telex.binding._coerce import MISSING, Misfit
from telex.binding._sources import ABSENT
from telex.binding._steps import Value
from telex.connection import Connection
from telex.exceptions import BindingError

_MAX_SHOWN: Final = 200
"""Characters of a text that an error repeats: a value, a name, a message with one in it."""

_MAX_ITEMS: Final = 10
"""Values of a list that an error repeats."""


def read_values(steps: Iterable[Value], connection: Connection) -> dict[Value, Any]:
    """Return the value of every step.

    Raises:
        BindingError: Some are missing or do not fit; all of them are named, each once.
        ImproperlyConfigured: The path has no parameter of that name.
    """
    values: dict[Value, Any] = {}
    problems: list[dict[str, Any]] = []
    for step in steps:
        try:
            values[step] = step.get(connection)
        except Misfit as misfit:
            raw = step.take(connection)
            problems += [_problem(step, *each, raw) for each in misfit.problems]
    if problems:
        # Several dependencies may ask for the same.
        raise BindingError({repr(problem): problem for problem in problems}.values())
    return values


def _problem(step: Value, field: str, message: str, raw: Any) -> dict[str, Any]:
    if isinstance(raw, dict):
        raw = raw.get(field)
    if raw is ABSENT:
        raw = None
    if step.secret:
        # What a converter says may repeat the value, or tell what would have been accepted.
        message, raw = message if message == MISSING else f"not a valid {step.expected}", None
    name, message = _cut(field or step.key), _cut(message)
    return {"in": step.where, "name": name, "message": message, "value": _shown(raw)}


def _shown(raw: Any) -> Any:
    if isinstance(raw, list):
        return [_shown(each) for each in raw[:_MAX_ITEMS]]
    return None if raw is None else _cut(raw if isinstance(raw, str) else str(raw))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
