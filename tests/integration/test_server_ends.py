"""How connections end over real sockets, from both sides, on every server."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from integration import capabilities as table
from integration.app import GRACE
from integration.calls import Call, calling
from integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

Loss = Literal["RST", "FIN"]


def arriving_code(server: Server, code: int) -> int:
    """A code of the protocol, or its stand-in where the server takes none but 1000."""
    return code if table.OWN_CODES.on(server) == "all" else code + 3000


def arriving_reason(server: Server, reason: str) -> str:
    return reason if table.OWN_REASON.on(server) == table.YES else ""


async def assert_all_ended_once(call: Call) -> None:
    """The handler has ended and its cleanup has run, each once."""
    await call.noted("left")
    await call.noted("cleanup")
    assert (await call.count("left"), await call.count("cleanup")) == (1, 1)


# The server is first


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1000, "done"), (3000, "Grüße"), (4000, "x" * 123), (4999, "")],
    ids=["1000", "reason", "utf-8", "long", "4999"],
)
async def test_the_client_sees_code_and_reason_of_our_close(
    quiet_server: Server, code: int, reason: str
) -> None:
    async with calling(quiet_server, f"/close/{code}?reason={reason}") as call:
        assert await call.closed() == (code, arriving_reason(quiet_server, reason))
    left = await call.noted("left")
    assert (left["code"], left["reason"], left["closed_by"]) == (code, reason, "server")
    await assert_all_ended_once(call)


@pytest.mark.parametrize("code", [1001, 1003, 1008, 1013])
async def test_the_client_sees_the_codes_of_the_protocol(server: Server, code: int) -> None:
    async with calling(server, f"/close/{code}") as call, asyncio.timeout(1):
        assert await call.closed() == (arriving_code(server, code), "")
    await assert_all_ended_once(call)


@pytest.mark.row("C54", "T42")
async def test_a_handler_that_returns_while_open_closes_with_1000(quiet_server: Server) -> None:
    async with calling(quiet_server, "/return") as call:
        assert await call.closed() == (1000, "")
    await assert_all_ended_once(call)


@pytest.mark.row("C53", "T42", "T43")
async def test_a_handler_that_raises_closes_with_1011_and_tells_nothing(
    server: Server,
) -> None:
    async with calling(server, "/crash") as call, asyncio.timeout(1):
        await call.ws.send("now")
        assert await call.closed() == (arriving_code(server, 1011), "")
    assert (await call.noted("left"))["error"] == "RuntimeError"
    await assert_all_ended_once(call)
    assert server.new_output.count("RuntimeError: a secret") == 1


async def test_an_exception_can_choose_code_and_reason(quiet_server: Server) -> None:
    async with calling(quiet_server, "/raise-close") as call:
        assert await call.closed() == (4003, arriving_reason(quiet_server, "not for you"))
    await assert_all_ended_once(call)


@pytest.mark.row("T41")
async def test_our_own_code_is_the_one_that_is_reported(quiet_server: Server) -> None:
    """Servers tell of another one afterwards, or of none."""
    async with calling(quiet_server, "/close/4000?reason=srv") as call:
        await call.closed()
    left = await call.noted("left")
    assert (left["code"], left["reason"], left["closed_by"]) == (4000, "srv", "server")


# The client is first


@pytest.mark.parametrize("path", ["/park", "/echo"])
async def test_the_application_sees_the_clients_code_and_reason(
    quiet_server: Server, path: str
) -> None:
    async with calling(quiet_server, path) as call:
        await call.ws.close(4321, "bye")
    left = await call.noted("left")
    assert str(left["code"]) == table.CLIENT_CODE.on(quiet_server)
    given = table.CLIENT_REASON.on(quiet_server) == "as given"
    assert left["reason"] == ("bye" if given else "")
    assert left["closed_by"] == "client"
    assert left["error"] == ("WebSocketDisconnect" if path == "/park" else None)
    await assert_all_ended_once(call)


async def test_a_close_frame_without_a_code(quiet_server: Server) -> None:
    async with calling(quiet_server, "/park") as call:
        call.ws.transport.write(b"\x88\x80\0\0\0\0")
        await call.ws.wait_closed()
    left = await call.noted("left")
    assert str(left["code"]) == table.NO_CODE.on(quiet_server)
    assert (left["reason"], left["closed_by"]) == ("", "client")


@pytest.mark.row("V24")
async def test_the_client_leaving_inside_async_with_is_a_handshake_error(server: Server) -> None:
    async with calling(server, "/bare/wait-inside") as call:
        await call.ws.close(1001)
    left = await call.noted("left")
    assert left["error"] == "WebSocketDisconnect"
    assert "WebSocketHandshakeError" in left["kinds"]


# The client is gone without a word


@pytest.mark.parametrize("how", ["RST", "FIN"])
async def test_a_handler_that_waits_for_a_message_learns_of_the_loss(
    quiet_server: Server, how: Loss
) -> None:
    async with calling(quiet_server, "/park") as call:
        await call.noted("accepted")
        call.vanish(how)
    left = await call.noted("left")
    assert left["error"] == "WebSocketDisconnect"
    assert str(left["code"]) == table.LOST.on(quiet_server)
    assert left["closed_by"] == "client"
    await assert_all_ended_once(call)


@pytest.mark.parametrize("how", ["RST", "FIN", "close"])
async def test_a_handler_that_never_reads_is_cancelled_after_the_grace(
    quiet_server: Server, how: Loss | Literal["close"]
) -> None:
    async with calling(quiet_server, "/deaf") as call:
        await call.noted("accepted")
        began = asyncio.get_running_loop().time()
        if how == "close":
            await call.ws.close()
        else:
            call.vanish(how)
        left = await call.noted("left")
        assert asyncio.get_running_loop().time() - began > GRACE / 2
    assert left["error"] == "CancelledError"
    await assert_all_ended_once(call)


@pytest.mark.row("T14")
@pytest.mark.parametrize("how", ["RST", "FIN"])
async def test_a_handler_that_only_sends_ends_when_the_client_is_gone(
    quiet_server: Server, how: Loss
) -> None:
    async with calling(quiet_server, "/ticker") as call:
        await call.noted("accepted")
        assert await call.ws.recv() == "tick"
        call.vanish(how)
    left = await call.noted("left")
    if table.WRITER.on(quiet_server) == "cancelled after `disconnect_grace`":
        assert (left["error"], left["code"], left["closed_by"]) == ("CancelledError", None, None)
    else:
        assert (left["error"], left["closed_by"]) == ("WebSocketDisconnect", "client")
        # 1006 when a send found it first, else what the server says of a client that is lost.
        assert left["code"] in {1006, int(table.LOST.on(quiet_server))}
    await assert_all_ended_once(call)


@pytest.mark.row("T14")
async def test_how_a_server_refuses_a_send_is_never_the_handlers_concern(server: Server) -> None:
    # Daphne's exception is Autobahn's own, and the disconnect comes only a moment later; every
    # second attempt or so finds that moment.
    times = 20 if str(server) == "daphne" else 1

    async def hang_up_while_it_sends() -> str:
        async with calling(server, "/flood", close_timeout=0.5) as call:
            await call.ws.recv()
            await call.ws.close(4321)
        return str((await call.noted("left"))["error"])

    errors = await asyncio.gather(*[hang_up_while_it_sends() for _ in range(times)])
    assert {*errors} <= {"WebSocketDisconnect", "CancelledError"}


async def test_a_client_that_leaves_in_the_middle_of_a_message_is_gone(
    quiet_server: Server,
) -> None:
    async with calling(quiet_server, "/echo") as call:
        await call.ws.send("whole")
        assert await call.ws.recv() == "whole"
        # A masked text frame that promises 100 bytes and brings three.
        call.ws.transport.write(b"\x81\xe4\0\0\0\0abc")
        call.vanish("FIN")
    left = await call.noted("left")
    assert (left["error"], left["closed_by"]) == (None, "client")
    assert str(left["code"]) == table.LOST.on(quiet_server)
