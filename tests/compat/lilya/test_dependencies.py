from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest

import telex
from clients import connected
from telex import App, Depends, Query, SocketRoute, SocketView, State, on
from telex._types import Receive, Scope, Send
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.controllers import WebSocketController
from telex.compat.lilya.dependencies import Provide, Provides
from telex.compat.lilya.exceptions import ImproperlyConfigured
from telex.compat.lilya.routing import WebSocketPath
from telex.compat.lilya.websockets import WebSocket
from telex.listeners import Listener
from telex.streams import Stream

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]

pytestmark = pytest.mark.row("LX2")


def made_by_telex() -> str:
    return "made"


async def given(handler: Callable[..., Any], url: str = "/", path: str = "/", **maps: Any) -> Any:
    """What a handler sends, in an application with `app` and a route with `route` to depend on."""
    route = WebSocketPath(path, handler, dependencies=maps.get("route"))
    async with connected(Lilya(routes=[route], dependencies=maps.get("app")), url) as ws:
        return await ws.receive_json()


async def answer(websocket: WebSocket, value: Any) -> None:
    await websocket.accept()
    await websocket.send_json(value)


async def test_the_application_and_the_route_give_values_by_name() -> None:
    async def handler(websocket: WebSocket, a: str = Provides(), b: str = Provides()) -> None:  # type: ignore[assignment]
        await answer(websocket, [a, b])

    app = {"a": Provide(lambda: "app"), "b": Provide(lambda: "app")}
    assert await given(handler, app=app, route={"b": Provide(lambda: "route")}) == ["app", "route"]


async def test_a_parameter_gets_the_dependency_of_its_name_without_asking() -> None:
    async def handler(websocket: WebSocket, a: Any, b, c: Any = None, d: str = "own") -> None:  # type: ignore[no-untyped-def]
        await answer(websocket, [a, b, c, d])

    app = {"a": Provide(lambda: 1), "b": Provide(lambda: 2), "c": Provide(lambda: 3)}
    assert await given(handler, app=app) == [1, 2, 3, "own"]


def test_a_dependency_that_must_be_there_is_missed_when_the_route_is_added() -> None:
    async def handler(websocket: WebSocket, db: Any = Provides()) -> None: ...  # noqa: B008

    route = WebSocketPath("/", handler, dependencies={"other": 1})
    with pytest.raises(ImproperlyConfigured, match=r"handler: parameter 'db' is Provides\(\)"):
        Lilya(routes=[route])
    app = Lilya()
    with pytest.raises(ImproperlyConfigured, match="'db'"):
        app.websocket("/")(handler)
    assert len(app.router) == 0


async def test_a_route_that_was_added_nowhere_misses_it_when_it_is_called() -> None:
    async def handler(websocket: WebSocket, db: Any = Provides()) -> None: ...  # noqa: B008

    with pytest.raises(ImproperlyConfigured, match="'db'"):
        async with connected(WebSocketPath("/", handler)):
            pytest.fail("let in")


def test_a_parameter_that_nothing_fills_is_told_when_the_route_is_added() -> None:
    async def handler(websocket: WebSocket, db: Any) -> None: ...

    with pytest.raises(TypeError, match="'db' is none of the path"):
        Lilya(routes=[WebSocketPath("/", handler)])


@pytest.mark.row("LX5")
async def test_a_dependency_wins_over_a_parameter_of_the_path() -> None:
    async def handler(websocket: WebSocket, a: str, room: str) -> None:
        await answer(websocket, [a, room])

    got = await given(handler, "/x/lobby", "/{a}/{room}", route={"a": lambda: "given"})
    assert got == ["given", "lobby"]


# What is provided


async def test_what_is_provided_can_be_a_function_a_value_or_a_class() -> None:
    class Service:
        def __init__(self, name: str = "default", *, port: int = 0) -> None:
            self.shown = [name, port]

    async def handler(websocket: WebSocket, a: str, b: int, c: Any, d: Any) -> None:
        await answer(websocket, [a, b, c.shown, d.shown])

    app = {"a": lambda: "function", "b": 5, "c": Service, "d": Provide(Service, "x", port=7)}
    assert await given(handler, app=app) == ["function", 5, ["default", 0], ["x", 7]]


async def test_an_asynchronous_function_is_awaited() -> None:
    async def made() -> str:
        return "made"

    async def handler(websocket: WebSocket, a: str) -> None:
        await answer(websocket, a)

    assert await given(handler, app={"a": made}) == "made"


async def test_dependencies_build_upon_each_other() -> None:
    async def client() -> str:
        return "client"

    def token(client: str = Provides(), *, suffix: str = "!") -> str:  # type: ignore[assignment]
        return f"token of {client}{suffix}"

    async def handler(websocket: WebSocket, token: str) -> None:
        await answer(websocket, token)

    app = {"client": Provide(client), "token": Provide(token)}
    assert await given(handler, app=app) == "token of client!"


def test_dependencies_that_depend_on_themselves_are_told() -> None:
    async def handler(websocket: WebSocket, a: Any) -> None: ...

    app = {"a": Provide(lambda b: b), "b": Provide(lambda a: a)}
    with pytest.raises(TypeError, match="depends on itself"):
        Lilya(routes=[WebSocketPath("/", handler)], dependencies=app)


def test_what_a_dependency_must_have_is_missed_too() -> None:
    async def handler(websocket: WebSocket, a: Any) -> None: ...

    def made(db: Any = Provides()) -> None: ...  # noqa: B008

    with pytest.raises(ImproperlyConfigured, match=r"made: parameter 'db'"):
        Lilya(routes=[WebSocketPath("/", handler, dependencies={"a": made})])


async def test_a_dependency_gets_the_connection_and_the_path() -> None:
    def shown(value: Any) -> Any:
        return type(value) is WebSocket and value.path

    def with_path(room: str, request: Any) -> str:
        return f"{room}{request.path}"

    def annotated(room: str, connection: telex.WebSocket) -> str:
        return room + connection.path

    async def handler(websocket: WebSocket, a: Any, b: Any, c: Any) -> None:
        await answer(websocket, [a, b, c])

    route = {"a": shown, "b": with_path, "c": annotated}
    assert await given(handler, "/x", "/{room}", route=route) == ["/x", "x/x", "x/x"]


def test_a_dependency_with_parameters_that_nothing_fills_is_told() -> None:
    async def handler(websocket: WebSocket, a: Any) -> None: ...

    with pytest.raises(TypeError, match="parameter 'first' is none of the path"):
        Lilya(routes=[WebSocketPath("/", handler, dependencies={"a": lambda first, second: 1})])


@pytest.mark.parametrize(("use_cache", "calls"), [(False, 3), (True, 1)])
async def test_one_call_is_enough_where_that_is_said(use_cache: bool, calls: int) -> None:
    made: list[int] = []

    def number() -> int:
        made.append(0)
        return len(made)

    async def handler(websocket: WebSocket, a: int, b: int, number: int) -> None:
        await answer(websocket, None)

    app = {
        "number": Provide(number, use_cache=use_cache),
        "a": Provide(lambda number: number),
        "b": Provide(lambda number: number),
    }
    await given(handler, app=app)
    assert len(made) == calls


async def test_each_connection_has_values_of_its_own() -> None:
    made: list[int] = []

    def number() -> int:
        made.append(0)
        return len(made)

    app = Lilya(dependencies={"number": Provide(number, use_cache=True)})

    @app.websocket("/")
    async def handler(websocket: WebSocket, number: int) -> None:
        await answer(websocket, number)

    for expected in (1, 2):
        async with connected(app) as ws:
            assert await ws.receive_json() == expected


async def test_generators_are_closed_at_the_end() -> None:
    calls: list[str] = []

    def plain() -> Iterator[str]:
        yield "plain"
        calls.append("plain")

    async def later(plain: str) -> AsyncIterator[str]:
        yield f"{plain}, later"
        calls.append("later")

    async def handler(websocket: WebSocket, later: str) -> None:
        await answer(websocket, later)
        calls.append("handler")

    assert await given(handler, app={"plain": plain, "later": later}) == "plain, later"
    assert calls == ["handler", "later", "plain"]


def test_what_cannot_be_called_cannot_be_provided() -> None:
    with pytest.raises(TypeError, match="something to call"):
        Provide(5)  # type: ignore[arg-type]


# The connection, and everything else a handler may have


@pytest.mark.row("LX5", "C66")
@pytest.mark.parametrize("annotation", ["untyped", "anything", "foreign", "unknown"])
async def test_the_first_parameter_is_the_connection(annotation: str) -> None:
    class Foreign: ...

    async def untyped(sock, room: str) -> None:  # type: ignore[no-untyped-def]
        await answer(sock, [type(sock) is WebSocket, room])

    async def anything(sock: Any, room: str) -> None:
        await answer(sock, [type(sock) is WebSocket, room])

    async def foreign(sock: Foreign, room: str) -> None:
        connection: Any = sock
        await answer(connection, [type(connection) is WebSocket, room])

    async def unknown(sock: Unknown, room: str) -> None:
        await answer(sock, [type(sock) is WebSocket, room])

    assert await given(locals()[annotation], "/lobby", "/{room}") == [True, "lobby"]


@pytest.mark.row("LX5", "C66")
async def test_an_annotated_parameter_is_the_connection_wherever_it_stands() -> None:
    async def handler(room: str, sock: WebSocket, /, n: int, *, other: telex.WebSocket) -> None:
        await answer(sock, [room, n, type(sock) is WebSocket, sock._link is other._link])

    assert await given(handler, "/lobby/5", "/{room}/{n:int}") == ["lobby", 5, True, True]


@pytest.mark.row("LX5", "C66")
async def test_a_parameter_named_so_is_the_connection_wherever_it_stands() -> None:
    async def handler(first: str, ws) -> None:  # type: ignore[no-untyped-def]
        await answer(ws, first)

    assert await given(handler, route={"first": lambda: "given"}) == "given"


@pytest.mark.row("C66")
async def test_a_route_that_was_added_nowhere_gives_the_connection_too() -> None:
    async def handler(sock: Any, room: str, a: str) -> None:
        await answer(sock, [type(sock) is WebSocket, room, a])

    route = WebSocketPath("/{room}", handler, dependencies={"a": lambda: "given"})
    async with connected(route, "/lobby") as ws:
        assert await ws.receive_json() == [True, "lobby", "given"]


@pytest.mark.row("C66")
async def test_what_telex_fills_is_left_to_it() -> None:
    async def handler(
        state: State,
        app: App,
        n: Annotated[int, Query()],
        made: Annotated[str, Depends(made_by_telex)],
    ) -> None:
        ws = telex.websocket
        await ws.accept()
        await ws.send_json([isinstance(app, Lilya), state.get("x"), n, made])

    got = await given(handler, "/?n=5", app={"n": lambda: 6, "made": lambda: "hidden"})
    assert got == [True, None, 5, "made"]


@pytest.mark.row("C66", "L6")
async def test_a_handler_may_be_an_asgi_application() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(WebSocket(scope, receive, send), scope["path"])

    assert await given(handler, "/x", "/x", app={"scope": lambda: "hidden"}) == "/x"


async def test_a_handler_may_be_partial_a_method_or_an_object() -> None:
    class Handlers:
        async def method(self, sock: Any, a: str, b: str = "own") -> None:
            await answer(sock, a + b)

        async def __call__(self, sock: Any, a: str) -> None:
            await answer(sock, a)

    handlers = Handlers()
    partial = functools.partial(handlers.method, b="filled")
    app = {"a": lambda: "given ", "b": lambda: "b"}
    assert await given(handlers.method, app=app) == "given b"
    assert await given(partial, app=app) == "given filled"
    assert await given(handlers, app=app) == "given "


async def test_routes_of_telex_are_left_alone() -> None:
    async def handler(ws: WebSocket, a: str = "own") -> None:
        await answer(ws, a)

    app = Lilya(routes=[SocketRoute("/", handler)], dependencies={"a": lambda: "never seen"})
    async with connected(app) as ws:
        assert await ws.receive_json() == "own"


# Where nobody gives anything by name


class Wanting:
    """What is made of a dependency."""

    def __init__(self, db: Any = Provides()) -> None:  # noqa: B008
        pytest.fail("made")


def wanting(db: Any = Provides()) -> None:  # noqa: B008
    pytest.fail("called")


class Constructed(SocketView):
    def __init__(self, db: Any = Provides()) -> None:  # noqa: B008
        pytest.fail("made")


class Dispatching(SocketView):
    @on("say")
    async def say(self, data: Any, db: Any = Provides()) -> None: ...  # noqa: B008


class BelowDepends(SocketView):
    @on("say")
    async def say(self, data: Any, it: Annotated[Any, Depends(wanting)]) -> None: ...


class Controlled(WebSocketController):
    async def on_receive(self, websocket: WebSocket, data: Any, db: Any = Provides()) -> None: ...  # noqa: B008


async def listening(data: Any, db: Any = Provides()) -> None: ...  # noqa: B008


async def streaming(db: Any = Provides()) -> AsyncGenerator[str, None]:  # noqa: B008
    yield "item"


async def plain(ws: WebSocket, db: Any = Provides()) -> None: ...  # noqa: B008


async def below_depends(ws: WebSocket, it: Annotated[Any, Depends(wanting)]) -> None: ...


async def below_a_class(ws: WebSocket, it: Annotated[Wanting, Depends(), "a note"]) -> None: ...


async def application(scope: Scope, receive: Receive, send: Send, db: Any = Provides()) -> None: ...  # noqa: B008


UNADAPTED = {
    "constructor": (Constructed, "Constructed"),
    "method": (Dispatching, "Dispatching.say"),
    "below a method": (BelowDepends, "wanting"),
    "listener": (Listener(listening), "listening"),
    "stream": (Stream(streaming), "streaming"),
    "below a function": (below_depends, "wanting"),
    "below a class": (below_a_class, "Wanting"),
    "an application": (application, "application"),
}


@pytest.mark.parametrize("route_class", [SocketRoute, WebSocketPath])
@pytest.mark.parametrize(("endpoint", "name"), UNADAPTED.values(), ids=UNADAPTED)
def test_what_telex_calls_itself_is_given_nothing_by_name(
    endpoint: Any, name: str, route_class: type[SocketRoute]
) -> None:
    app = Lilya(dependencies={"db": lambda: "given"})
    text = rf"{name}: parameter 'db' is Provides\(\).*Annotated\[\.\.\., Depends\(function\)\]"
    with pytest.raises(ImproperlyConfigured, match=text):
        app.router.add(route_class("/", endpoint))
    assert len(app.router) == 0


def test_a_function_that_telex_registers_is_given_nothing_by_name() -> None:
    app = Lilya(dependencies={"db": lambda: "given"})
    with pytest.raises(ImproperlyConfigured, match="plain: parameter 'db'"):
        app.router.add(SocketRoute("/", plain))
    with pytest.raises(ImproperlyConfigured, match="on_receive: parameter 'db'"):
        app.websocket("/")(Controlled)
    with pytest.raises(ImproperlyConfigured, match="listening: parameter 'db'"):
        app.websocket_listener("/")(listening)
    with pytest.raises(ImproperlyConfigured, match="streaming: parameter 'db'"):
        app.websocket_stream("/")(streaming)


def test_a_provided_class_is_given_nothing_by_name() -> None:
    async def handler(websocket: WebSocket, it: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="Wanting: parameter 'db'"):
        Lilya(routes=[WebSocketPath("/", handler)], dependencies={"it": Wanting, "db": 1})


async def test_a_provided_class_gets_what_it_is_provided_with() -> None:
    class Holding:
        def __init__(self, db: Any = Provides()) -> None:  # noqa: B008
            self.db = db

    async def handler(websocket: WebSocket, it: Any, empty: Any) -> None:
        await answer(websocket, [it.db, empty])

    assert await given(handler, app={"it": Provide(Holding, db="own"), "empty": dict}) == [
        "own",
        {},
    ]


async def test_a_method_that_telex_does_not_call_may_be_anything() -> None:
    class View(SocketView):
        async def on_connect(self) -> None:
            await answer(self.websocket, self.helped())  # type: ignore[arg-type]

        def helped(self, db: Annotated[Any, Depends(wanting), Query()] = "helped") -> Any:
            return db

    async with connected(Lilya(routes=[WebSocketPath("/", View)])) as ws:
        assert await ws.receive_json() == "helped"


# Overrides


def connect(name: str = "real") -> str:
    return name


@pytest.mark.parametrize("use_cache", [False, True])
async def test_a_test_puts_something_else_in_the_place_of_what_is_provided(use_cache: bool) -> None:
    async def handler(websocket: WebSocket, db: str, other: str, service: str) -> None:
        await answer(websocket, [db, other, service])

    app = Lilya(
        routes=[WebSocketPath("/", handler)],
        dependencies={
            "db": Provide(connect, use_cache=use_cache),
            "other": Provide(connect, name="other"),
            "service": lambda db: f"service of {db}",
        },
    )

    def fake(original: Annotated[str, Depends(connect)]) -> str:
        return f"fake for {original}"

    app.dependency_overrides[connect] = fake
    async with connected(app) as ws:
        assert await ws.receive_json() == ["fake for real"] * 2 + ["service of fake for real"]
    app.dependency_overrides.clear()
    async with connected(app) as ws:
        assert await ws.receive_json() == ["real", "other", "service of real"]
