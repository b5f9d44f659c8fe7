"""Views with methods for the types of messages: what lives how long, and who is called when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from clients import connected, rejection
from depending import serving
from opened import until
from peer import DEADLINE, D, Peer, T, make_scope, serve
from telex import Depends, Query, Reject, SocketView, WebSocket, on, websocket
from telex.testing import AsyncTestClient

log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def book() -> AsyncIterator[str]:
    log.append("open book")
    try:
        yield "book"
    finally:
        log.append("close book")


async def page(book: Annotated[str, Depends(book)]) -> AsyncIterator[str]:
    log.append("open page")
    try:
        yield f"page of {book}"
    finally:
        log.append("close page")


async def line(data: Any, page: Annotated[str, Depends(page)]) -> AsyncIterator[str]:
    log.append(f"open line {data['n']}")
    try:
        yield f"line {data['n']} of {page}"
    finally:
        log.append(f"close line {data['n']}")


class Reader(SocketView):
    async def on_connect(self) -> None:
        log.append("connect")
        await super().on_connect()

    async def on_disconnect(self, close_code: int) -> None:
        log.append(f"disconnect {close_code}")

    @on("line", "row")
    async def line(self, data: Any, line: Annotated[str, Depends(line, scope="message")]) -> str:
        log.append("call")
        return line

    @on("page")
    async def page(self, data: Any, page: Annotated[str, Depends(page)]) -> str:
        return page


async def test_dependencies_of_methods_live_as_long_as_the_connection_or_the_message() -> None:
    async with connected(serving(Reader)) as ws:
        for text in ('{"type":"line","n":1}', '{"type":"page"}', '{"type":"row","n":2}'):
            await ws.send_text(text)
        assert await ws.receive_text() == "line 1 of page of book"
        assert await ws.receive_text() == "page of book"
        assert await ws.receive_text() == "line 2 of page of book"
        await ws.close(1001)
    message = ["open line {0}", "call", "close line {0}"]
    assert log == [
        "open book",
        "open page",
        "connect",
        *(each.format(1) for each in message),
        *(each.format(2) for each in message),
        "disconnect 1001",
        "close page",
        "close book",
    ]


async def test_what_a_message_opened_is_closed_behind_a_method_that_fails() -> None:
    class Failing(Reader):
        async def line(
            self, data: Any, line: Annotated[str, Depends(line, scope="message")]
        ) -> str:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async with connected(serving(Failing)) as ws:
            await ws.send_text('{"type":"line","n":1}')
            await ws.expect_close(1011)
    ending = ["close line 1", "disconnect 1011", "close page", "close book"]
    assert log[2:] == ["connect", "open line 1", *ending]


@pytest.mark.parametrize("how", ["reject", "raise", "close"])
async def test_a_dependency_of_a_method_may_refuse_before_the_view_connects(how: str) -> None:
    async def guard(ws: WebSocket) -> None:
        if how == "raise":
            raise Reject(401)
        await (ws.reject(401) if how == "reject" else ws.close())

    class Guarded(Reader):
        @on("more")
        async def more(self, data: Any, ok: None) -> None: ...

    Guarded.more.__annotations__["ok"] = Annotated[None, Depends(guard)]
    view = type("Guarded", (Guarded,), {})
    refused = await rejection(serving(view))
    assert refused.status == (403 if how == "close" else 401)
    assert log == ["open book", "open page", "close page", "close book"]


async def test_a_request_that_does_not_fit_a_method_is_told_before_anything_is_called() -> None:
    class Paged(SocketView):
        @on("page")
        async def page(self, data: Any, number: Annotated[int, Query()]) -> int:
            return number

        async def on_disconnect(self, close_code: int) -> None:
            log.append("disconnect")

    assert (await rejection(serving(Paged), "/?number=x")).status == 422
    assert log == []


@pytest.mark.parametrize("denial", [True, False])
async def test_a_view_with_methods_that_rejects_reads_no_message(denial: bool) -> None:
    class Closed(Reader):
        async def on_connect(self) -> None:
            await self.websocket.close(4000)

    class Rejected(Reader):
        async def on_connect(self) -> None:
            raise Reject(401)

    for view, code in ((Closed, 4000), (Rejected, 1008)):
        log.clear()
        scope = make_scope(denial=denial)
        peer = await serve(serving(view), T('{"type":"page"}'), D(1001), scope=scope)
        assert peer.reads == 0
        assert log == ["open book", "open page", f"disconnect {code}", "close page", "close book"]


async def test_a_view_may_say_something_before_the_first_message() -> None:
    class Greeting(Reader):
        async def on_connect(self) -> None:
            await super().on_connect()
            await self.websocket.send_text("hello")
            assert await self.websocket.receive_text() == "hello yourself"

    async with connected(serving(Greeting)) as ws:
        assert await ws.receive_text() == "hello"
        await ws.send_text("hello yourself")
        await ws.send_text('{"type":"page"}')
        assert await ws.receive_text() == "page of book"


async def test_a_policy_may_be_chosen_for_one_connection() -> None:
    class Choosing(Reader):
        async def on_connect(self) -> None:
            await super().on_connect()
            vars(self)["on_invalid"] = self.websocket.query_params["policy"]

    for policy, types in (("reply", ["accept", "send"]), ("close", ["accept", "close"])):
        scope = make_scope(query_string=f"policy={policy}".encode("ascii"))
        peer = await serve(serving(Choosing), T("[]"), D(1001), scope=scope)
        assert peer.types == types


async def test_methods_share_the_instance_of_their_connection() -> None:
    class Counter(SocketView):
        def __init__(self) -> None:
            self.count = 0

        @on("more")
        async def more(self, data: Any) -> None:
            self.count += 1

        @on("count")
        async def told(self, data: Any) -> int:
            assert websocket == self.websocket
            return self.count

    async def count_to(number: int) -> None:
        async with client.websocket("/") as ws:
            for _ in range(number):
                await ws.send_text('{"type":"more"}')
            await ws.send_text('{"type":"count"}')
            assert await ws.receive_json() == number

    async with AsyncTestClient(serving(Counter)) as client:
        await asyncio.gather(count_to(3), count_to(1))


async def test_a_view_that_is_stopped_within_a_method_closes_what_the_method_needs() -> None:
    class Busy(Reader):
        @on("busy")
        async def busy(self, data: Any) -> None:
            log.append("busy")
            await asyncio.Event().wait()

    peer = Peer(T('{"type":"busy"}'))
    task = asyncio.ensure_future(peer.run(serving(Busy)))
    await until(lambda: "busy" in log)
    task.cancel()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert log[2:] == ["connect", "busy", "disconnect 1006", "close page", "close book"]
    assert peer.closes == [(1012, "")]
