"""The state of one connection: what the first end was, and which error a late call gets."""

from __future__ import annotations

import asyncio
from enum import Enum, StrEnum
from typing import Any

import pytest

from peer import D, T
from telex import WebSocketDisconnect, WebSocketRuntimeError, WebSocketState
from telex._progress import Progress, kind_of, passing
from telex._state import Phase
from telex._types import CloseRecord, Message

CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
BY_CLIENT = CloseRecord(4001, "bye", "client")
BY_SERVER = CloseRecord(4000, "ours", "server")


def connected() -> Progress:
    progress = Progress()
    progress.came(CONNECT)
    progress.going(ACCEPT)
    progress.accepted()
    return progress


def test_a_connection_opens_when_its_accept_is_out() -> None:
    progress = Progress()
    assert (progress.state, progress.open, progress.over) == (
        WebSocketState.CONNECTING,
        False,
        False,
    )
    progress.came(CONNECT)
    progress.going(ACCEPT)
    assert not progress.open
    assert "not accepted" in str(progress.refuse("send"))
    progress.accepted()
    assert (progress.state, progress.open, progress.over) == (WebSocketState.CONNECTED, True, False)


def test_an_accept_that_the_server_refused_can_be_tried_again() -> None:
    progress = Progress()
    progress.came(CONNECT)
    progress.going(ACCEPT)
    progress.not_accepted()
    assert progress.application is Phase.CONNECTING
    progress.going(ACCEPT)
    progress.accepted()
    assert progress.open


def test_a_refused_accept_does_not_bring_a_closed_connection_back() -> None:
    progress = Progress()
    progress.going(ACCEPT)
    progress.going(CLOSE)
    progress.not_accepted()
    assert progress.application is Phase.DISCONNECTED
    progress.accepted()
    assert not progress.open


@pytest.mark.row("C12", "C14")
def test_after_our_close_every_call_is_our_mistake() -> None:
    progress = connected()
    progress.going(CLOSE)
    progress.end(BY_SERVER)
    assert (progress.state, progress.open) == (WebSocketState.DISCONNECTED, False)
    assert isinstance(progress.refuse("send"), WebSocketRuntimeError)
    error = progress.deliver(BY_CLIENT)
    assert isinstance(error, WebSocketRuntimeError)
    assert progress.record is BY_SERVER


@pytest.mark.row("C13", "C15")
def test_after_the_peers_end_every_call_is_a_disconnect() -> None:
    progress = connected()
    first = progress.deliver(BY_CLIENT)
    again = progress.deliver(CloseRecord(1006, "", "client"))
    for error in (first, again, progress.refuse("send"), progress.refuse("receive")):
        assert isinstance(error, WebSocketDisconnect)
        assert (error.code, error.reason) == (4001, "bye")
    assert progress.record is BY_CLIENT


def test_a_peer_that_leaves_during_a_denial_left_without_a_word() -> None:
    progress = Progress()
    progress.came(CONNECT)
    progress.going({"type": "websocket.http.response.start", "status": 403})
    progress.end(CloseRecord(1008, "", "server", 403))
    error = progress.deliver(BY_CLIENT)
    assert isinstance(error, WebSocketDisconnect)
    assert error.code == 1006
    assert isinstance(progress.refuse("send"), WebSocketDisconnect)


@pytest.mark.row("C3", "T41")
def test_the_first_end_counts() -> None:
    progress = connected()
    progress.end(BY_SERVER)
    progress.end(BY_CLIENT)
    assert progress.record is BY_SERVER


def test_being_told_of_the_end_does_not_keep_messages_from_being_read() -> None:
    progress = connected()
    progress.tell(BY_CLIENT)
    progress.tell(None)
    assert (progress.told, progress.open, progress.record) == (True, True, BY_CLIENT)
    assert progress.state is WebSocketState.CONNECTED


def test_a_cut_connection_is_over_without_a_close() -> None:
    progress = connected()
    progress.cut()
    assert (progress.over, progress.open) == (True, False)
    assert progress.record == CloseRecord(1006, "", "server")


def test_watchers_may_leave_while_they_are_called() -> None:
    progress = Progress()
    called: list[int] = []

    def first() -> None:
        called.append(1)
        progress.watchers.remove(first)

    progress.watchers += [first, lambda: called.append(2)]
    progress.notify()
    progress.notify(BY_CLIENT)
    assert called == [1, 2, 2]


class Plain(StrEnum):
    CONNECT = "websocket.connect"


class Mixed(str, Enum):  # noqa: UP042 - the older kind, whose str() is its name
    CONNECT = "websocket.connect"


@pytest.mark.parametrize("kind", ["websocket.connect", Plain.CONNECT, Mixed.CONNECT])
def test_a_type_may_be_any_kind_of_str(kind: str) -> None:
    assert type(kind_of({"type": kind})) is str
    progress = Progress()
    progress.came({"type": kind})
    assert progress.client is Phase.CONNECTED


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 7}, T("x"), ACCEPT])
def test_what_is_no_connect_is_not_taken_for_one(message: dict[str, Any]) -> None:
    progress = Progress()
    with pytest.raises(WebSocketRuntimeError, match=r"websocket\.connect"):
        progress.came(message)
    progress.came(D(1001))
    assert progress.peer_gone


async def test_what_is_being_passed_on_is_known_in_that_context_only() -> None:
    progress = Progress()

    async def inside() -> None:
        passing.set((progress, "websocket.send"))

    await asyncio.create_task(inside())
    assert passing.get() is None
