"""What an exception means for the client of the connection it ends."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import WebSocketException as StarletteException
from starlette.websockets import WebSocketDisconnect as StarletteDisconnect

from opened import connecting, soon
from peer import D
from telex import Reject, WebSocketDisconnect, WebSocketException, WebSocketExpectError
from telex._endings import ending, essence

ENDINGS = [
    (WebSocketException(4001, "why"), (4001, "why")),
    (StarletteException(4002, "why"), (4002, "why")),
    (WebSocketException(1006), (1011, "")),
    (WebSocketExpectError("no number"), (1008, "")),
    (Reject(401), (1008, "")),
    (WebSocketDisconnect(1001), (1000, "")),
    (KeyError("secret"), (1011, "")),
]

OF_THIS_CONNECTION = [each for each in ENDINGS if not isinstance(each[0], WebSocketDisconnect)]


def name(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else ""


@pytest.mark.parametrize(("exc", "expected"), ENDINGS, ids=name)
def test_an_exception_tells_the_client_no_more_than_it_should(
    exc: Exception, expected: tuple[int, str]
) -> None:
    assert ending(exc) == expected


@pytest.mark.parametrize(("exc", "expected"), ENDINGS, ids=name)
def test_a_group_of_one_means_what_is_in_it(exc: Exception, expected: tuple[int, str]) -> None:
    assert ending(ExceptionGroup("", [ExceptionGroup("", [exc])])) == expected
    assert essence(ExceptionGroup("", [exc])) is exc


def test_a_group_of_two_is_an_error() -> None:
    group = ExceptionGroup("", [KeyError(), WebSocketException(4001)])
    assert essence(group) is group
    assert ending(group) == (1011, "")


def test_that_the_peer_left_does_not_count_beside_another_exception() -> None:
    meant = WebSocketException(4001)
    group = ExceptionGroup("", [WebSocketDisconnect(), meant, StarletteDisconnect()])
    assert essence(group) is meant


def test_leaving_once_is_leaving_twice() -> None:
    gone = WebSocketDisconnect(1001)
    assert essence(ExceptionGroup("", [gone, WebSocketDisconnect(1001)])) is gone


@pytest.mark.parametrize(("exc", "expected"), OF_THIS_CONNECTION, ids=name)
async def test_the_tasks_of_a_connection_do_not_hide_what_is_meant(
    exc: Exception, expected: tuple[int, str]
) -> None:
    ws, peer = connecting()
    with pytest.raises(Exception) as caught:
        async with ws, ws.tasks() as tasks:
            _ = tasks.start(failing(exc))
            await asyncio.Event().wait()
    assert essence(caught.value) is exc
    assert peer.closes == [expected]


async def failing(exc: Exception) -> None:
    await asyncio.sleep(0)
    raise exc


async def test_after_the_peer_left_nothing_is_sent() -> None:
    ws, peer = connecting(D(1001))
    with pytest.raises(WebSocketException):
        async with ws:
            await soon(ws.wait_closed())
            raise WebSocketException(4001)
    assert peer.closes == []
