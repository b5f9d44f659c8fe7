"""Class views: one method for each thing that happens on a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest

from opened import soon, turns
from peer import DEADLINE, B, D, Peer, T, make_scope, serve
from telex import (
    App,
    Query,
    Reject,
    SocketRoute,
    SocketView,
    WebSocket,
    WebSocketDisconnect,
    websocket,
)
from telex.context import current
from telex.lifecycle import connection_app
from telex.testing import AsyncTestClient, AsyncTestSession, ConnectionRejected
from telex.views import view_endpoint

Calls = list[tuple[Any, ...]]


def recording(encoding: str = "anystr") -> tuple[type[SocketView], Calls]:
    """Return a view that writes down every call of its hooks."""
    calls: Calls = []

    class View(SocketView):
        async def on_connect(self) -> None:
            calls.append(("connect",))
            await super().on_connect()

        async def on_receive(self, *data: Any) -> None:
            calls.append(("receive", *data))

        async def on_disconnect(self, *close_code: int) -> None:
            calls.append(("disconnect", *close_code))

    return type("Encoded", (View,), {"encoding": encoding}), calls


async def run(view: type[SocketView], *script: Any, **scope: Any) -> Peer:
    """Serve one connection with a view, by a server that has all its messages at once."""
    return await serve(connection_app(view_endpoint(view)), *script, scope=make_scope(**scope))


@asynccontextmanager
async def connected(
    view: type[SocketView], url: str = "/", **options: Any
) -> AsyncIterator[AsyncTestSession]:
    """Connect to a view; leaving waits until it has ended."""
    app = connection_app(view_endpoint(view))
    async with AsyncTestClient(app) as client, client.websocket(url, **options) as ws:
        yield ws


async def received(encoding: str, *events: Any) -> list[Any]:
    """Return what `on_receive` was called with."""
    view, calls = recording(encoding)
    async with connected(view) as ws:
        for event in events:
            await ws.send(event)
    return [call[1] for call in calls if call[0] == "receive"]


# The examples of the documents


@pytest.mark.row("K17", "Z8", "K11", "K12", "Z7")
@pytest.mark.parametrize("encoding_comment", ['# "text" | "bytes"', "# 编码: 文本"])
async def test_the_chat_view_of_the_document_runs(
    encoding_comment: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = f"""
from telex import SocketView, websocket

@app.router.websocket("/chat")
class ChatView(SocketView):
    encoding = "json"  {encoding_comment}

    async def on_connect(self):
        await websocket.accept()

    async def on_receive(self, data):
        await websocket.send_json({{"echo": data}})

    async def on_disconnect(self, close_code: int):
        pass
"""
    app = App()
    exec(source, {"app": app, "__name__": "document"})
    async with AsyncTestClient(app) as client, client.websocket("/chat") as ws:
        for sent, answer in [('{"a":1}', '{"echo":{"a":1}}'), ('"日本"', '{"echo":"日本"}')]:
            await ws.send_text(sent)
            assert await ws.receive_text() == answer
        await ws.close(4001)
    assert caplog.messages == []


@pytest.mark.row("K49")
async def test_the_authenticated_view_of_the_document_runs() -> None:
    """Its unused imports are those of the dialect; the class is the one of the document."""
    app = App()

    @app.router.websocket("/ws")
    class AuthenticatedWS(SocketView):
        encoding = "json"

        async def on_connect(self) -> None:
            await websocket.accept()

        async def on_receive(self, data: Any) -> None:
            await websocket.send_json(data)

    async with AsyncTestClient(app) as client, client.websocket("/ws") as ws:
        for text in ("[1,null]", "false"):
            await ws.send_text(text)
            assert await ws.receive_text() == text


@pytest.mark.row("K51")
async def test_a_view_reads_the_query_when_it_connects() -> None:
    tokens: list[str] = []

    class View(SocketView):
        async def on_connect(self) -> None:
            tokens.append(websocket.query_params["token"])
            tokens.append(self.websocket.query_params["token"])
            await super().on_connect()

    async with connected(View, "/?token=a%20b&x=1"):
        assert tokens == ["a b", "a b"]


@pytest.mark.row("K12", "Z7")
async def test_the_decorator_takes_a_class_and_returns_it() -> None:
    app = App()
    view, calls = recording()
    assert app.router.websocket("/chat")(view) is view
    async with AsyncTestClient(app) as client:
        async with client.websocket("/chat") as ws:
            await ws.close(1001)
        assert calls == [("connect",), ("disconnect", 1001)]
        with pytest.raises(ConnectionRejected, match="404"):
            async with client.websocket("/other"):
                pass
    assert len(calls) == 2


# The order of the hooks


@pytest.mark.row("K14", "K15", "K16", "K19", "Z9", "Z10", "Z11")
async def test_hooks_are_called_in_order_with_what_they_are_for() -> None:
    view, calls = recording("text")
    async with connected(view) as ws:
        for text in ("a", "b", "c"):
            await ws.send_text(text)
        await ws.close(1001)
    assert calls == [
        ("connect",),
        ("receive", "a"),
        ("receive", "b"),
        ("receive", "c"),
        ("disconnect", 1001),
    ]
    assert type(calls[-1][1]) is int


@pytest.mark.row("K18", "K14", "Z9")
async def test_on_connect_is_the_place_to_accept() -> None:
    sent: list[list[str]] = []

    class View(SocketView):
        async def on_connect(self) -> None:
            sent.append(peer.types)
            await self.websocket.accept()
            sent.append(peer.types)

    peer = Peer(D())
    await peer.run(connection_app(view_endpoint(View)))
    assert sent == [[], ["accept"]]


@pytest.mark.row("K15", "K19", "Z10")
async def test_messages_are_handled_one_after_the_other() -> None:
    running = 0

    class View(SocketView):
        async def on_receive(self, data: Any) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await turns(3)
            running -= 1
            await self.websocket.send_text(f"done with {data!r}")

    async with connected(View) as ws:
        for data in ("a", "b", b"c"):
            await ws.send_value(data)
        for data in ("a", "b", b"c"):
            assert await ws.receive_text() == f"done with {data!r}"


@pytest.mark.row("C49", "K20", "Z11")
@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 4001])
async def test_on_disconnect_gets_the_clients_code(code: int) -> None:
    view, calls = recording()
    async with connected(view) as ws:
        await ws.send(D(code))
    assert calls[-1] == ("disconnect", code)


@pytest.mark.row("C49", "K20", "Z11")
async def test_on_disconnect_gets_our_own_code() -> None:
    view, calls = recording()

    class Closing(view):  # type: ignore[misc, valid-type]
        async def on_receive(self, *data: Any) -> None:
            await self.websocket.close(4002)

    peer = await run(Closing, T("a"), T("unread"), D(1005))
    assert calls == [("connect",), ("disconnect", 4002)]
    assert peer.closes == [(4002, "")]


@pytest.mark.row("C49", "T45")
async def test_an_exception_in_on_connect_is_told_to_on_disconnect() -> None:
    view, calls = recording()

    class Failing(view):  # type: ignore[misc, valid-type]
        async def on_connect(self) -> None:
            raise ValueError("broken")

    peer = await run(Failing, T("unread"))
    assert calls == [("disconnect", 1011)]
    assert peer.closes == [(1011, "")]


@pytest.mark.row("T45")
async def test_an_exception_in_on_disconnect_is_logged_beside_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(SocketView):
        async def on_receive(self, data: Any) -> None:
            raise ValueError("first")

        async def on_disconnect(self, close_code: int) -> None:
            raise LookupError("second")

    async with connected(Failing, raise_app_exceptions=False) as ws:
        await ws.send_text("a")
        await ws.expect_close(1011)
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(error) for error in logged] == ["first", "second"]
    assert logged[1] is not None
    assert logged[1].__context__ is logged[0]


@pytest.mark.row("C49")
async def test_a_view_that_cannot_be_made_is_not_told_of_the_end() -> None:
    told: list[int] = []

    class Broken(SocketView):
        def __init__(self) -> None:
            raise ValueError("broken")

        async def on_disconnect(self, close_code: int) -> None:
            told.append(close_code)

    with pytest.raises(ConnectionRejected, match="500"):
        async with connected(Broken, raise_app_exceptions=False):
            pass
    assert told == []


@pytest.mark.row("T44", "C49")
async def test_a_view_that_is_stopped_is_told_1006() -> None:
    view, calls = recording()
    reading = asyncio.Event()

    class Busy(view):  # type: ignore[misc, valid-type]
        async def on_receive(self, *data: Any) -> None:
            reading.set()
            await asyncio.Event().wait()

    peer = Peer(T("a"))
    task = asyncio.ensure_future(peer.run(connection_app(view_endpoint(Busy))))
    await soon(reading.wait())
    task.cancel()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert calls == [("connect",), ("disconnect", 1006)]
    assert peer.closes == [(1012, "")]


# Not accepted


@pytest.mark.row("T46", "C49")
@pytest.mark.parametrize("denial", [True, False])
async def test_a_view_that_rejects_reads_no_message(
    denial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    view, calls = recording()

    class Closed(view):  # type: ignore[misc, valid-type]
        async def on_connect(self) -> None:
            calls.append(("connect",))
            await self.websocket.close(4000)

    class Rejected(Closed):
        async def on_connect(self) -> None:
            await self.websocket.reject(401)

    class Raising(Closed):
        async def on_connect(self) -> None:
            raise Reject(401)

    for each, code in ((Closed, 4000), (Rejected, 1008), (Raising, 1008)):
        calls.clear()
        peer = await run(each, T("unread"), D(1001), denial=denial)
        assert peer.reads == 0
        assert calls[-1] == ("disconnect", code)
        assert ("receive", "unread") not in calls
    assert caplog.messages == []


@pytest.mark.row("T46", "C55")
async def test_a_view_that_forgets_to_accept_is_named_in_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Forgetful(SocketView):
        async def on_connect(self) -> None: ...

    with pytest.raises(ConnectionRejected, match="403"):
        async with connected(Forgetful):
            pass
    [warning] = caplog.messages
    assert "returned without accepting" in warning


@pytest.mark.row("T46", "C57")
async def test_a_client_that_gives_up_before_the_accept_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    view, calls = recording()
    peer = Peer(D(1001), connect=False)
    await peer.run(connection_app(view_endpoint(view)))
    assert peer.sent == []
    assert calls == [("connect",), ("disconnect", 1001)]
    assert caplog.messages == []


# Encodings


@pytest.mark.row("K21", "Z12", "KX10")
async def test_anystr_takes_both_kinds() -> None:
    script = T("x"), B(b"x"), T(""), B(b"")
    assert await received("anystr", *script) == ["x", b"x", "", b""]
    assert SocketView.encoding == "anystr"


@pytest.mark.row("K21", "K22", "K23", "Z12")
async def test_servers_that_send_both_keys_are_understood() -> None:
    text = {"type": "websocket.receive", "text": "x", "bytes": None}
    binary = {"type": "websocket.receive", "text": None, "bytes": b"x"}
    assert await received("anystr", text, binary) == ["x", b"x"]
    assert await received("text", text) == ["x"]
    assert await received("bytes", binary) == [b"x"]


@pytest.mark.row("K22", "K23", "Z13", "Z14", "C50")
@pytest.mark.parametrize(
    ("encoding", "right", "wrong", "expected"),
    [("text", T("x"), B(b"x"), "x"), ("bytes", B(b"x"), T("x"), b"x")],
)
async def test_text_and_bytes_take_their_kind_only(
    encoding: str, right: Any, wrong: Any, expected: Any
) -> None:
    view, calls = recording(encoding)
    peer = await run(view, right, wrong, right, D(1001))
    assert calls == [("connect",), ("receive", expected), ("disconnect", 1003)]
    assert type(calls[1][1]) is type(expected)
    assert peer.closes == [(1003, f"expected {encoding}")]


@pytest.mark.row("K24", "Z15")
async def test_json_values_of_every_kind_arrive_decoded() -> None:
    texts = ['{"a":1}', "[1,[]]", '"x"', "1", "-0.5", "true", "false", "null", '""', "0", "{}"]
    values = [{"a": 1}, [1, []], "x", 1, -0.5, True, False, None, "", 0, {}]
    assert await received("json", *map(T, texts)) == values
    assert await received("json", *(B(text.encode()) for text in texts)) == values


@pytest.mark.row("K24", "Z15", "C50", "C49")
@pytest.mark.parametrize(
    "message",
    [
        T(""),
        T("{"),
        T("NaN"),
        T("[1]]"),
        B(b"\xff\xfe"),
        B(b"\xff"),
        T("[" * 100_000),
        T("1" * 5000),
    ],
    ids=["empty", "open", "nan", "more", "bom", "not utf-8", "deep", "long"],
)
async def test_malformed_json_closes_with_1003(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telex")
    view, calls = recording("json")
    peer = await run(view, message, T("1"), D(1001))
    assert calls == [("connect",), ("disconnect", 1003)]
    assert peer.closes == [(1003, "expected json")]
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert caplog.messages[0].startswith("127.0.0.1:50000 sent a message that is not json")


async def test_an_error_of_on_receive_is_not_taken_for_one_of_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class View(SocketView):
        encoding = "json"

        async def on_receive(self, data: Any) -> None:
            import json

            json.loads("broken")

    async with connected(View, raise_app_exceptions=False) as ws:
        await ws.send_text("1")
        await ws.expect_close(1011)
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.row("K13", "Z7")
@pytest.mark.parametrize("encoding", ["anystr", "text", "bytes", "json"])
def test_the_four_encodings_can_be_chosen(encoding: str) -> None:
    view, _ = recording(encoding)
    assert view.encoding == encoding


@pytest.mark.row("K13", "Z7")
@pytest.mark.parametrize("encoding", ["xml", "TEXT", "", None, str, ["text"]])
def test_another_encoding_is_refused_when_the_class_is_made(encoding: Any) -> None:
    with pytest.raises(TypeError, match=r"Encoded\.encoding must be one of 'text'"):
        type("Encoded", (SocketView,), {"encoding": encoding})


# The class


@pytest.mark.row("T47", "K25", "Z16")
async def test_every_connection_has_an_instance_of_its_own() -> None:
    meet = asyncio.Barrier(2)
    views: list[SocketView] = []

    class View(SocketView):
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def on_receive(self, data: str) -> None:
            await meet.wait()
            self.seen.append(data)
            assert websocket == self.websocket

        async def on_disconnect(self, close_code: int) -> None:
            views.append(self)
            assert self.seen == [websocket.path]

    async def visit(path: str) -> None:
        async with client.websocket(path) as ws:
            await ws.send_text(path)

    async with AsyncTestClient(connection_app(view_endpoint(View))) as client:
        await asyncio.gather(visit("/a"), visit("/b"))
    assert len(set(map(id, views))) == 2


@pytest.mark.row("T47")
async def test_a_constructor_with_defaults_needs_nothing() -> None:
    class View(SocketView):
        def __init__(self, limit: int = 3, *rest: int, **more: int) -> None:
            assert (limit, rest, more) == (3, (), {})

    async with connected(View):
        pass


class Room(SocketView):
    def __init__(self, ws: WebSocket, room: str, limit: Annotated[int, Query()] = 5) -> None:
        self.values = (ws.path, room, limit)

    async def on_connect(self) -> None:
        await self.websocket.accept()
        await self.websocket.send_json(self.values)


@pytest.mark.row("T47")
async def test_the_parameters_of_a_constructor_are_filled_for_each_connection() -> None:
    app = App([SocketRoute("/rooms/{room}", Room)])
    async with (
        AsyncTestClient(app) as client,
        client.websocket("/rooms/a?limit=7") as one,
        client.websocket("/rooms/b") as other,
    ):
        assert await one.receive_json() == ["/rooms/a", "a", 7]
        assert await other.receive_json() == ["/rooms/b", "b", 5]


@pytest.mark.row("T47")
async def test_a_constructor_whose_parameters_are_wrong_is_not_called() -> None:
    app = App([SocketRoute("/rooms/{room}", Room)])
    with pytest.raises(ConnectionRejected) as caught:
        async with AsyncTestClient(app) as client, client.websocket("/rooms/a?limit=x"):
            pass
    assert caught.value.status == 422


@pytest.mark.row("T47")
def test_a_constructor_parameter_that_nothing_fills_is_refused_at_registration() -> None:
    with pytest.raises(TypeError, match=r"Room: parameter 'room' is none of the path '/rooms'"):
        App([SocketRoute("/rooms", Room)])


@pytest.mark.row("K14", "K15", "K16")
@pytest.mark.parametrize("hook", ["on_connect", "on_receive", "on_disconnect"])
def test_a_hook_that_is_not_async_is_refused_when_the_class_is_made(hook: str) -> None:
    with pytest.raises(TypeError, match=rf"Sync\.{hook} must be an async method"):
        type("Sync", (SocketView,), {hook: lambda self, *data: None})


@pytest.mark.row("KX11", "C51")
async def test_the_bare_view_accepts_reads_and_closes_nothing_twice() -> None:
    peer = await run(SocketView, T("a"), B(b"b"), D(1001))
    assert peer.types == ["accept"]
    assert peer.reads == 4


@pytest.mark.row("KX11", "C51")
@pytest.mark.parametrize("code", [1000, 1005, 1006, 4000])
async def test_the_default_on_disconnect_closes_what_is_still_open(code: int) -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    view = SocketView()
    view.websocket = ws
    await view.on_disconnect(code)
    assert peer.closes == ([(code, "")] if code in (1000, 4000) else [])


@pytest.mark.row("K25", "Z16")
async def test_hooks_reach_the_connection_through_the_context() -> None:
    seen: list[bool] = []

    class View(SocketView):
        async def on_connect(self) -> None:
            seen.append(current.get() is self.websocket)
            await websocket.accept()

        async def on_receive(self, data: Any) -> None:
            seen.append(current.get() is self.websocket)

        async def on_disconnect(self, close_code: int) -> None:
            seen.append(current.get() is self.websocket)
            with pytest.raises(WebSocketDisconnect):
                await websocket.receive_text()

    async with connected(View) as ws:
        await ws.send_text("a")
    assert seen == [True, True, True]


def test_the_endpoint_bears_the_name_of_the_class() -> None:
    view, _ = recording()
    endpoint: Any = view_endpoint(view)
    assert endpoint.__name__ == "Encoded"
    assert endpoint.__module__ == view.__module__
