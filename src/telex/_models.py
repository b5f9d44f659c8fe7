"""Which library reads a type: msgspec whatever it knows, pydantic its own models and what it adds.

pydantic is imported when a type needs it and not before.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

Reader = Literal["msgspec", "pydantic"]

_VALIDATOR: Final = "__pydantic_validator__"
"""What pydantic puts on its models, and on dataclasses of its own."""


def reader_of(tp: Any, *, own_types: bool) -> Reader:
    """Say which library reads a type.

    Args:
        tp: A type, as annotations have it.
        own_types: Whether msgspec is told what to do with types it does not know (`dec_hook`).

    Raises:
        TypeError: Neither library can.
    """
    try:
        unknown = list(_foreign(msgspec.inspect.type_info(tp)))
    except TypeError as error:
        # A union of models, say. Without pydantic that is what there is to tell.
        if not _has_pydantic():
            raise TypeError(f"cannot read messages as {describe(tp)}: {error}") from None
        unknown = [tp]
    if not unknown or (own_types and not any(hasattr(each, _VALIDATOR) for each in unknown)):
        return "msgspec"
    if not _has_pydantic():
        names = ", ".join(dict.fromkeys(map(describe, unknown)))
        raise TypeError(
            f"cannot read messages as {describe(tp)}: msgspec does not know {names}, "
            "and pydantic is not installed"
        )
    _adapter(tp)
    return "pydantic"


def model_reader(tp: Any) -> Callable[[Any], Any]:
    """Return what makes a value of a type out of plain values, by pydantic.

    Strings become dates, numbers and the like, as they do in JSON. It raises
    `pydantic.ValidationError`.
    """
    validate: Callable[[Any], Any] = _adapter(tp).validate_python
    return validate


def model_json_reader(tp: Any) -> Callable[[str | bytes], Any]:
    """Return what makes a value of a type out of JSON, by pydantic."""
    validate: Callable[[str | bytes], Any] = _adapter(tp).validate_json
    return validate


def model_problems(error: Exception) -> list[dict[str, str]] | None:
    """Return what is wrong and where, if an error is pydantic's `ValidationError`."""
    errors = getattr(error, "errors", None)
    if not type(error).__module__.startswith("pydantic") or errors is None:
        return None
    found = errors(include_url=False, include_context=False, include_input=False)
    return [{"path": _path(each["loc"]), "message": str(each["msg"])} for each in found]


def plain_model(value: Any, mode: Literal["json", "python"]) -> Any:
    """Return a pydantic model as plain values; what msgspec calls for values it does not know.

    Raises:
        TypeError: It is no model.
    """
    if hasattr(type(value), _VALIDATOR) and hasattr(value, "model_dump"):
        return value.model_dump(mode=mode)
    raise TypeError(f"a {describe(type(value))} cannot be sent as a message")


def describe(tp: Any) -> str:
    """Return the name of a type for an error text."""
    return tp.__qualname__ if isinstance(tp, type) else repr(tp)


def _has_pydantic() -> bool:
    return importlib.util.find_spec("pydantic") is not None


def _adapter(tp: Any) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(tp)
    except pydantic.errors.PydanticUserError as error:
        raise TypeError(
            f"cannot read messages as {describe(tp)}: {error.message.splitlines()[0]}"
        ) from None


def _foreign(info: Any) -> Iterator[Any]:
    """Go through the classes that msgspec should not read, in what it says about a type."""
    seen: set[int] = set()
    rest = [info]
    while rest:
        each = rest.pop()
        if isinstance(each, tuple):
            rest += each
        elif (
            isinstance(each, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(each) not in seen
        ):
            seen.add(id(each))
            cls = getattr(each, "cls", None)
            if isinstance(each, msgspec.inspect.CustomType) or hasattr(cls, _VALIDATOR):
                yield cls
            rest += [getattr(each, name) for name in each.__struct_fields__]


def _path(loc: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in loc)
