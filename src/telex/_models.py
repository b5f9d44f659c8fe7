"""Which library reads a type: msgspec whatever it knows, pydantic its own models and what it adds.

pydantic is imported when a type needs it and not before.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable, Hashable, Iterator
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec

Reader = Literal["msgspec", "pydantic"]

_VALIDATOR: Final = "__pydantic_validator__"
"""What pydantic puts on its models, and on dataclasses of its own."""

_CONSTRAINTS: Final = ("pydantic", "annotated_types")
"""Packages whose objects in an `Annotated` mean something to pydantic and nothing to msgspec."""

_MANY: Final = 100
"""Problems of one message that are told one by one.

A list of half a million wrong elements fits into a message of a megabyte. To tell them all takes
five seconds and gives an error text of 19 MB.
"""

_WRITERS: Final = 256
"""Types of which is remembered how pydantic writes their values."""


def reader_of(tp: Any, *, own_types: bool) -> Reader:
    """Say which library reads a type.

    Args:
        tp: A type, as annotations have it.
        own_types: Whether msgspec is told what to do with types it does not know (`dec_hook`).

    Raises:
        TypeError: Neither library can.
    """
    if inspect.isroutine(tp):
        # To pydantic this would mean: call it with what the message holds.
        raise _unreadable(tp, "it is a function")
    try:
        unknown = list(_foreign(msgspec.inspect.type_info(tp)))
    except NameError as error:
        raise _unreadable(tp, error) from None
    except TypeError as error:
        # A union of models, say. If pydantic cannot either, this is what there is to tell.
        if _has_pydantic() and _is_readable(tp):
            return "pydantic"
        raise _unreadable(tp, error) from None
    of_pydantic = [each for each in unknown if hasattr(each, _VALIDATOR)] + [*_constraints(tp)]
    if not of_pydantic and (own_types or not unknown):
        return "msgspec"
    if not _has_pydantic():
        names = ", ".join(dict.fromkeys(map(describe, of_pydantic or unknown)))
        raise _unreadable(tp, f"msgspec does not know {names}, and pydantic is not installed")
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


def model_problems(error: Exception) -> tuple[list[dict[str, str]], bool] | None:
    """Return what is wrong and where, if an error is pydantic's `ValidationError`.

    And whether it was no JSON at all.
    """
    errors = getattr(error, "errors", None)
    if not type(error).__module__.startswith("pydantic") or errors is None:
        return None
    count: int = error.error_count()  # type: ignore[attr-defined]
    if count > _MANY:
        return [{"path": "$", "message": f"{count} things do not fit"}], False
    found = errors(include_url=False, include_context=False, include_input=False)
    problems = [{"path": _path(each["loc"]), "message": str(each["msg"])} for each in found]
    return problems, any(each["type"] == "json_invalid" for each in found)


def is_model(value: Any) -> bool:
    """Whether a value is an instance of a pydantic model."""
    return hasattr(type(value), _VALIDATOR) and hasattr(value, "model_dump")


def plain_model(value: Any, mode: Literal["json", "python"]) -> Any:
    """Return a pydantic model as plain values, by the names by which it is read."""
    return value.model_dump(mode=mode, by_alias=True)


def plain_value(value: Any) -> Any:
    """Return a value that msgspec does not know as one that it does, by pydantic.

    So what pydantic reads can also be sent: IP addresses, paths, its own URLs and secrets.

    Raises:
        TypeError: pydantic does not know it either, or is not installed.
    """
    tp: Any = type(value)
    # Of the builtins, msgspec has a reason: a tuple as the key of a JSON object, say.
    if tp.__module__ != "builtins" and _has_pydantic():
        try:
            return _writer(tp)(value, mode="json")
        except (TypeError, ValueError):
            pass
    raise TypeError(f"a value of type {describe(tp)} cannot be sent as a message")


def describe(tp: Any) -> str:
    """Return the name of a type for an error text."""
    return tp.__qualname__ if isinstance(tp, type) else repr(tp)


def _has_pydantic() -> bool:
    return importlib.util.find_spec("pydantic") is not None


def _adapter(tp: Any) -> Any:
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(tp)
        if not adapter.pydantic_complete:
            # A name in it was not known so far; now or never, and not with the first message.
            adapter.rebuild()
    except (
        pydantic.errors.PydanticUserError,
        pydantic.errors.PydanticUndefinedAnnotation,
    ) as error:
        unknown = isinstance(error, pydantic.errors.PydanticSchemaGenerationError)
        if unknown and isinstance(tp, type):
            # pydantic's own advice is for a model that has it as a field.
            why = "neither msgspec nor pydantic knows it, and the codec has no dec_hook"
            raise _unreadable(tp, why) from None
        raise _unreadable(tp, error.message) from None
    return adapter


def _is_readable(tp: Any) -> bool:
    try:
        _adapter(tp)
    except TypeError:
        return False
    return True


def _unreadable(tp: Any, reason: object) -> TypeError:
    (first, *_) = str(reason).splitlines() or [""]
    return TypeError(f"cannot read messages as {describe(tp)}: {first}")


@functools.lru_cache(_WRITERS)
def _writer(tp: Hashable) -> Callable[..., Any]:
    write: Callable[..., Any] = _adapter(tp).dump_python
    return write


def _constraints(tp: Any) -> Iterator[type]:
    """Go through the types of what pydantic would heed in annotations, such as `Field(gt=0)`."""
    for each in get_args(tp):
        if get_origin(tp) is Annotated and type(each).__module__.partition(".")[0] in _CONSTRAINTS:
            yield type(each)
        yield from _constraints(each)


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
