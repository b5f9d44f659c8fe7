"""How long dependencies live."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any

import pytest

from clients import connected, ending, rejection
from depending import serving
from telex import Depends, Reject, WebSocket, websocket
from telex.lifecycle import Endpoint

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def resource() -> Iterator[list[str]]:
    log.append("open")
    yield ["mine"]
    log.append("close")


Resource = Annotated[list[str], Depends(resource)]
ForHandshake = Annotated[list[str], Depends(resource, scope="handshake")]


def plain() -> int:
    return 1


def depending(it: Annotated[int, Depends(plain)]) -> int:
    return it


async def test_what_a_handshake_needs_is_released_right_after_accept() -> None:
    async def session() -> AsyncIterator[str]:
        log.append("open")
        yield "session"
        log.append("close")

    async def handler(
        ws: WebSocket, it: Annotated[str, Depends(session, scope="handshake")]
    ) -> None:
        log.append("handler")
        await ws.accept()
        log.append("accepted")
        await ws.receive_text()
        log.append("message")

    async with connected(serving(handler)) as ws:
        await ws.send_text("x")
        await ws.expect_close(1000)
    assert log == ["open", "handler", "close", "accepted", "message"]


async def test_the_scopes_of_one_function_are_not_mixed_up() -> None:
    async def handler(
        ws: WebSocket,
        a: ForHandshake,
        b: Resource,
    ) -> None:
        assert a is not b
        await ws.accept()
        log.append("accepted")

    await ending(serving(handler))
    assert log == ["open", "open", "close", "accepted", "close"]


@pytest.mark.parametrize("end", ["reject", "raise", "return"])
async def test_without_an_accept_it_is_released_at_the_end(end: str) -> None:
    def session() -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            log.append(type(exc).__name__)
            raise
        finally:
            log.append("close")

    async def handler(
        ws: WebSocket, it: Annotated[None, Depends(session, scope="handshake")]
    ) -> None:
        if end == "reject":
            await ws.reject(401)
        elif end == "raise":
            raise Reject(401)
        log.append("handled")

    assert (await rejection(serving(handler))).status == (403 if end == "return" else 401)
    assert log == (["Reject", "close"] if end == "raise" else ["handled", "close"])


async def test_where_the_accept_is_past_it_is_released_before_the_handler_is_called() -> None:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            await websocket.accept()
            await endpoint()

        return wrapper

    async def handler(ws: WebSocket, it: ForHandshake) -> None:
        log.append("handled")

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["open", "close", "handled"]


async def test_a_middleware_that_accepts_after_it_was_opened_releases_it() -> None:
    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(ws: WebSocket, it: ForHandshake) -> None:
            await ws.accept()
            log.append("accepted")
            await endpoint()

        return wrapper

    async def handler(ws: WebSocket, it: ForHandshake) -> None:
        log.append("a new one")

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["open", "close", "accepted", "open", "close", "a new one"]


async def test_those_further_in_are_released_before_those_they_depend_on() -> None:
    async def inner(
        it: ForHandshake,
    ) -> AsyncIterator[None]:
        yield
        log.append("inner close")

    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(
            it: ForHandshake,
        ) -> None:
            await endpoint()

        return wrapper

    async def handler(
        ws: WebSocket, it: Annotated[None, Depends(inner, scope="handshake")]
    ) -> None:
        await ws.accept()

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["open", "inner close", "close"]


async def test_what_releasing_raises_comes_out_of_accept() -> None:
    def session() -> Iterator[None]:
        yield
        raise ValueError("commit failed")

    async def handler(
        ws: WebSocket,
        a: ForHandshake,
        b: Annotated[None, Depends(session, scope="handshake")],
    ) -> None:
        with pytest.raises(ValueError, match="commit failed"):
            await ws.accept()
        log.append("told")
        await ws.send_text("still here")

    async with connected(serving(handler)) as ws:
        assert await ws.receive_text() == "still here"
    assert log == ["open", "told"]


def forbidden(it: ForHandshake) -> None: ...


def test_a_dependency_may_not_outlive_what_it_depends_on() -> None:
    async def handler(it: Annotated[None, Depends(forbidden)]) -> None: ...

    with pytest.raises(TypeError, match="outlives"):
        serving(handler)


def test_a_dependency_may_live_shorter_than_what_it_depends_on() -> None:
    async def handler(it: Annotated[None, Depends(depending, scope="handshake")]) -> None: ...

    serving(handler)


def test_dependencies_for_each_message_are_for_listeners() -> None:
    async def handler(it: Annotated[None, Depends(plain, scope="message")]) -> None: ...

    with pytest.raises(TypeError, match="message"):
        serving(handler)
