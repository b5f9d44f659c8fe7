"""Reading the values of a request, and saying of each what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from telex.binding._coerce import Misfit
from telex.binding._plan import Value
from telex.binding._sources import ABSENT
from telex.connection import Connection
from telex.exceptions import BindingError

_MAX_SHOWN: Final = 200
"""Characters of a value that an error repeats."""


def read_values(steps: Iterable[Value], connection: Connection) -> dict[Value, Any]:
    """Return the value of every step.

    Raises:
        BindingError: Some are missing or do not fit; all of them are named.
    """
    values: dict[Value, Any] = {}
    problems: list[dict[str, Any]] = []
    for step in steps:
        raw = step.take(connection)
        if raw is ABSENT:
            if step.default is not None:
                values[step] = step.default()
            else:
                problems.append(_problem(step, "", "required", None))
            continue
        try:
            values[step] = step.convert(raw)
        except Misfit as misfit:
            problems += [_problem(step, *each, raw) for each in misfit.problems]
    if problems:
        raise BindingError(problems)
    return values


def _problem(step: Value, field: str, message: str, raw: Any) -> dict[str, Any]:
    if isinstance(raw, dict):
        # A type that takes everything: the field is the parameter.
        name, _, _ = field.partition("[")
        name = name.partition(".")[0] or step.key
        raw = raw.get(name)
    else:
        name = step.key
    if step.secret and raw is not None:
        message, raw = f"not a valid {step.expected}", None
    return {"in": step.where, "name": name, "message": message, "value": _shown(raw)}


def _shown(raw: Any) -> Any:
    if isinstance(raw, str):
        return raw if len(raw) <= _MAX_SHOWN else f"{raw[:_MAX_SHOWN]}…"
    if isinstance(raw, list):
        return [_shown(each) for each in raw[:10]]
    return None if raw is None else str(raw)[:_MAX_SHOWN]
