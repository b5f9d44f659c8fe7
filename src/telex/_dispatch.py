"""Methods by the type of a message: `@on("say") async def say(self, data: Say)`.

The type is a field of the message, `type` unless the class says otherwise, or the tag of a msgspec
`Struct`, which is the same thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar, overload

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
def on(*tags: Tag) -> Callable[[F], F]: ...
def on(*tags: Any) -> Any:
    """Have a method of a `SocketView` called for messages of a type.

    Args:
        *tags: The types. Without any, that of the `Struct` its parameter `data` is annotated with.

    Returns:
        A decorator that returns what it was given.
    """
    if len(tags) == 1 and callable(tags[0]):
        return on()(tags[0])

    def mark(fn: F) -> F:
        setattr(fn, _MARK, tags)
        return fn

    return mark


class Dispatcher:
    """Calls the method of a view class for the type of each message.

    Args:
        cls: The class.
        field: The field that holds the type.

    Raises:
        TypeError: Two methods for one type, a method that cannot be called for messages, or one
            whose struct has another tag.
    """

    def __init__(self, cls: type, field: str) -> None:
        self._field = field
        self._functions: dict[Tag, MessageFunction] = {}
        names: dict[Tag, str] = {}
        for name in dir(cls):
            fn = getattr(cls, name)
            tags = getattr(fn, _MARK, None)
            if tags is None:
                continue
            function = MessageFunction(fn, method=True)
            if function.hint is not Any:
                reader_of(function.hint, own_types=True)
            for tag in tags or (_tag_of(fn, function.hint, field),):
                _check_tag(fn, function.hint, tag)
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


def _tag_of(fn: Any, hint: Any, field: str) -> Tag:
    config = getattr(hint, "__struct_config__", None)
    if config is None or config.tag is None:
        raise TypeError(
            f"{describe(fn)}: @on without a type needs `data` annotated with a msgspec Struct that "
            "has a tag"
        )
    if config.tag_field != field:
        raise TypeError(
            f"{describe(fn)}: the tag of {hint.__qualname__} is in {config.tag_field!r}, "
            f"the type of messages in {field!r}"
        )
    tag: Tag = config.tag
    return tag


def _check_tag(fn: Any, hint: Any, tag: object) -> None:
    if not isinstance(tag, str | int):
        raise TypeError(f"{describe(fn)}: the type of a message is a str or an int, not {tag!r}")
    config = getattr(hint, "__struct_config__", None)
    if config is not None and config.tag is not None and config.tag != tag:
        raise TypeError(
            f"{describe(fn)}: it is for messages of type {tag!r}, but {hint.__qualname__} has the "
            f"tag {config.tag!r}"
        )
