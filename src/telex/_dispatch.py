"""Methods by the type of a message: `@on("say") async def say(self, data: Say)`.

The type is a field of the message, `type` unless the class says otherwise, or the tag of a msgspec
`Struct`, which is the same thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, overload

import msgspec

from telex._intake import Intake
from telex._models import reader_of
from telex._reply import replier
from telex.binding import Call, MessageFunction, describe
from telex.casts import shorten
from telex.codecs import Codec, Decode, reader
from telex.exceptions import WebSocketExpectError
from telex.websockets import WebSocket

F = TypeVar("F", bound=Callable[..., Any])

Tag = str | int

_MARK: Final = "__telex_on__"


@overload
def on(tag: F, /) -> F: ...
@overload
def on(*tags: Tag | Enum) -> Callable[[F], F]: ...
def on(*tags: Any) -> Any:
    """Have a method of a `SocketView` called for messages of a type.

    One that overrides it in a subclass is called for the same, unless it has `@on` itself.

    Args:
        *tags: The types; a member of an enum stands for its value. Without any, that of the
            `Struct` its parameter `data` is annotated with.

    Returns:
        A decorator that returns what it was given.

    Raises:
        TypeError: A type that is neither a str nor an int.
    """
    if len(tags) == 1 and callable(tags[0]) and not isinstance(tags[0], type):
        return on()(tags[0])

    plain = tuple(map(_plain, tags))

    def mark(fn: F) -> F:
        # In a staticmethod or classmethod too: that neither will do is said when the class is made.
        setattr(getattr(fn, "__func__", fn), _MARK, plain)
        return fn

    return mark


class Dispatcher:
    """Calls the method of a view class for the type of each message.

    Args:
        cls: The class.
        field: The field that holds the type.

    Raises:
        TypeError: Two methods for one type, a method that cannot be called for messages, one
            whose struct has another tag or is an array, or a field that has no name.
    """

    def __init__(self, cls: type, field: str) -> None:
        if not isinstance(field, str):
            raise TypeError(f"{cls.__qualname__}.discriminator must be a str, not {field!r}")
        self._field = field
        self._functions: dict[Tag, MessageFunction] = {}
        names: dict[Tag, str] = {}
        for name, tags in _marked(cls):
            fn = getattr(cls, name)
            function = MessageFunction(fn, method=True)
            if function.hint is not Any:
                reader_of(function.hint, own_types=True)
            for tag in tags or (_tag_of(fn, function.hint, field),):
                _check_struct(fn, function.hint, tag, field)
                if tag in names:
                    raise TypeError(
                        f"{describe(fn)}: messages of type {tag!r} go to {names[tag]!r} already"
                    )
                names[tag] = name
                self._functions[tag] = function
        self._probe = msgspec.defstruct("Message", [("tag", Any)], rename={"tag": field})

    def __bool__(self) -> bool:
        return bool(self._functions)

    @property
    def needs(self) -> Mapping[str, str]:
        """What must be in the path for the methods, and who asks for it."""
        return {key: who for each in self._functions.values() for key, who in each.needs.items()}

    @asynccontextmanager
    async def bound(self, ws: WebSocket, view: object) -> AsyncIterator[Mapping[Tag, Call] | None]:
        """Make what the methods of a view need for as long as the connection.

        Yields:
            What calls them, by type; `None` when a dependency has ended the connection.
        """
        reply = replier(ws)
        calls: dict[Tag, Call] = {}
        async with AsyncExitStack() as stack:
            made: dict[MessageFunction, Call] = {}
            for tag, function in self._functions.items():
                if function not in made:
                    call = await stack.enter_async_context(function.bound(ws, reply, view))
                    if call is None:
                        yield None
                        return
                    made[function] = call
                calls[tag] = made[function]
            yield calls

    async def serve(self, ws: WebSocket, calls: Mapping[Tag, Call], intake: Intake) -> None:
        """Take messages, one after the other, until the connection ends."""
        codec = ws.codec
        tag_of = self._tag_reader(codec)
        routes = {
            tag: (reader(codec, self._functions[tag].hint), call) for tag, call in calls.items()
        }
        async for message in ws:
            try:
                tag = tag_of(message)
                route = routes.get(tag) if type(tag) in (str, int) else None
                if route is None:
                    raise self._unknown(tag)
                read, call = route
                data = read(message)
            except WebSocketExpectError as error:
                await intake.refuse(message, error)
                continue
            intake.in_a_row = 0
            await call(data)

    def _tag_reader(self, codec: Codec) -> Decode:
        read = codec.decoder(self._probe)
        return lambda message: read(message).tag

    def _unknown(self, tag: object) -> WebSocketExpectError:
        known = ", ".join(map(repr, self._functions))
        problem = {"path": f"$.{self._field}", "message": f"{shorten(tag)} is none of {known}"}
        return WebSocketExpectError.of("a known type of message", [problem])


def _plain(tag: Any) -> Tag:
    plain: Tag = tag.value if isinstance(tag, Enum) else tag
    if not isinstance(plain, str | int) or isinstance(plain, bool):
        raise TypeError(f"@on: the type of a message is a str or an int, not {tag!r}")
    return plain


def _marked(cls: type) -> Iterator[tuple[str, tuple[Tag, ...]]]:
    """Go through the methods that are called for messages, with what was given to `@on`."""
    for name in dir(cls):
        mark = _mark_of(cls, name)
        if mark is not None:
            yield name, mark


def _mark_of(cls: type, name: str) -> tuple[Tag, ...] | None:
    for each in cls.__mro__:
        if name in vars(each):
            found = vars(each)[name]
            mark: tuple[Tag, ...] | None = getattr(getattr(found, "__func__", found), _MARK, None)
            # What overrides it with something else, `say = None`, takes it away.
            if mark is not None or not callable(found):
                return mark
    return None


def _tag_of(fn: Any, hint: Any, field: str) -> Tag:
    config = _config_of(hint)
    if config is None or config.tag is None:
        raise TypeError(
            f"{describe(fn)}: @on without a type needs `data` annotated with a msgspec Struct that "
            "has a tag"
        )
    if config.tag_field != field:
        raise TypeError(
            f"{describe(fn)}: the tag of {_name_of(hint)} is in {config.tag_field!r}, "
            f"the type of messages in {field!r}"
        )
    tag: Tag = config.tag
    return tag


def _check_struct(fn: Any, hint: Any, tag: Tag, field: str) -> None:
    config = _config_of(hint)
    if config is None:
        return
    if config.array_like:
        raise TypeError(
            f"{describe(fn)}: {_name_of(hint)} is array_like, and an array has no {field!r}"
        )
    if config.tag_field == field and config.tag != tag:
        raise TypeError(
            f"{describe(fn)}: it is for messages of type {tag!r}, but {_name_of(hint)} has the "
            f"tag {config.tag!r}"
        )


def _struct_of(hint: Any) -> Any:
    """Return the class in an annotation: `Annotated[Say, ...]`, `Said[int]`."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return get_origin(hint) or hint


def _config_of(hint: Any) -> msgspec.structs.StructConfig | None:
    return getattr(_struct_of(hint), "__struct_config__", None)


def _name_of(hint: Any) -> str:
    return str(_struct_of(hint).__qualname__)
