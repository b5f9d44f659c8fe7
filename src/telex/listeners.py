"""`Listener`: a function that is called for each message, with the value of it.

    @app.websocket_listener("/orders")
    async def orders(data: Order, book: Annotated[Book, Depends(open_book)]) -> Receipt:
        return await book.place(data)

The connection is accepted, messages become values of the type of `data`, and what the function
returns is sent. When the client leaves, what still runs is cancelled, and its `finally` blocks are
awaited: `asyncio.shield` what has to be finished all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any

from telex._eager import handle_all
from telex._intake import MAX_INVALID, Intake, OnInvalid, Policy, check_count
from telex._lanes import Lanes
from telex._models import reader_of
from telex._reply import replier
from telex.binding import Call, MessageFunction
from telex.codecs import reader
from telex.context import current
from telex.exceptions import WebSocketExpectError
from telex.websockets import WebSocket, link_of

Key = Callable[[Any], Hashable]
"""Gets the value of a message; of those with the same key one is handled after the other."""


class Listener:
    """A function as an endpoint that calls it for each message.

    Args:
        fn: An async function, whose result is sent unless it is `None`, or an async generator
            function, of which every item is sent. It has a parameter `data`, annotated with what
            messages are (see `WebSocket.receive_as`; without annotation whatever they hold), and
            perhaps others, as a handler has. Dependencies may have `scope="message"`.
        on_invalid: What a message that does not fit leads to, see `OnInvalid`.
        max_invalid: How many of them in a row are answered before the connection is closed.
        concurrency: How many messages are handled at once. 1: one after the other, in order.
        key: With `concurrency`: messages of the same key are handled in order.

    Raises:
        TypeError: A function of another kind, or a parameter that nothing can fill.
        ValueError: Another policy, or a number below 1.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        on_invalid: OnInvalid = "reply",
        max_invalid: int = MAX_INVALID,
        concurrency: int = 1,
        key: Key | None = None,
    ) -> None:
        check_count("concurrency", concurrency)
        if key is not None and concurrency == 1:
            raise ValueError("key= is for concurrency above 1: one message at a time is in order")
        if key is not None and not callable(key):
            raise ValueError(f"key must be a function of the value of a message, not {key!r}")
        functools.update_wrapper(self, fn)
        self._function = MessageFunction(fn)
        if self._function.hint not in (Any, str, bytes):
            reader_of(self._function.hint, own_types=True)
        self._policy = Policy(on_invalid, max_invalid)
        self._concurrency = concurrency
        self._key = key

    @property
    def needs(self) -> Mapping[str, str]:
        """What must be in the path, and who asks for it."""
        return self._function.needs

    async def __call__(self) -> None:
        """Serve the current connection until it ends."""
        ws = current.get()
        async with self._function.bound(ws, replier(ws)) as call:
            if call is None:
                return
            # A type that the codec cannot read is found before accept.
            reader(ws.codec, self._function.hint)
            if not link_of(ws).progress.open:
                await ws.accept()
            await self._listen(ws, call)

    async def _listen(self, ws: WebSocket, call: Call) -> None:
        try:
            await self._handle_all(ws, call)
        except BaseExceptionGroup as group:
            # That there are tasks is nothing dependencies and middlewares should have to know.
            if len(group.exceptions) > 1:
                raise
            [error] = group.exceptions
        else:
            return
        # Not in the block above: `from` would take its cause, and the context would be the group.
        raise error

    async def _handle_all(self, ws: WebSocket, call: Call) -> None:
        codec = ws.codec
        read = reader(codec, self._function.hint)
        intake = Intake(ws, codec, self._policy)
        async with ws.tasks() as tasks:
            if self._concurrency > 1:
                call = self._side_by_side(call, Lanes(tasks, self._concurrency))

            def handle(message: str | bytes) -> Coroutine[Any, Any, None]:
                try:
                    data = read(message)
                except WebSocketExpectError as error:
                    return intake.refuse(message, error)
                intake.in_a_row = 0
                return call(data)

            await handle_all(link_of(ws), handle)

    def _side_by_side(self, call: Call, lanes: Lanes) -> Call:
        key = self._key

        def put(data: Any) -> Coroutine[Any, Any, None]:
            return lanes.put(functools.partial(call, data), None if key is None else key(data))

        return put
