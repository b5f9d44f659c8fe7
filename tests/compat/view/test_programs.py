"""The programs of view.py's document: in this process, and as processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

import foreign
from child import DEADLINE, SERVING, Child, start
from clients import Overheard, connected, ending, rejection
from compat.view.programs import Keyboard, opened, program
from peer import D, T, serve
from telex.compat.view import WebSocket, new_app
from telex.exceptions import MissingDependency
from telex.server import run

# In this process


@pytest.mark.row("V12", "V16", "V17", "T89")
async def test_the_route_that_does_nothing() -> None:
    app = program("V12")
    assert [path for path, _ in app.router.walk()] == ["/"]
    heard = Overheard(app)
    assert (await rejection(heard)).status == 403
    assert "accept" not in heard.types


@pytest.mark.row("V14", "V15", "T95")
def test_running_it_without_a_websocket_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    command = foreign.example("view", "V15").code.removeprefix("$ ").strip()
    with pytest.raises(MissingDependency) as raised:
        foreign.example("view", "V12")()
    assert command in str(raised.value)


@pytest.mark.row("V20", "V18", "V19")
async def test_accept_and_close_by_hand() -> None:
    assert await ending(program("V20")) == (1000, "")


@pytest.mark.row("V23", "V22")
async def test_the_context_manager() -> None:
    assert await ending(program("V23")) == (1000, "")


@pytest.mark.row("V26", "V28", "T90")
@pytest.mark.parametrize("number", ["V26", "V38"])
async def test_the_chat(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with connected(program(number, Keyboard("hello\n", "bye\n"))) as ws:
        assert await ws.receive_text() == "hello\n"
        await ws.expect_nothing(0)
        await ws.send_text("hi")
        assert await ws.receive_text() == "bye\n"
        await ws.send_text("see you")
        # The input has ended.
        assert await ws.receive_text() == ""
    assert capsys.readouterr().out == "Them: hi\nThem: see you\n"


@pytest.mark.row("V35", "V34")
async def test_receiving_json(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []
    receive: Any = WebSocket.receive

    async def noted(ws: WebSocket, tp: Any = str) -> Any:
        received.append(await receive(ws, tp))
        return received[-1]

    monkeypatch.setattr(WebSocket, "receive", noted)
    peer = await serve(program("V35"), T('{"k":1}'))
    assert received == [{"k": 1}]
    assert peer.closes == [(1000, "")]


@pytest.mark.row("V35")
async def test_what_is_no_json_closes_the_connection() -> None:
    peer = await serve(program("V35"), T("{"))
    assert peer.closes == [(1008, "")]


@pytest.mark.row("V38", "V37")
async def test_the_chat_in_pairs_ends_with_the_client() -> None:
    peer = await serve(program("V38", Keyboard("hello\n")), T("hi"), D(1001))
    assert peer.data == ["hello\n", ""]
    assert peer.types == ["accept", "send", "send"]


@pytest.mark.row("V41", "V39", "V40", "T91")
async def test_the_line_that_receives_first(capsys: pytest.CaptureFixture[str]) -> None:
    ws, peer = await opened(T("in"))
    line = foreign.example("view", "V41")
    await line.block(ws=ws, aiofiles=Keyboard("out\n"))
    assert capsys.readouterr().out == "Them: in\n"
    assert peer.data == ["out\n"]


@pytest.mark.row("V44", "V42", "V43")
async def test_the_greeting_of_a_protocol() -> None:
    peer = await serve(program("V44"), T("MYPROTOCOL V1.1"))
    assert peer.data == ["ACK"]
    assert peer.closes == [(1000, "")]
    peer = await serve(program("V44"), T("MYPROTOCOL V1.0"))
    assert peer.data == []
    assert peer.closes == [(1008, "")]


# As processes

ON_A_FREE_PORT = """
import functools, runpy
from telex.app import App

App.run = functools.partialmethod(App.run, port=0, log_level="info")
runpy.run_path("main.py", run_name="__main__")
"""
"""Runs a program as it stands; where it says nothing of a port, it has one of its own."""


@asynccontextmanager
async def running(number: str, folder: Path) -> AsyncIterator[tuple[Child, str]]:
    """Run a program; yields the process and where it serves."""
    (folder / "main.py").write_text(foreign.example("view", number).code)
    async with start("-X", "dev", "-W", "error", "-c", ON_A_FREE_PORT, cwd=folder) as child:
        port = (await child.line(SERVING))[1]
        yield child, f"ws://127.0.0.1:{port}/"
        child.end_input()
        assert await child.interrupt() == 0, child.output
        assert "Traceback" not in child.output, child.output


@asynccontextmanager
async def client(url: str) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        yield ws


@pytest.mark.integration
@pytest.mark.row("V12", "V13", "V16", "T89")
async def test_the_program_that_does_nothing(tmp_path: Path) -> None:
    async with running("V12", tmp_path) as (_, url):
        with pytest.raises(InvalidStatus) as raised:
            async with client(url):
                pytest.fail("let in")
    assert raised.value.response.status_code == 403


@pytest.mark.integration
@pytest.mark.row("V20", "V23", "V13", "V21", "T89")
@pytest.mark.parametrize("number", ["V20", "V23"])
async def test_programs_that_accept_and_close(number: str, tmp_path: Path) -> None:
    async with running(number, tmp_path) as (_, url), client(url) as ws:
        await ws.wait_closed()
        assert ws.close_code == 1000


@pytest.mark.integration
@pytest.mark.row("V26", "V28", "V38", "V24", "T90", "T89")
@pytest.mark.parametrize("number", ["V26", "V38"])
async def test_chat_programs(number: str, tmp_path: Path) -> None:
    async with running(number, tmp_path) as (child, url):
        child.write("hello\n")
        async with client(url) as ws:
            assert await ws.recv() == "hello\n"
            await ws.send("hi")
            await child.line("^Them: hi$")
            child.write("bye\n")
            assert await ws.recv() == "bye\n"
            await ws.send("see you")
            await child.line("^Them: see you$")
            child.end_input()
            assert await ws.recv() == ""


@pytest.mark.integration
@pytest.mark.row("V35", "V44", "T89")
async def test_programs_that_read_a_message(tmp_path: Path) -> None:
    async with running("V35", tmp_path) as (_, url), client(url) as ws:
        await ws.send('{"k":1}')
        await ws.wait_closed()
        assert ws.close_code == 1000
    async with running("V44", tmp_path) as (_, url):
        async with client(url) as ws:
            await ws.send("MYPROTOCOL V1.1")
            assert await ws.recv() == "ACK"
            await ws.wait_closed()
            assert ws.close_code == 1000
        async with client(url) as ws:
            await ws.send("hello")
            await ws.wait_closed()
            assert ws.close_code == 1008


@pytest.mark.row("T89")
def test_importing_a_program_starts_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "view_program.py").write_text(foreign.example("view", "V20").code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(RuntimeWarning, match="no second server is started"):
        app = __import__("view_program").app
    assert isinstance(app, type(new_app()))
