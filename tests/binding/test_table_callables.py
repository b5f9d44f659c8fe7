"""Whatever has a signature gets its parameters, from end to end; annotations here are text."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import typing_extensions

from clients import rejection
from telex import App, Cookie, Depends, Header, Path, Query, Routes, SocketRoute, SocketView, State
from telex import WebSocket as Ws
from telex.testing import AsyncTestClient

if TYPE_CHECKING:
    import nowhere  # type: ignore[import-not-found]
    from nowhere import Session

got: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    got.clear()


async def function(room: str, limit: Annotated[int, Query()], level: int = 3) -> None:
    got.append((room, limit, level))


async def old_annotated(room: str, limit: typing_extensions.Annotated[int, Query()]) -> None:
    got.append((room, limit, 3))


async def as_text(room: "str", limit: "Annotated[int, Query()]") -> None:  # noqa: UP037
    got.append((room, limit, 3))


async def by_keyword(*, room: str, limit: Annotated[int, Query()]) -> None:
    got.append((room, limit, 3))


async def by_position(room: str, limit: Annotated[int, Query()], level: int = 3, /) -> None:
    got.append((room, limit, level))


async def longer(prefix: str, room: str, limit: Annotated[int, Query()], level: int = 3) -> None:
    assert prefix == "prefix"
    got.append((room, limit, level))


async def variadic(room: str, limit: Annotated[int, Query()], *args: int, **rest: int) -> None:
    assert (args, rest) == ((), {})
    got.append((room, limit, 3))


class Holder:
    async def method(self, room: str, limit: Annotated[int, Query()]) -> None:
        got.append((room, limit, 3))

    @classmethod
    async def of_class(cls, room: str, limit: Annotated[int, Query()]) -> None:
        got.append((room, limit, 3))

    @staticmethod
    async def static(room: str, limit: Annotated[int, Query()]) -> None:
        got.append((room, limit, 3))

    async def __call__(self, room: str, limit: Annotated[int, Query()]) -> None:
        got.append((room, limit, 3))


def decorated(fn: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await fn(*args, **kwargs)

    return wrapper


class View(SocketView):
    def __init__(self, room: str, limit: Annotated[int, Query()]) -> None:
        got.append((room, limit, 3))

    async def on_connect(self) -> None:
        """Accepts nothing."""


class Derived(View):
    """Has the constructor of another class."""


CALLABLES = [
    function,
    old_annotated,
    as_text,
    by_keyword,
    by_position,
    variadic,
    functools.partial(longer, "prefix"),
    functools.partial(longer, prefix="prefix"),
    functools.partial(functools.partial(longer, "prefix"), level=3),
    Holder().method,
    Holder.of_class,
    Holder.static,
    Holder(),
    functools.partial(Holder().method),
    functools.partial(Holder()),
    decorated(function),
    decorated(decorated(Holder().method)),
    View,
    Derived,
]


@pytest.mark.row("T74", "T47", "C66")
@pytest.mark.parametrize("handler", CALLABLES)
async def test_whatever_is_called_gets_its_parameters(handler: Any) -> None:
    app = App([SocketRoute("/{room}", handler)])
    assert (await rejection(app, "/lobby?limit=5")).status == 403
    assert got == [("lobby", 5, 3)]


@pytest.mark.row("T74", "T47", "C66")
@pytest.mark.parametrize("handler", CALLABLES)
async def test_whatever_is_called_is_not_called_with_what_does_not_fit(handler: Any) -> None:
    app = App([SocketRoute("/{room}", handler)])
    refused = await rejection(app, "/lobby?limit=x")
    error = {
        "in": "query",
        "name": "limit",
        "message": "Expected `int`, got `str`",
        "value": "x",
    }
    assert (refused.status, refused.json(), got) == (422, {"errors": [error]}, [])


async def test_what_a_partial_object_has_filled_is_not_asked_for() -> None:
    app = App([SocketRoute("/{room}", functools.partial(function, limit=7, level=8))])
    await rejection(app, "/lobby?limit=x")
    assert got == [("lobby", 7, 8)]


# Socket middlewares


def needs_key(endpoint: Callable[[], Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    async def wrapper(
        ws: Ws, key: Annotated[str, Query("x")], sid: Annotated[int, Cookie()] = 0
    ) -> Any:
        got.append((key, sid))
        if key != "right":
            await ws.reject(401)
            return None
        return await endpoint()

    return wrapper


def needs_key_by_wraps(endpoint: Callable[[], Awaitable[object]]) -> Any:
    @functools.wraps(endpoint)
    async def wrapper(key: Annotated[str, Query("x")], room: str) -> object:
        got.append((key, room))
        return await endpoint()

    return wrapper


@pytest.mark.row("KX5")
@pytest.mark.parametrize("how", ["@", "middlewares", "group", "application"])
async def test_a_wrapper_has_parameters_of_its_own(how: str) -> None:
    route = SocketRoute("/{room}", function)
    app = App()
    if how == "@":
        app = App([route @ needs_key])
    elif how == "middlewares":
        app = App([SocketRoute("/{room}", function, middlewares=[needs_key])])
    elif how == "group":
        app = App([Routes(route, socket_middlewares=[needs_key])])
    else:
        app = App([route], socket_middlewares=[needs_key])
    await rejection(app, "/lobby?limit=5&key=right", cookies={"sid": "3"})
    assert got == [("right", 3), ("lobby", 5, 3)]
    got.clear()
    assert (await rejection(app, "/lobby?limit=5")).status == 401
    assert got == [("x", 0)]
    got.clear()
    assert (await rejection(app, "/lobby?key=right")).status == 422
    assert got == [("right", 0)]
    got.clear()
    assert (await rejection(app, "/lobby?key=right", cookies={"sid": "x"})).status == 422
    assert got == []


@pytest.mark.row("KX5", "C60")
async def test_a_wrapper_made_with_wraps_keeps_its_own_parameters() -> None:
    app = App([SocketRoute("/{room}", function) @ needs_key_by_wraps])
    await rejection(app, "/lobby?limit=5&key=k")
    assert got == [("k", "lobby"), ("lobby", 5, 3)]


@pytest.mark.row("KX5")
def test_a_wrapper_whose_parameter_nothing_fills_is_refused_at_registration() -> None:
    async def handler() -> None: ...

    with pytest.raises(TypeError, match="parameter 'room' is none of the path '/'"):
        App([SocketRoute("/", handler) @ needs_key_by_wraps])


# Names that only the type checker knows


async def open_session() -> str:
    return "session"


@pytest.mark.row("T74")
async def test_a_type_that_is_not_there_does_not_hide_a_dependency() -> None:
    async def handler(
        one: Annotated[Session, Depends(open_session)],
        other: Annotated[nowhere.Session[int] | None, Depends(open_session)],
        ws: Session,
        left_alone: Session | None = None,
        *args: Session,
    ) -> Session:
        got.append((one, other, type(ws), left_alone, args))

    await rejection(App([SocketRoute("/", handler)]))
    assert got == [("session", "session", Ws, None, ())]


# What is there anyway, from every place


class MyApp(App):
    """An application with more to it."""


async def test_what_is_there_is_given_by_its_type() -> None:
    async def handler(
        connection: Annotated[Ws, "documented"],
        app: App,
        mine: MyApp,
        state: State,
        user_agent: Annotated[str | None, Header()],
        tenant: Annotated[str, Path()],
    ) -> None:
        got.append((connection.state == state, app is mine, mine, user_agent, tenant))

    inner = MyApp([SocketRoute("/{room}", handler)])
    outer = App()
    outer.mount("/{tenant}", inner)
    await rejection(outer, "/t/lobby", headers={"user-agent": "me"})
    assert got == [(True, True, inner, "me", "t")]


async def test_connections_at_the_same_time_have_their_own_values() -> None:
    async def handler(ws: Ws, number: Annotated[int, Query()]) -> None:
        async with ws:
            async for _ in ws:
                await ws.send_json(number)

    app = App([SocketRoute("/", handler)])
    async with (
        AsyncTestClient(app) as client,
        client.websocket("/?number=1") as one,
        client.websocket("/?number=2") as other,
    ):
        for ws, number in ((one, 1), (other, 2), (one, 1)):
            await ws.send_text("")
            assert await ws.receive_json() == number
