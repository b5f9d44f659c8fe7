"""Functions that are called for each message: what they are given, and what comes of it."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import msgspec
import pytest

from clients import connected, rejection
from opened import opened, soon, turns, until
from peer import Peer
from telex import App, Depends, Header, Query, State, WebSocket
from telex.binding import Call, MessageFunction
from telex.testing import AsyncTestSession

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


class Order(msgspec.Struct):
    price: float


def noted(name: str) -> Callable[[], AsyncIterator[str]]:
    """A generator that notes when it is opened and by what it is closed."""

    async def resource() -> AsyncIterator[str]:
        log.append(f"{name} open")
        end = "nothing"
        try:
            yield name
        except BaseException as exc:
            end = type(exc).__name__
            raise
        finally:
            await asyncio.sleep(0)
            log.append(f"{name} closed by {end}")

    return resource


outer, inner = noted("outer"), noted("inner")

ForConnection = Annotated[str, Depends(outer)]
ForMessage = Annotated[str, Depends(inner, scope="message")]


async def calling(fn: Callable[..., Any], *data: Any) -> tuple[list[Any], Peer]:
    """What a function replies to some values, each in a call of its own."""
    ws, peer = await opened()
    replies: list[Any] = []
    async with MessageFunction(fn).bound(ws, replies.append) as call:
        assert call is not None
        for each in data:
            await soon(call(each))
    return replies, peer


def listening(fn: Callable[..., Any], path: str = "/", **options: Any) -> App:
    """An application with this listener alone."""
    app = App()
    app.websocket_listener(path, **options)(fn)
    return app


async def exchange(ws: AsyncTestSession, *texts: str) -> list[str]:
    """Send some messages, one after the other, and return what each is answered with."""
    answers = []
    for text in texts:
        await ws.send_text(text)
        answers.append(await ws.receive_text())
    return answers


# --- what can be one ---


async def with_data(data: int) -> None: ...


async def items(data: int) -> AsyncIterator[int]:
    yield data


async def without_annotation(data): ...  # type: ignore[no-untyped-def]


async def with_default(data: int = 5) -> None: ...


async def by_position(data: str, /) -> None: ...


class Methods:
    async def on_order(self, data: Order) -> float:
        return data.price


@pytest.mark.parametrize(
    ("fn", "hint"),
    [
        (with_data, int),
        (items, int),
        (without_annotation, Any),
        (with_default, int),
        (by_position, str),
        (Methods().on_order, Order),
        (functools.partial(with_data), int),
    ],
)
def test_the_type_of_messages_is_that_of_data(fn: Any, hint: Any) -> None:
    assert MessageFunction(fn).hint is hint


def sync(data: int) -> None: ...


def sync_items(data: int) -> Iterator[int]:
    yield data


class CallableObject:
    async def __call__(self, data: int) -> None: ...


@pytest.mark.parametrize(
    "fn", [sync, sync_items, Order, print, CallableObject(), lambda data: None]
)
def test_anything_but_an_async_function_is_refused(fn: Any) -> None:
    with pytest.raises(TypeError, match="must be an async function or an async generator"):
        MessageFunction(fn)


async def no_parameter() -> None: ...


async def another_name(message: str = "") -> None: ...


async def a_query(data: Annotated[int, Query()]) -> None: ...


async def the_connection(data: WebSocket) -> None: ...


def takes_data(data: int) -> int:
    return data


async def data_of_a_dependency(
    it: Annotated[int, Depends(takes_data, scope="message")],
) -> None: ...


@pytest.mark.parametrize(
    "fn", [no_parameter, another_name, a_query, the_connection, data_of_a_dependency]
)
def test_it_has_to_take_the_message(fn: Any) -> None:
    with pytest.raises(TypeError, match="needs a parameter 'data'"):
        MessageFunction(fn)


def test_a_type_that_cannot_be_told_is_refused() -> None:
    async def fn(data: Any) -> None: ...

    fn.__annotations__["data"] = "Missing"
    with pytest.raises(TypeError, match="'data': its type cannot be told: name 'Missing'"):
        MessageFunction(fn)


async def outlives(it: Annotated[Any, Depends(data_of_a_dependency)]) -> None: ...


async def wants_the_longer(data: int, it: Annotated[Any, Depends(outlives)]) -> None: ...


def test_what_lives_as_long_as_the_connection_cannot_depend_on_a_message() -> None:
    with pytest.raises(TypeError, match="outlives"):
        MessageFunction(wants_the_longer)


def test_what_lives_as_long_as_the_connection_finds_data_in_the_path() -> None:
    async def fn(data: int, it: Annotated[int, Depends(takes_data)]) -> None: ...

    assert {*MessageFunction(fn).needs} == {"data"}


def test_what_must_be_in_the_path_is_known() -> None:
    async def fn(data: int, room: str, page: Annotated[int, Query()]) -> None: ...

    assert {*MessageFunction(fn).needs} == {"room"}


def test_one_that_takes_the_message_alone_is_simple() -> None:
    async def with_more(data: int, ws: WebSocket) -> None: ...

    assert MessageFunction(with_data).is_simple
    assert not MessageFunction(with_more).is_simple


# --- what comes of a call ---


async def test_what_is_returned_is_the_reply_unless_it_is_none() -> None:
    async def fn(data: Any) -> Any:
        return data

    replies, _ = await calling(fn, 1, None, "", 0, False, [], Order(2))
    assert replies == [1, "", 0, False, [], Order(2)]


async def test_every_item_is_a_reply_none_too() -> None:
    async def fn(data: int) -> AsyncIterator[int | None]:
        for each in range(data):
            yield each or None

    replies, _ = await calling(fn, 3, 0, 1)
    assert replies == [None, 1, 2, None]


async def test_a_method_gets_its_owner() -> None:
    ws, _ = await opened()
    replies: list[Any] = []
    function = MessageFunction(Methods.on_order, method=True)
    async with function.bound(ws, replies.append, Methods()) as call:
        assert call is not None
        await call(Order(3))
    assert replies == [3]


@pytest.mark.parametrize("kind", ["returned", "yielded"])
async def test_a_reply_that_has_to_be_awaited_is(kind: str) -> None:
    async def returned(data: int) -> int:
        return data

    async def reply(value: int) -> None:
        await asyncio.sleep(0)
        log.append(value)

    ws, _ = await opened()
    async with MessageFunction(returned if kind == "returned" else items).bound(ws, reply) as call:
        assert call is not None
        await call(7)
    assert log == [7]


@pytest.mark.parametrize("end", ["a reply fails", "a reply is cancelled", "an item fails"])
async def test_a_generator_is_closed_before_the_call_ends(end: str) -> None:
    async def fn(data: int) -> AsyncIterator[int]:
        try:
            yield data
            raise LookupError
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    def reply(_: int) -> Any:
        if end == "a reply fails":
            raise LookupError
        return asyncio.Event().wait() if end == "a reply is cancelled" else None

    ws, _ = await opened()
    async with MessageFunction(fn).bound(ws, reply) as call:
        assert call is not None
        work = asyncio.ensure_future(_awaited(call, 1))
        await turns()
        work.cancel()
        with contextlib.suppress(LookupError, asyncio.CancelledError):
            await soon(work)
    assert log == ["closed"]


async def never(data: Any) -> None:
    await asyncio.Event().wait()


async def _awaited(call: Call, data: Any) -> None:
    await call(data)


# --- what is given beside the message ---


async def test_what_the_request_gives_is_the_same_for_every_call() -> None:
    async def fn(
        data: int,
        ws: WebSocket,
        room: str,
        page: Annotated[int, Query()],
        state: State,
        agent: Annotated[str, Header()] = "none",
    ) -> list[Any]:
        assert ws.state is state
        state.count = getattr(state, "count", 0) + data
        return [ws.path, room, page, agent, state.count]

    async with connected(listening(fn, "/{room}"), "/den?page=3") as ws:
        answers = await exchange(ws, "1", "2")
    assert answers == ['["/den","den",3,"none",1]', '["/den","den",3,"none",3]']


async def test_arguments_by_position_are_given() -> None:
    async def fn(data: int, page: Annotated[int, Query()], /, *, room: str) -> list[Any]:
        return [data, page, room]

    async with connected(listening(fn, "/{room}"), "/den?page=3") as ws:
        assert await exchange(ws, "1") == ['[1,3,"den"]']


async def test_a_bad_request_is_told_everything_and_nothing_is_called() -> None:
    def deep(size: Annotated[int, Query()]) -> int:
        log.append("called")
        return size

    async def fn(
        data: int,
        page: Annotated[int, Query()],
        it: Annotated[int, Depends(deep, scope="message")],
        kept: ForConnection,
    ) -> None: ...

    refused = await rejection(listening(fn), "/?page=x")
    assert refused.status == 422
    assert {each["name"] for each in refused.json()["errors"]} == {"page", "size"}
    assert log == []


async def test_a_path_that_lacks_a_parameter_is_refused_at_registration() -> None:
    def deep(room: str) -> str:
        return room

    async def fn(
        data: int, it: Annotated[str, Depends(deep, scope="message")], table: int
    ) -> None: ...

    for path, missing in [("/", "room|table"), ("/{other}/{table}", "room"), ("/{room}", "table")]:
        with pytest.raises(TypeError, match=f"parameter '({missing})' is none of the path"):
            listening(fn, path)
    listening(fn, "/{room}/{table}")


# --- as long as the connection ---


async def test_a_dependency_of_the_connection_is_made_once_and_closed_at_the_end() -> None:
    async def fn(data: int, it: ForConnection) -> int:
        log.append(data)
        return data

    async with connected(listening(fn)) as ws:
        await exchange(ws, "1", "2")
        assert log == ["outer open", 1, 2]
    assert log == ["outer open", 1, 2, "outer closed by nothing"]


async def test_it_is_made_before_the_connection_is_accepted() -> None:
    async def user(ws: WebSocket) -> str:
        return ws.connection_state.name

    async def fn(data: int, it: Annotated[str, Depends(user)]) -> str:
        return it

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, "1") == ["CONNECTING"]


async def test_what_the_handshake_needs_is_released_at_accept() -> None:
    async def fn(data: int, it: Annotated[str, Depends(outer, scope="handshake")]) -> str:
        return it

    async with connected(listening(fn)) as ws:
        await until(lambda: log == ["outer open", "outer closed by nothing"])
        assert await exchange(ws, "1") == ["outer"]


async def test_one_that_rejects_is_the_end_and_nothing_is_called() -> None:
    async def guard(ws: WebSocket) -> None:
        await ws.reject(401)

    async def fn(data: int, it: Annotated[None, Depends(guard)], kept: ForConnection) -> None: ...

    assert (await rejection(listening(fn))).status == 401
    assert log == []


# --- as long as a message ---


async def test_a_dependency_of_a_message_is_opened_and_closed_for_each() -> None:
    async def fn(data: int, it: ForMessage) -> int:
        log.append(data)
        return data

    async with connected(listening(fn)) as ws:
        await exchange(ws, "1", "2")
    one = ["inner open", 1, "inner closed by nothing"]
    assert log == [*one, "inner open", 2, "inner closed by nothing"]


async def test_the_reply_goes_out_before_it_is_closed() -> None:
    async def fn(data: int, it: ForMessage) -> str:
        return it

    ws, _ = await opened()
    async with MessageFunction(fn).bound(ws, log.append) as call:
        assert call is not None
        await call(1)
    assert log == ["inner open", "inner", "inner closed by nothing"]


async def test_the_last_one_opened_is_closed_first_each_after_what_it_depends_on() -> None:
    async def nested(below: ForMessage, kept: ForConnection) -> AsyncIterator[str]:
        log.append("nested open")
        yield f"{below} {kept}"
        log.append("nested closed")

    async def fn(data: int, it: Annotated[str, Depends(nested, scope="message")]) -> str:
        return it

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, "1") == ["inner outer"]
        assert await exchange(ws, "2") == ["inner outer"]
        await until(lambda: len(log) == 9)
    of_one = ["inner open", "nested open", "nested closed", "inner closed by nothing"]
    assert log == ["outer open", *of_one, *of_one, "outer closed by nothing"]


async def test_a_dependency_of_a_message_sees_the_message() -> None:
    def doubled(data: Order) -> float:
        return data.price * 2

    def plus_one(data: Order, it: Annotated[float, Depends(doubled, scope="message")]) -> float:
        return it + 1

    async def fn(data: Order, it: Annotated[float, Depends(plus_one, scope="message")]) -> float:
        return it

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, '{"price": 2}', '{"price": 3}') == ["5.0", "7.0"]


async def test_two_in_one_call_share_and_two_calls_do_not() -> None:
    def counted() -> int:
        log.append("called")
        return len(log)

    Shared = Annotated[int, Depends(counted, scope="message")]
    Own = Annotated[int, Depends(counted, scope="message", use_cache=False)]

    async def fn(data: int, a: Shared, b: Shared, c: Own) -> list[int]:
        return [a, b, c]

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, "1", "2") == ["[1,1,2]", "[3,3,4]"]


async def test_the_scopes_of_one_function_are_not_mixed_up() -> None:
    async def fn(
        data: int,
        a: Annotated[str, Depends(outer)],
        b: Annotated[str, Depends(outer, scope="message")],
    ) -> None: ...

    async with connected(listening(fn)) as ws:
        await ws.send_text("1")
        await until(lambda: len(log) == 3)
    assert log == [
        "outer open",
        "outer open",
        "outer closed by nothing",
        "outer closed by nothing",
    ]


async def test_an_exception_goes_through_those_of_the_message_first() -> None:
    async def fn(data: int, a: ForConnection, b: ForMessage) -> None:
        raise LookupError(data)

    ws, _ = await opened()
    with pytest.raises(LookupError):
        async with MessageFunction(fn).bound(ws, log.append) as call:
            assert call is not None
            await call(1)
    assert log[2:] == ["inner closed by LookupError", "outer closed by LookupError"]


async def test_what_closing_makes_of_the_exception_comes_out() -> None:
    async def changing() -> AsyncIterator[None]:
        try:
            yield
        except LookupError:
            raise ValueError("changed") from None

    async def fn(
        data: int, a: ForMessage, b: Annotated[None, Depends(changing, scope="message")]
    ) -> None:
        raise LookupError

    with pytest.raises(ValueError, match="changed"):
        await calling(fn, 1)
    assert log == ["inner open", "inner closed by ValueError"]


async def test_swallowing_the_exception_does_not_make_it_go_away() -> None:
    def swallowing() -> Iterator[None]:
        with contextlib.suppress(LookupError):
            yield

    async def fn(data: int, it: Annotated[None, Depends(swallowing, scope="message")]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await calling(fn, 1)


async def test_one_that_fails_closes_those_before_it_and_the_function_is_not_called() -> None:
    def failing() -> None:
        raise LookupError

    async def fn(
        data: int, a: ForMessage, b: Annotated[None, Depends(failing, scope="message")]
    ) -> None:
        log.append("called")

    with pytest.raises(LookupError):
        await calling(fn, 1)
    assert log == ["inner open", "inner closed by LookupError"]


async def test_one_that_closes_the_connection_ends_it_without_a_call() -> None:
    async def closing(ws: WebSocket) -> None:
        await ws.close(4000)

    async def fn(
        data: int, a: ForMessage, b: Annotated[None, Depends(closing, scope="message")]
    ) -> None:
        log.append("called")

    async with connected(listening(fn)) as ws:
        await ws.send_text("1")
        await ws.expect_close(4000)
    assert log == ["inner open", "inner closed by nothing"]


async def test_a_generator_may_run_in_a_thread() -> None:
    def blocking(data: int) -> Iterator[int]:
        log.append(threading.get_ident())
        yield data * 2
        log.append(threading.get_ident())

    async def fn(
        data: int, it: Annotated[int, Depends(blocking, scope="message", thread=True)]
    ) -> int:
        return it

    replies, _ = await calling(fn, 1, 2)
    assert replies == [2, 4]
    assert len(log) == 4
    assert threading.get_ident() not in log


async def test_one_that_is_cancelled_is_closed_before_the_call_ends() -> None:
    async def fn(data: int, it: ForMessage) -> None:
        await asyncio.Event().wait()

    ws, _ = await opened()
    async with MessageFunction(fn).bound(ws, log.append) as call:
        assert call is not None
        work = asyncio.ensure_future(_awaited(call, 1))
        await turns()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(work)
    assert log == ["inner open", "inner closed by CancelledError"]


@pytest.mark.parametrize("kind", ["function", "generator"])
async def test_where_the_loop_is_gone_nothing_is_awaited(kind: str) -> None:
    async def function(data: int, it: ForMessage) -> None:
        await asyncio.Event().wait()

    async def generator(data: int, it: ForMessage) -> AsyncIterator[int]:
        yield data

    ws, _ = await opened()
    fn = function if kind == "function" else generator
    async with MessageFunction(fn).bound(ws, lambda _: _awaited(never, 1)) as call:
        assert call is not None
        work = _awaited(call, 1)
        work.send(None)
        work.close()
    assert log == ["inner open"]


# --- overrides ---


async def test_what_an_application_puts_in_place_is_called() -> None:
    def replaced(data: int) -> Iterator[str]:
        yield f"replaced for {data}"
        log.append("closed")

    async def fn(data: int, a: ForConnection, b: ForMessage) -> str:
        return f"{a}, {b}"

    app = listening(fn)
    app.dependency_overrides[inner] = replaced
    app.dependency_overrides[outer] = lambda: "other"
    async with connected(app) as ws:
        assert await exchange(ws, "1", "2") == ["other, replaced for 1", "other, replaced for 2"]
    assert log == ["closed", "closed"]


async def test_what_is_in_place_of_one_of_the_connection_sees_no_message() -> None:
    async def fn(data: int, a: ForConnection) -> str:
        return a

    app = listening(fn)
    app.dependency_overrides[outer] = lambda data: "never"
    refused = await rejection(app, raise_app_exceptions=False)
    assert refused.status == 500
