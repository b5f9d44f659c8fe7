"""From the text of a request to a value of a type. Pure; which types can be read is known at once.

msgspec does the work, in its lenient mode: `"5"` is an `int`, `"true"` and `"1"` are `True`, a
date is ISO 8601. Pydantic does it for its own models, and for what has its constraints.
"""

from __future__ import annotations

import sys
import typing
from collections import abc
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, get_args, get_origin

import msgspec
from msgspec import inspect as schema

Convert: TypeAlias = Callable[[Any], Any]

MISSING: Final = "required"
"""What is wrong with a value that is not there."""

_MANY: Final = (
    *(list, set, frozenset, tuple),
    *(abc.Collection, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet),
)
_EVERYTHING: Final = (dict, abc.Mapping, abc.MutableMapping)
_QUALIFIERS: Final = (typing.Required, typing.NotRequired)
_TEXTUAL: Final = (
    *(schema.AnyType, schema.NoneType, schema.BoolType, schema.IntType, schema.FloatType),
    *(schema.StrType, schema.BytesType, schema.ByteArrayType, schema.MemoryViewType),
    *(schema.DateTimeType, schema.DateType, schema.TimeType, schema.TimeDeltaType),
    *(schema.UUIDType, schema.DecimalType, schema.EnumType, schema.LiteralType),
)
_MAX_PROBLEMS: Final = 20
"""How many names of a `dict`, or values of a list, an error tells: clients choose how many."""


# Besides msgspec's own: a lone surrogate in a path, which a server may let through, and a point in
# time that `datetime` does not reach.
_REFUSALS: Final = (ValueError, OverflowError)


class Misfit(Exception):
    """A value that does not fit.

    Attributes:
        problems: Where (the name of a field, `""` for the value as a whole) and what, for each.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems = problems
        super().__init__(*problems)


class Field(NamedTuple):
    """One field of a type that takes everything.

    Attributes:
        name: Its name outside.
        many: Whether it takes several values.
        type: Its type.
        required: Whether it has no default.
        renamed: Whether the name was chosen for the outside, and is meant as it is written.
    """

    name: str
    many: bool
    type: Any
    required: bool
    renamed: bool


def converter(tp: Any, *, fields: Sequence[Field] | None = None, text_only: bool = True) -> Convert:
    """Return a function that makes a value of a type, or raises `Misfit`.

    Args:
        tp: The type; constraints are `Annotated[int, msgspec.Meta(ge=0)]`.
        fields: Its fields when it is made of a dictionary, as `fields_of` gives them.
        text_only: Whether it is made of text. A path parameter has been made by its convertor
            and may be of any type.

    Raises:
        TypeError: A type that cannot be made of text.
    """
    if tp in (Any, object):
        return _same
    if tp is str:
        return _same if text_only else str
    if _is_pydantic(tp) or _has_pydantic_field(tp, fields):
        if text_only and _has_model(tp) and not fields:
            raise TypeError(f"{describe_type(tp)} cannot be read from text")
        return _by_pydantic(tp, whole=fields is not None)
    _schema(tp)
    if text_only:
        _check_text(tp, fields)

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, tp, strict=False)
        except _REFUSALS as error:
            found = [] if fields is None else [*_problems(tp, fields, value)]
            raise Misfit(*(found or [("", _message(error))])) from None

    return convert


def is_many(tp: Any) -> bool:
    """Whether a type takes several values of one name: a list, set or tuple, perhaps optional.

    A `dict` of such a type takes several for each name.
    """
    plain = _required(tp)
    if _class_of(plain) in _EVERYTHING:
        return len(get_args(plain)) == 2 and is_many(get_args(plain)[1])
    return _class_of(plain) in _MANY


def fields_of(tp: Any) -> list[Field] | None:
    """Return the fields of a type that takes everything, `None` when it takes one value.

    An empty list stands for a `dict`, which takes every name there is.

    Raises:
        TypeError: A class whose fields cannot be told.
    """
    plain = _required(tp)
    cls = _class_of(plain)
    if cls in _EVERYTHING:
        return []
    if not isinstance(cls, type) or cls is UnionType:
        return None
    if _is_model(cls):
        return [*_fields_of_model(cls)]
    info = _schema(plain)
    if cls is not plain and isinstance(info, (schema.DataclassType, schema.TypedDictType)):
        raise TypeError(f"the fields of {describe_type(plain)} depend on its type arguments")
    if isinstance(info, schema.StructType) and not info.array_like:
        return [
            Field(f.encode_name, is_many(f.type), f.type, f.required, f.encode_name != f.name)
            for f in msgspec.structs.fields(plain)
        ]
    if isinstance(info, (schema.DataclassType, schema.TypedDictType)):
        # A field that the constructor does not take is not the client's to set.
        given = {f.name: f.init for f in getattr(cls, "__dataclass_fields__", {}).values()}
        hints = typing.get_type_hints(cls, include_extras=True)
        types = [(f, _unmarked(hints[f.name])) for f in info.fields if given.get(f.name, True)]
        return [Field(f.name, is_many(hint), hint, f.required, False) for f, hint in types]
    return None


def describe_type(tp: Any) -> str:
    """Return a type for an error text: `int`, `list[int]`, `Colour`; without values or limits."""
    tp = _unqualified(tp)
    origin, args = get_origin(tp), get_args(tp)
    if origin is Literal:
        return "Literal"
    if origin in (typing.Union, UnionType):
        return " | ".join(map(describe_type, args))
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(describe_type, args))}]"
    if tp is NoneType or isinstance(tp, EllipsisType):
        return "None" if tp is NoneType else "..."
    return str(getattr(tp, "__name__", tp))


def _same(value: Any) -> Any:
    return value


def _class_of(tp: Any) -> Any:
    return get_origin(tp) or tp


def _unqualified(tp: Any) -> Any:
    """Return a type without annotations, new names, and what `TypedDict` says about a field."""
    while True:
        if get_origin(tp) is Annotated or get_origin(tp) in _QUALIFIERS:
            tp = get_args(tp)[0]
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        else:
            return tp


def _unmarked(tp: Any) -> Any:
    """Return a type without what `TypedDict` says about a field."""
    while get_origin(tp) in _QUALIFIERS:
        tp = get_args(tp)[0]
    return tp


def _required(tp: Any) -> Any:
    """Return a type without annotations and without `None`; a union of more stays one."""
    tp = _unqualified(tp)
    if get_origin(tp) in (typing.Union, UnionType):
        others = [each for each in get_args(tp) if each is not NoneType]
        if len(others) == 1:
            return _required(others[0])
    return tp


def _schema(tp: Any) -> schema.Type:
    """Return what msgspec makes of a type."""
    try:
        return schema.type_info(tp)
    except Exception as error:
        raise TypeError(f"{describe_type(tp)} cannot be read from a request: {error}") from error


def _check_text(tp: Any, fields: Sequence[Field] | None) -> None:
    """Make sure that there is text, or a list of texts, that becomes a value of a type."""
    if fields is None:
        wrong = not _is_textual(tp)
    else:
        wrong = not all(map(_is_textual, get_args(_required(tp))))
    if wrong:
        raise TypeError(f"{describe_type(tp)} cannot be read from text")
    for field in fields or ():
        if not _is_textual(field.type):
            shown = describe_type(field.type)
            raise TypeError(
                f"{describe_type(tp)} cannot be read from text, its field {field.name!r} is {shown}"
            )


def _is_textual(tp: Any) -> bool:
    info = _schema(_required(tp))
    if isinstance(info, schema.TupleType):
        return all(map(_is_scalar, info.item_types))
    return _is_scalar(info.item_type if isinstance(info, schema.CollectionType) else info)


def _is_scalar(info: schema.Type) -> bool:
    if isinstance(info, schema.UnionType):
        return all(map(_is_scalar, info.types))
    return isinstance(info.type if isinstance(info, schema.Metadata) else info, _TEXTUAL)


def _problems(tp: Any, fields: Sequence[Field], value: Any) -> Iterator[tuple[str, str]]:
    """Say of every field what is wrong with it; msgspec ends with the first one."""
    for field in fields:
        if field.name in value:
            yield from _problem(field.name, value[field.name], field.type)
        elif field.required:
            yield field.name, MISSING
    if not fields:
        found = (p for name, one in value.items() for p in _problem(name, {name: one}, tp))
        yield from (problem for problem, _ in zip(found, range(_MAX_PROBLEMS), strict=False))


def _problem(name: str, value: Any, tp: Any) -> Iterator[tuple[str, str]]:
    try:
        msgspec.convert(value, tp, strict=False)
    except _REFUSALS as error:
        yield name, _message(error)


def _message(error: Exception) -> str:
    """Return what msgspec says without the place: ``Expected `int`, got `str` - at `$[1]` ``."""
    if isinstance(error, UnicodeError):
        return "Invalid Unicode"
    if not isinstance(error, msgspec.ValidationError):
        return "Invalid value"
    text = str(error)
    return text.rpartition(" - at `$")[0] or text


def _pydantic() -> Any:
    # Neither a model nor a constraint of it can exist without pydantic having been imported.
    return sys.modules.get("pydantic")


def _is_model(cls: Any) -> bool:
    pydantic = _pydantic()
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def _has_model(tp: Any) -> bool:
    return _is_model(tp) or any(map(_has_model, get_args(tp)))


def _is_pydantic(tp: Any) -> bool:
    """Whether a type is a pydantic model, has one in it, or constraints that msgspec ignores."""
    if _is_model(tp):
        return True
    extras = tp.__metadata__ if _pydantic() and get_origin(tp) is Annotated else ()
    if any(map(_is_of_pydantic, extras)):
        if any(isinstance(each, msgspec.Meta) for each in extras):
            raise TypeError("msgspec.Meta and a constraint of pydantic's do not go together")
        return True
    return any(map(_is_pydantic, get_args(tp)))


def _is_of_pydantic(constraint: Any) -> bool:
    cls = constraint if isinstance(constraint, type) else type(constraint)
    return cls.__module__.partition(".")[0] in ("pydantic", "annotated_types")


def _has_pydantic_field(tp: Any, fields: Sequence[Field] | None) -> bool:
    """Whether pydantic has to make a dataclass or `TypedDict`, because of one of its fields.

    Raises:
        TypeError: It is a Struct, of which pydantic knows nothing.
    """
    concerned = [field.name for field in fields or () if _is_pydantic(field.type)]
    if concerned and isinstance(_schema(_required(tp)), schema.StructType):
        raise TypeError(
            f"field {concerned[0]!r} of {describe_type(tp)} has a type or constraint of "
            "pydantic's, which a Struct ignores; use msgspec.Meta"
        )
    return bool(concerned)


def _fields_of_model(model: Any) -> Iterator[Field]:
    by_name = any(map(model.model_config.get, ("populate_by_name", "validate_by_name")))
    for name, info in model.model_fields.items():
        if _has_model(info.annotation):
            shown = describe_type(info.annotation)
            raise TypeError(
                f"field {name!r} of {describe_type(model)} is {shown}, which is no text"
            )
        alias = info.validation_alias or info.alias
        # An alias may be one name, several, or a path into nested data, which a query has not.
        outside = [alias] if isinstance(alias, str) else getattr(alias, "choices", [])
        names = [each for each in outside if isinstance(each, str)]
        if by_name or not names:
            names.append(name)
        for each in dict.fromkeys(names):
            many, renamed = is_many(info.annotation), each != name
            yield Field(each, many, info.annotation, info.is_required(), renamed)


def _by_pydantic(tp: Any, *, whole: bool) -> Convert:
    import pydantic

    try:
        adapter: Any = pydantic.TypeAdapter(tp)
    except Exception as error:
        raise TypeError(f"{describe_type(tp)} cannot be read from a request: {error}") from error

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            raise Misfit(
                *(
                    (
                        str(each["loc"][0]) if whole and each["loc"] else "",
                        MISSING if each["type"] == "missing" else each["msg"],
                    )
                    for each in error.errors(include_input=False, include_url=False)[:_MAX_PROBLEMS]
                )
            ) from None

    return convert
