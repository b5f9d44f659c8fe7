from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import pytest

from clients import connected
from telex.compat.kui.asgi import Body, Depends, Kui, SocketRoute, websocket

log: list[str] = []


def word() -> Iterator[str]:
    log.append("word opened")
    yield "word"
    log.append("word closed")


async def phrase(word: Annotated[str, Depends(word)]) -> AsyncIterator[str]:
    log.append("phrase opened")
    yield f"a {word}"
    log.append("phrase closed")


@pytest.mark.row("KX14")
async def test_generators_are_closed_after_the_handler() -> None:
    log.clear()
    app = Kui()

    @app.router.websocket("/")
    async def handler(phrase: Annotated[str, Depends(phrase)]) -> None:
        await websocket.accept()
        log.append(f"handler with {phrase}")

    async with connected(app) as ws:
        await ws.expect_close(1000)
    assert log == [
        *("word opened", "phrase opened", "handler with a word"),
        *("phrase closed", "word closed"),
    ]


calls: list[None] = []


async def counted() -> int:
    calls.append(None)
    return len(calls)


async def shared(
    one: Annotated[int, Depends(counted)], two: Annotated[int, Depends(counted, cache=True)]
) -> None:
    await websocket.accept()
    await websocket.send_json([one, two])


async def fresh(
    one: Annotated[int, Depends(counted, cache=False)],
    two: Annotated[int, Depends(counted, cache=False)],
) -> None:
    await websocket.accept()
    await websocket.send_json([one, two])


@pytest.mark.row("KX14")
@pytest.mark.parametrize(("handler", "numbers"), [(shared, [1, 1]), (fresh, [1, 2])])
async def test_a_dependency_is_called_once_for_a_connection_unless_it_is_not_cached(
    handler: object, numbers: list[int]
) -> None:
    calls.clear()
    app = Kui()
    app.router.websocket("/")(handler)  # type: ignore[type-var]
    async with connected(app) as ws:
        assert await ws.receive_json() == numbers


async def with_body(name: Annotated[str, Body()]) -> None: ...


def depends_on_body(name: Annotated[str, Body("x", alias="n")]) -> None: ...


async def indirectly(name: Annotated[None, Depends(depends_on_body)]) -> None: ...


@pytest.mark.row("KX15")
@pytest.mark.parametrize("handler", [with_body, indirectly])
def test_a_body_is_refused_when_the_handler_is_registered(handler: object) -> None:
    with pytest.raises(TypeError, match=r"parameter 'name': .* handshake has no body"):
        SocketRoute("/", handler)  # type: ignore[arg-type]


def test_what_cannot_be_called_is_no_dependency() -> None:
    with pytest.raises(TypeError, match="takes something to call"):
        Depends("get_db")  # type: ignore[arg-type]
