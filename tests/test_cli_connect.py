"""The client behind `telex connect`, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import cast

import pytest
import trustme
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from child import start
from telex._cli_connect import Call, UsageError, parse_header, session, websocket_url
from telex._cli_show import Screen

pytestmark = pytest.mark.integration

DEADLINE = 10.0


async def behave(ws: ServerConnection) -> None:
    """What the test server does, by path; an echo when it knows no better."""
    assert ws.request is not None
    match ws.request.path:
        case "/drop":
            ws.transport.abort()
        case "/restart":
            await ws.close(1012, "new version")
        case "/away":
            await ws.close(1001)
        case "/headers":
            await ws.send(json.dumps([*ws.request.headers.raw_items()]))
        case "/later":
            await ws.send("at once")
            async for message in ws:
                if message == "go":
                    break
        case _:
            async for message in ws:
                await ws.send(message)


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path != "/refuse":
        return None
    response = connection.respond(HTTPStatus.UNAUTHORIZED, '{"error": "no token"}')
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def choose(connection: ServerConnection, offered: object) -> Subprotocol | None:
    return cast("list[Subprotocol]", offered)[-1] if offered else None


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where the test server listens."""
    async with serve(
        behave, "127.0.0.1", 0, process_request=refuse, select_subprotocol=choose
    ) as server:
        yield f"ws://127.0.0.1:{_port(server)}"


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


async def typed(*lines: str) -> AsyncIterator[str]:
    """The lines somebody types, who then presses Ctrl-D."""
    for line in lines:
        yield line


async def held(*lines: str) -> AsyncIterator[str]:
    """The lines of somebody who then only looks."""
    for line in lines:
        yield line
    await asyncio.Event().wait()


async def talk(call: Call, lines: AsyncIterator[str], *, raw: bool = True) -> int:
    async with asyncio.timeout(DEADLINE):
        return await session(call, Screen(raw=raw), lines)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://h/p?q", "ws://h/p?q"),
        ("localhost:8000/chat", "ws://localhost:8000/chat"),
        ("http://h:1/", "ws://h:1/"),
        ("HTTPS://h/", "wss://h/"),
        ("wss://h", "wss://h"),
        ("ftp://h", "ftp://h"),
    ],
)
def test_what_people_type_becomes_a_websocket_url(text: str, url: str) -> None:
    assert websocket_url(text) == url


def test_headers_are_written_as_in_http() -> None:
    assert parse_header("X-Token:  a: b ") == ("X-Token", "a: b")
    assert parse_header("X-Empty:") == ("X-Empty", "")


@pytest.mark.parametrize("text", ["", "X", ": v", "X Y: v", "X: a\r\nY: b", "X: \x00"])
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a header; write 'Name: value'"):
        parse_header(text)


async def test_lines_are_sent_and_answers_shown_until_the_input_ends(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await talk(Call(address), typed("one", "", "drei – 3")) == 0
    out, err = capsys.readouterr()
    assert out == "one\n\ndrei – 3\n"
    assert err == f"connected to {address}; Ctrl-D closes\nclosed: 1000 Normal Closure\n"


async def test_wait_keeps_listening_after_the_input_has_ended(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await talk(Call(f"{address}/later", wait=0.05), typed()) == 0
    assert capsys.readouterr().out == "at once\n"


async def test_without_wait_the_answers_are_heard_out(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [str(number) for number in range(1000)]
    assert await talk(Call(address), typed(*numbers)) == 0
    assert capsys.readouterr().out.split() == numbers


async def test_a_server_that_never_falls_silent_is_not_heard_out(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex._cli_connect.PATIENCE", 0.05)
    assert await talk(Call(f"{address}/later"), typed()) == 0


async def test_waiting_ends_when_the_server_closes(address: str) -> None:
    assert await talk(Call(f"{address}/later", wait=1000), typed("go")) == 0


@pytest.mark.parametrize(
    ("path", "code", "shown"),
    [
        ("/away", 0, "server closed: 1001 Going Away"),
        ("/restart", 1, "server closed: 1012 Service Restart ('new version')"),
        ("/drop", 1, "the connection was lost: 1006 Abnormal Closure"),
    ],
)
async def test_an_end_by_the_server_is_shown_and_decides_the_exit_code(
    address: str, capsys: pytest.CaptureFixture[str], path: str, code: int, shown: str
) -> None:
    assert await talk(Call(address + path), held()) == code
    assert shown in capsys.readouterr().err


async def test_headers_origin_and_subprotocols_are_sent(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = Call(
        f"{address}/headers",
        headers=[("X-Token", "a"), ("X-Token", "b")],
        subprotocols=["v1", "v2"],
        origin="https://here.example",
    )
    assert await talk(call, held()) == 0
    out, err = capsys.readouterr()
    sent = [(name.lower(), value) for name, value in json.loads(out)]
    assert ("x-token", "a") in sent
    assert ("x-token", "b") in sent
    assert ("origin", "https://here.example") in sent
    assert ("sec-websocket-protocol", "v1, v2") in sent
    assert re.fullmatch(r"telex/\d+\.\d+\.\d+", dict(sent)["user-agent"])
    assert "subprotocol 'v2'" in err


async def test_a_rejection_is_shown_with_status_headers_and_body(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await talk(Call(f"{address}/refuse"), held()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "HTTP 401 Unauthorized\n" in err
    assert "WWW-Authenticate: Bearer\n" in err
    assert '"error": "no token"' in err


async def test_a_server_that_is_not_there_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    assert await talk(Call(url), held()) == 1
    assert f"cannot connect to {url}: " in capsys.readouterr().err


async def test_a_server_that_does_not_speak_http_is_said_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await talk(Call(url), held()) == 1
    assert "the handshake failed: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [Call("ftp://host"), Call("ws://host/#part"), Call("ws://host", subprotocols=["a b"])],
)
async def test_a_malformed_call_is_refused_before_anything_is_sent(call: Call) -> None:
    with pytest.raises(UsageError):
        await talk(call, held())


async def test_insecure_takes_any_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serve(behave, "127.0.0.1", 0, ssl=context) as server:
        url = f"wss://127.0.0.1:{_port(server)}"
        assert await talk(Call(url), held()) == 1
        assert "cannot connect" in capsys.readouterr().err
        assert await talk(Call(url, insecure=True), typed("hidden")) == 0
        assert capsys.readouterr().out == "hidden\n"


class WatchedScreen(Screen):
    """A screen somebody can look at."""

    def __init__(self) -> None:
        super().__init__()
        self.something = asyncio.Event()

    def received(self, message: str | bytes) -> None:
        super().received(message)
        self.something.set()


async def test_cancelling_closes_with_1000(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = WatchedScreen()
    task = asyncio.create_task(session(Call(f"{address}/later"), screen, held()))
    async with asyncio.timeout(DEADLINE):
        await screen.something.wait()
        task.cancel()
        assert await task == 0
    assert "closed: 1000 Normal Closure" in capsys.readouterr().err


# The real command, with a real standard input.


async def test_piped_lines_are_sent_and_the_answers_shown(address: str, tmp_path: Path) -> None:
    async with start("-m", "telex", "connect", address, cwd=tmp_path) as child:
        child.write('one\r\n{"a":[1]}\nlast without newline')
        child.end_input()
        assert await child.finish() == 0
        assert re.search(r"\d\d:\d\d:\d\d < one\n", child.output)
        assert '< {\n  "a": [\n    1\n  ]\n}\n' in child.output
        assert "< last without newline\n" in child.output
        assert "closed: 1000 Normal Closure" in child.output


async def test_answers_are_shown_while_the_input_is_still_open(
    address: str, tmp_path: Path
) -> None:
    async with start("-m", "telex", "connect", address, cwd=tmp_path) as child:
        child.write("first\n")
        await child.line("< first")
        child.write("second\n")
        await child.line("< second")
        child.end_input()
        assert await child.finish() == 0


async def test_ctrl_c_closes_with_1000_while_the_input_is_open(
    address: str, tmp_path: Path
) -> None:
    async with start("-X", "dev", "-m", "telex", "connect", address, cwd=tmp_path) as child:
        await child.line("connected to")
        assert await child.interrupt() == 0
        assert "closed: 1000 Normal Closure" in child.output
        assert "Traceback" not in child.output


async def test_ctrl_c_during_the_handshake_ends_the_command(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def hesitate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hesitate, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with start("-m", "telex", "connect", url, cwd=tmp_path) as child:
            async with asyncio.timeout(DEADLINE):
                await called.wait()
            assert await child.interrupt() == 1
            assert "Traceback" not in child.output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
async def test_ctrl_d_on_a_terminal_closes_at_once(address: str, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    code = (
        "import os, sys; os.dup2(int(sys.argv[2]), 0); "
        "sys.argv = ['telex', 'connect', sys.argv[1]]; "
        "from telex.__main__ import main; main()"
    )
    try:
        arguments = ("-c", code, address, str(theirs))
        async with start(*arguments, cwd=tmp_path, keep=theirs) as child:
            await child.line("connected to")
            os.write(ours, b"typed\n")
            await child.line("< typed")
            os.write(ours, b"\x04")
            assert await child.finish() == 0
            assert "closed: 1000 Normal Closure" in child.output
    finally:
        os.close(ours)
        os.close(theirs)


async def test_the_command_ends_when_the_server_does_and_nobody_types(
    address: str, tmp_path: Path
) -> None:
    url = f"{address}/restart"
    async with start("-X", "dev", "-m", "telex", "connect", url, cwd=tmp_path) as child:
        assert await child.finish() == 1
        assert "A client should connect again." in child.output
        assert "Traceback" not in child.output


async def test_a_file_can_be_the_input(address: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("".join(f"{number:050}\n" for number in range(2_000)))
    code = (
        "import os, sys; os.dup2(os.open('lines', os.O_RDONLY), 0); "
        "sys.argv = ['telex', 'connect', '--raw', sys.argv[1]]; "
        "from telex.__main__ import main; main()"
    )
    async with start("-c", code, address, cwd=tmp_path) as child:
        assert await child.finish() == 0
        received = [int(line) for line in child.output.splitlines() if line.isdigit()]
        assert received == [*range(2_000)]


@pytest.mark.parametrize("option", ["--raw", "--wait=9"])
async def test_the_command_ends_quietly_when_nobody_reads_its_output(
    address: str, tmp_path: Path, option: str
) -> None:
    code = (
        "import os, sys; reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1); "
        "sys.argv[:1] = ['telex', 'connect']; from telex.__main__ import main; main()"
    )
    async with start("-c", code, option, f"{address}/later", cwd=tmp_path) as child:
        assert await child.finish() == 1
        assert child.output == f"connected to {address}/later; Ctrl-D closes\n"


async def test_a_closed_standard_input_is_an_ended_one(address: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; os.close(0); sys.argv = ['telex', 'connect', sys.argv[1]]; "
        "from telex.__main__ import main; main()"
    )
    async with start("-c", code, address, cwd=tmp_path) as child:
        assert await child.finish() == 0
