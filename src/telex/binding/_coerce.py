"""From the text of a request to a value of a type. Pure; which types can be read is known at once.

msgspec does the work, in its lenient mode: `"5"` is an `int`, `"true"` and `"1"` are `True`, a
date is ISO 8601. Pydantic does it for its own models, and for what contains them.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeAlias, get_args, get_origin

import msgspec
from msgspec import inspect as schema

Convert: TypeAlias = Callable[[Any], Any]

_MANY: Final = (list, set, frozenset, tuple)


class Misfit(Exception):
    """A value that does not fit.

    Attributes:
        problems: Where (a field of the value, `""` for all of it) and what, for each.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems = problems
        super().__init__(*problems)


class Field(NamedTuple):
    """One field of a type that takes everything: its name outside, whether it takes many."""

    name: str
    many: bool


def converter(tp: Any, *, text_only: bool = True) -> Convert:
    """Return a function that makes a value of a type, or raises `Misfit`.

    Args:
        tp: The type; constraints are `Annotated[int, msgspec.Meta(ge=0)]`.
        text_only: Whether it is made of text. A path parameter has been made by its convertor
            and may be of any type.

    Raises:
        TypeError: A type that cannot be made of text.
    """
    if tp in (str, Any, object):
        return _same
    if _is_pydantic(tp):
        return _by_pydantic(tp)
    _check(tp, text_only=text_only)

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, tp, strict=False)
        except msgspec.ValidationError as error:
            raise Misfit(_located(str(error))) from None

    return convert


def is_many(tp: Any) -> bool:
    """Whether a type takes several values of one name: a list, set or tuple, perhaps optional."""
    plain = _required(tp)
    return (get_origin(plain) or plain) in _MANY


def fields_of(tp: Any) -> list[Field] | None:
    """Return the fields of a type that takes everything, `None` when it takes one value.

    An empty list stands for a `dict`, which takes every name there is.
    """
    plain = _required(tp)
    if (get_origin(plain) or plain) is dict:
        return []
    if not isinstance(plain, type):
        return None
    if _is_model(plain):
        models: Any = plain
        return [
            Field(info.alias or name, is_many(info.annotation))
            for name, info in models.model_fields.items()
        ]
    if issubclass(plain, msgspec.Struct):
        return [Field(f.encode_name, is_many(f.type)) for f in msgspec.structs.fields(plain)]
    if isinstance(schema.type_info(plain), (schema.DataclassType, schema.TypedDictType)):
        hints = typing.get_type_hints(plain, include_extras=True)
        return [Field(name, is_many(hint)) for name, hint in hints.items()]
    return None


def describe_type(tp: Any) -> str:
    """Return a type for an error text: `int`, `list[int]`, `Colour`."""
    return tp.__name__ if isinstance(tp, type) and get_origin(tp) is None else str(tp)


def _same(value: Any) -> Any:
    return value


def _required(tp: Any) -> Any:
    """Return a type without annotations and without `None`; a union of more stays one."""
    while get_origin(tp) is typing.Annotated:
        tp = get_args(tp)[0]
    if get_origin(tp) in (typing.Union, UnionType):
        others = [each for each in get_args(tp) if each is not NoneType]
        if len(others) == 1:
            return _required(others[0])
    return tp


def _check(tp: Any, *, text_only: bool) -> None:
    try:
        info = schema.type_info(tp)
    except Exception as error:
        raise TypeError(f"{describe_type(tp)} cannot be read from a request: {error}") from error
    for each in _walk(info):
        if text_only and isinstance(each, schema.CustomType):
            raise TypeError(f"{describe_type(each.cls)} cannot be read from text")


def _walk(info: schema.Type) -> Iterator[schema.Type]:
    """Go through a type and what its unions and collections hold; classes have been checked."""
    yield info
    inner = [getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type")]
    for each in (*inner, *getattr(info, "types", ()), *getattr(info, "item_types", ())):
        if isinstance(each, schema.Type):
            yield from _walk(each)


def _located(text: str) -> tuple[str, str]:
    """Take apart what msgspec says: `Expected `int`, got `str` - at `$.n``."""
    message, _, path = text.partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".")
    missing = "Object missing required field `"
    if message.startswith(missing):
        return message.removeprefix(missing).rstrip("`"), "required"
    return field, message


def _is_model(cls: Any) -> bool:
    # A model cannot exist without pydantic having been imported.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def _is_pydantic(tp: Any) -> bool:
    """Whether a type is a pydantic model, or a collection or union with one in it."""
    return _is_model(tp) or any(_is_pydantic(each) for each in get_args(tp))


def _by_pydantic(tp: Any) -> Convert:
    import pydantic

    adapter: Any = pydantic.TypeAdapter(tp)

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            raise Misfit(
                *((".".join(map(str, p["loc"])), str(p["msg"])) for p in problems)
            ) from None

    return convert
