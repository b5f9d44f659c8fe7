"""Messages over real sockets: the same scenarios on every server, with two clients."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from integration import capabilities as table
from integration.calls import DEADLINE, Call, calling
from integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

MESSAGES: list[str | bytes] = ["hi", "Grüße, 世界 🎉", "a\nb\0c", b"\x00\xff\xfe", b"hi", " "]


@pytest.mark.row("V21")
async def test_text_and_binary_messages_come_back_as_they_went(quiet_server: Server) -> None:
    async with calling(quiet_server, "/echo") as call:
        assert call.ws.response is not None
        assert call.ws.response.status_code == 101
        for message in MESSAGES:
            await call.ws.send(message)
            assert await call.ws.recv() == message


async def test_empty_messages_arrive_and_are_sent_where_the_server_can(
    quiet_server: Server,
) -> None:
    async with calling(quiet_server, "/echo") as call:
        for message in ("", b"", "end"):
            await call.ws.send(message)
        answers = [await call.ws.recv()]
        while answers[-1] != "end":
            answers.append(await call.ws.recv())
        await call.ws.close()
    sent = table.EMPTY.on(quiet_server) == table.YES
    assert answers == (["", b"", "end"] if sent else ["end"])


async def test_a_message_in_fragments_is_one_message(quiet_server: Server) -> None:
    async with calling(quiet_server, "/echo") as call:
        await call.ws.send(["frag", "men", "ted"])
        assert await call.ws.recv() == "fragmented"


async def test_messages_of_megabytes_pass_both_ways(quiet_server: Server) -> None:
    text, data = "ä" * 500_000, bytes(range(256)) * 4_000
    async with calling(quiet_server, "/echo") as call:
        for message in (text, data):
            await call.ws.send(message)
            assert await call.ws.recv() == message


async def test_a_message_of_five_megabytes(quiet_server: Server) -> None:
    text = "x" * (5 * 1024 * 1024)
    async with calling(quiet_server, "/echo") as call:
        if table.BIG.on(quiet_server) == "passes":
            await call.ws.send(text)
            assert await call.ws.recv() == text
        else:
            with pytest.raises(ConnectionClosedError) as closed:
                await call.ws.send(text)
                await call.ws.recv()
            assert closed.value.rcvd is None


async def test_two_hundred_messages_at_once_come_back_in_order(quiet_server: Server) -> None:
    messages = [str(number) if number % 3 else b"%d" % number for number in range(200)]
    async with calling(quiet_server, "/echo") as call:

        async def send_all() -> None:
            for message in messages:
                await call.ws.send(message)

        sending = asyncio.ensure_future(send_all())
        assert [await call.ws.recv() for _ in messages] == messages
        await sending


async def test_what_was_sent_before_the_close_arrives_before_it(quiet_server: Server) -> None:
    async with calling(quiet_server, "/pour?count=2000") as call:
        received = []
        with pytest.raises(ConnectionClosedOK) as closed:
            while True:
                received.append(await call.ws.recv())
    assert received == [str(number) for number in range(2000)]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


async def test_compression_is_agreed_on_where_the_server_can(quiet_server: Server) -> None:
    async with calling(quiet_server, "/echo") as call:
        assert call.ws.response is not None
        extensions = call.ws.response.headers.get("Sec-WebSocket-Extensions", "")
        await call.ws.send("a" * 10_000)
        assert await call.ws.recv() == "a" * 10_000
    agreed = "permessage-deflate" in extensions
    assert agreed == (table.COMPRESSION.on(quiet_server) == table.YES)


@pytest.mark.row("K7")
async def test_the_function_handler_of_the_kui_page(quiet_server: Server) -> None:
    async with calling(quiet_server, "/json") as call:
        for value in ({"a": 1}, [1, None], "ü", 2.5, None):
            await call.ws.send(json.dumps(value))
            assert json.loads(await call.ws.recv()) == {"echo": value}
        await call.ws.close()
    assert (await call.noted("left"))["error"] is None


@pytest.mark.row("K17")
async def test_the_class_view_of_the_kui_page(quiet_server: Server) -> None:
    async with calling(quiet_server, "/view") as call:
        await call.ws.send('{"a": 1}')
        assert json.loads(await call.ws.recv()) == {"echo": {"a": 1}}
        await call.ws.close(4321)
    await call.noted("cleanup")
    code = (await call.noted("on_disconnect"))["code"]
    assert str(code) == table.CLIENT_CODE.on(quiet_server)
    assert await call.count("on_disconnect") == 1


@pytest.mark.row("L7")
async def test_the_first_example_of_the_lilya_page(quiet_server: Server) -> None:
    async with calling(quiet_server, "/bare/hello") as call:
        message = await call.ws.recv(decode=False)
        assert isinstance(message, bytes)
        assert json.loads(message) == {"message": "Hello, world!"}
        assert await call.closed() == (1000, "")
    assert (await call.noted("left"))["error"] is None


@pytest.mark.row("L42", "T40")
async def test_close_after_iterating_to_the_end_does_nothing(quiet_server: Server) -> None:
    async with calling(quiet_server, "/bare/iterate") as call:
        await call.ws.send("1")
        assert await call.ws.recv() == b'{"message":"Message text was: 1"}'
        await call.ws.close()
    assert await call.noted("left") == {"what": "left", "error": None}


@pytest.mark.row("G12")
async def test_the_example_of_the_genro_page(quiet_server: Server) -> None:
    async with calling(quiet_server, "/bare/answer") as call:
        await call.ws.send("hi")
        assert await call.ws.recv() == "Echo: hi"
        assert await call.closed() == (1000, "")
    assert await call.noted("left") == {"what": "left", "error": None}


# The other client, whose ideas of the protocol are its own.


async def test_aiohttp_talks_and_closes(quiet_server: Server) -> None:
    call = Call(quiet_server, "/echo")
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as session:
        async with session.ws_connect(call.url, compress=15) as ws:
            await ws.send_str("hi")
            assert await ws.receive_str() == "hi"
            await ws.send_bytes(b"\x00")
            assert await ws.receive_bytes() == b"\x00"
            await ws.ping()
            assert await ws.close(code=4321, message=b"bye")
        left = await call.noted("left")
    assert str(left["code"]) == table.CLIENT_CODE.on(quiet_server)
    assert left["closed_by"] == "client"


async def test_aiohttp_sees_the_servers_close_code(quiet_server: Server) -> None:
    call = Call(quiet_server, "/close/4000?reason=enough")
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as session:
        async with session.ws_connect(call.url) as ws:
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == 4000
            reason = "enough" if table.OWN_REASON.on(quiet_server) == table.YES else ""
            assert (message.extra or "") == reason
        assert ws.close_code == 4000


async def test_aiohttp_sees_the_status_of_a_denial(quiet_server: Server) -> None:
    call = Call(quiet_server, "/reject/body")
    expected = 403 if "403" in table.DENIAL.on(quiet_server) else 401
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as denied:
            await session.ws_connect(call.url)
        assert denied.value.status == expected
