"""What a handler receives is read from its signature."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import typing_extensions
from starlette.websockets import WebSocket as StarletteWebSocket

from peer import serve
from telex import App, SocketRoute, WebSocket, WebSocketClose, websocket
from telex._types import Receive, Scope, Send
from telex.binding import describe
from telex.connection import Connection
from telex.handlers import function_endpoint
from telex.lifecycle import connection_app
from telex.testing import AsyncTestClient, ConnectionRejected
from telex.websockets import link_of

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

got: list[Any] = []


class Special(WebSocket):
    """A face of its own, as dialects have."""


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    got.clear()


async def refused_by(handler: Callable[..., Any]) -> Any:
    """Connect to a handler that returns without accepting; return what it got."""
    app = connection_app(function_endpoint(handler))
    with pytest.raises(ConnectionRejected, match="403"):
        async with AsyncTestClient(app) as client, client.websocket("/"):
            pass
    [it] = got
    return it


# Functions of every kind


async def no_parameters() -> None:
    got.append(websocket._link)


async def by_annotation(anything: WebSocket) -> None:
    got.append(anything)


async def by_text(anything: "WebSocket") -> None:  # noqa: UP037
    got.append(anything)


async def by_connection(anything: Connection) -> None:
    got.append(anything)


async def by_name(websocket) -> None:  # type: ignore[no-untyped-def]
    got.append(websocket)


async def by_short_name(ws) -> None:  # type: ignore[no-untyped-def]
    got.append(ws)


async def by_typing_annotated(it: typing.Annotated[WebSocket, "doc"]) -> None:
    got.append(it)


async def by_extensions_annotated(it: typing_extensions.Annotated[WebSocket, "doc"]) -> None:
    got.append(it)


async def keyword_only(*, ws: WebSocket) -> None:
    got.append(ws)


async def positional_only(ws: WebSocket, /) -> None:
    got.append(ws)


async def with_defaults(ws: WebSocket, limit: int = 3, *rest: int, flag: bool = True) -> None:
    assert (limit, rest, flag) == (3, (), True)
    got.append(ws)


async def with_anything(ws: WebSocket, *args: object, **kwargs: object) -> None:
    assert (args, kwargs) == ((), {})
    got.append(ws)


async def beside_a_missing_name(it: WebSocket, other: Missing | None = None) -> Missing:
    got.append(it)


async def by_name_with_a_missing_hint(ws: Missing) -> None:
    got.append(ws)


async def with_prefix(prefix: str, ws: WebSocket) -> None:
    assert prefix == "bound"
    got.append(ws)


class Holder:
    async def method(self, ws: WebSocket) -> None:
        got.append(ws)

    @classmethod
    async def class_method(cls, ws: WebSocket) -> None:
        got.append(ws)

    @staticmethod
    async def static_method(ws: WebSocket) -> None:
        got.append(ws)

    async def __call__(self, it: WebSocket) -> None:
        got.append(it)


def decorated(fn: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await fn(*args, **kwargs)

    return wrapper


@pytest.mark.row("C66", "T74")
@pytest.mark.parametrize(
    "handler",
    [
        by_annotation,
        by_text,
        by_connection,
        by_name,
        by_short_name,
        by_typing_annotated,
        by_extensions_annotated,
        keyword_only,
        positional_only,
        with_defaults,
        with_anything,
        beside_a_missing_name,
        by_name_with_a_missing_hint,
        functools.partial(with_prefix, "bound"),
        functools.partial(with_prefix, prefix="bound"),
        functools.partial(functools.partial(with_prefix), "bound"),
        Holder().method,
        Holder.class_method,
        Holder.static_method,
        functools.partial(Holder().method),
        Holder(),
        functools.partial(Holder()),
        decorated(by_annotation),
        decorated(beside_a_missing_name),
    ],
    ids=describe,
)
async def test_a_handler_gets_the_connection(handler: Callable[..., Any]) -> None:
    ws = await refused_by(handler)
    assert type(ws) is WebSocket
    assert ws.close_code == 1008


@pytest.mark.row("C66", "T74", "Z2")
@pytest.mark.parametrize(
    "handler",
    [no_parameters, functools.partial(no_parameters), decorated(no_parameters)],
    ids=describe,
)
async def test_a_handler_without_parameters_gets_nothing(handler: Callable[..., Any]) -> None:
    assert await refused_by(handler) is not None


@pytest.mark.row("C66")
async def test_an_annotation_with_a_face_of_its_own_gives_that_face() -> None:
    async def handler(special: Special) -> None:
        await special.accept()
        got.append(special)
        assert link_of(special) is link_of(websocket)
        assert websocket.application_state == special.application_state == 1

    handler.__annotations__["special"] = Special
    app = connection_app(function_endpoint(handler))
    async with AsyncTestClient(app) as client, client.websocket("/"):
        pass
    assert [type(special) for special in got] == [Special]


@pytest.mark.row("C66")
async def test_a_base_class_is_served_by_the_connection_that_there_is() -> None:
    async def handler(ws: WebSocket) -> None:
        got.append(ws)

    async def through(scope: Scope, receive: Receive, send: Send) -> None:
        special = Special(scope, receive, send)
        await connection_app(function_endpoint(handler))(scope, receive, send)
        assert special.close_code == 1008

    with pytest.raises(ConnectionRejected, match="403"):
        async with AsyncTestClient(through, lifespan=False) as client, client.websocket("/"):
            pass
    assert [type(ws) for ws in got] == [WebSocket]


# The ASGI triple


async def triple(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"]})
    got.append((scope, websocket.application_state))


class Triple:
    async def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> None:
        await triple(scope, receive, send)


@pytest.mark.row("C66", "T74")
@pytest.mark.parametrize("handler", [triple, Triple(), functools.partial(triple)], ids=describe)
async def test_an_asgi_application_is_a_handler_and_keeps_the_state(
    handler: Callable[..., Any],
) -> None:
    app = connection_app(function_endpoint(handler))
    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
        await ws.expect_close(1000)
        assert got == [(ws.scope, 1)]


@pytest.mark.row("C66")
async def test_the_websocket_of_starlette_works_over_the_triple() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(text)
        got.append(websocket.close_code)

    route = SocketRoute("/", handler)
    async with AsyncTestClient(route) as client, client.websocket("/") as ws:
        for text in ("a", "b"):
            await ws.send_text(text)
            assert await ws.receive_text() == text
        await ws.close(1001)
    assert got == [1001]


@pytest.mark.row("L54", "L55")
async def test_an_application_that_closes_is_a_handler() -> None:
    peer = await serve(SocketRoute("/", WebSocketClose(code=1000, reason="done")))
    assert peer.sent == [{"type": "websocket.close", "code": 1000, "reason": "done"}]


@pytest.mark.row("L54", "L55")
async def test_the_closing_application_stands_alone() -> None:
    peer = await serve(WebSocketClose(code=1000, reason="done"))
    assert peer.sent == [{"type": "websocket.close", "code": 1000, "reason": "done"}]


# What cannot be a handler


def sync_function(ws: WebSocket) -> None: ...


async def generator(ws: WebSocket) -> Any:
    yield ws


class NotAsync:
    def __call__(self, ws: WebSocket) -> None: ...


@pytest.mark.row("T74", "C66")
@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (sync_function, "sync_function must be an async function; it is not async"),
        (functools.partial(sync_function), "sync_function must be an async function"),
        (NotAsync(), "NotAsync must be an async function; it is not async"),
        (lambda ws: None, "<lambda> must be an async function"),
        (generator, "generator must be an async function; it is an async generator"),
        (Holder, "Holder must be an async function"),
        (print, "print must be an async function"),
        ("handler", "a handler must be an async function, got 'handler'"),
        (None, "a handler must be an async function, got None"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_at_registration(fn: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        function_endpoint(fn)
    assert text in str(caught.value)


async def half_a_triple(scope: Scope, receive: Receive) -> None: ...


async def triple_by_keyword(*, scope: Scope, receive: Receive, send: Send) -> None: ...


async def triple_in_another_order(receive: Receive, scope: Scope, send: Send) -> None: ...


async def of_unknown_use(ws: WebSocket, room: str, limit: int) -> None: ...


async def of_unknown_type(ws: WebSocket, missing: Missing) -> None: ...


@pytest.mark.row("T74", "C66")
@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (half_a_triple, "receive"),
        (triple_by_keyword, "receive"),
        (triple_in_another_order, "receive"),
        (of_unknown_use, "limit"),
        (Holder.method, "self"),
    ],
)
def test_a_parameter_that_is_none_of_the_path_is_refused_by_the_router(fn: Any, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        App().websocket("/{elsewhere}/{room}")(fn)
    assert str(caught.value) == (
        f"handler {describe(fn)}: parameter {name!r} is none of the path "
        "'/{elsewhere}/{room}'; annotate it with telex.WebSocket, or with Annotated[..., Query()] "
        "(Path(), Header(), Cookie(), Depends(function))"
    )


@pytest.mark.row("T74")
def test_a_type_for_the_type_checker_alone_cannot_be_filled() -> None:
    with pytest.raises(TypeError) as caught:
        function_endpoint(of_unknown_type)
    assert str(caught.value) == (
        f"{describe(of_unknown_type)}: parameter 'missing': its type cannot be told: "
        "name 'Missing' is not defined"
    )


@pytest.mark.row("C66")
async def test_two_parameters_may_be_the_connection() -> None:
    async def handler(ws: WebSocket, websocket: WebSocket) -> None:
        got.append(ws is websocket)

    assert await refused_by(handler) is True


def test_an_error_names_module_and_function() -> None:
    assert describe(sync_function) == f"{__name__}.sync_function"
    assert describe(functools.partial(functools.partial(sync_function))) == describe(sync_function)
    assert describe(Holder()) == f"{__name__}.Holder"
    assert describe(Holder().method) == f"{__name__}.Holder.method"
    assert describe(print) == "builtins.print"


async def test_an_endpoint_looks_like_its_handler() -> None:
    endpoint = function_endpoint(by_annotation)
    assert inspect.iscoroutinefunction(endpoint)
    assert endpoint.__name__ == "by_annotation"
    assert endpoint.__module__ == __name__


def test_a_handler_without_parameters_is_called_without_detour() -> None:
    assert function_endpoint(no_parameters) is no_parameters
