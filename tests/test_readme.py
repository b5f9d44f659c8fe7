"""Everything the README shows is run, and every line of its table of endings is acted out."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import tomllib
import types
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

import pages
import telex
from clients import Overheard, connected, ending, rejection
from opened import turns
from peer import Peer
from served import EXAMPLES, served
from telex.testing import AsyncTestSession, ConnectionRejected

README = pages.ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
FILES = pages.files(TEXT)
DEADLINE = 30.0

Handler = Callable[[telex.WebSocket], Awaitable[None]]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that runs one of the README's files, and those it imports, in this process."""

    def run(name: str) -> Any:
        for other in ("main", "mounted"):
            if other != name and f"from {other} import" in FILES[f"{name}.py"]:
                run(other)
        made = types.ModuleType(name)
        exec(compile(FILES[f"{name}.py"], f"README.md:{name}.py", "exec"), made.__dict__)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the README's files and nothing else."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    return tmp_path


def test_every_python_block_names_its_file() -> None:
    assert list(FILES) == [
        "main.py",
        "test_main.py",
        "mounted.py",
        "around.py",
        "bare.py",
        "orders.py",
    ]
    assert len([b for b in pages.blocks(TEXT) if b.language == "python"]) == len(FILES)


def test_the_server_has_ten_lines() -> None:
    assert len(FILES["main.py"].strip().splitlines()) - 1 == 10


async def test_the_server_answers_in_process(module: Callable[[str], Any]) -> None:
    async with connected(module("main").app, "/echo") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "you said hello"
        await ws.expect_nothing(0)


def test_the_test_passes(module: Callable[[str], Any]) -> None:
    module("test_main").test_echo()


async def test_the_mounted_application_and_the_one_around_it_answer(
    module: Callable[[str], Any],
) -> None:
    async with connected(module("mounted").api, "/live/echo") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "you said hello"
        await ws.expect_nothing(0)
    async with connected(module("around").app, "/shout") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "HELLO"
        await ws.expect_nothing(0)


async def test_the_bare_class_answers(module: Callable[[str], Any]) -> None:
    app = Overheard(module("bare").app)
    async with connected(app) as ws:
        await ws.send_text("abc")
        assert await ws.receive_text() == "cba"
    assert app.types == ["accept", "send"]


async def test_the_listener_answers_as_shown_and_the_stream_streams(
    module: Callable[[str], Any],
) -> None:
    app = module("orders").app
    async with connected(app, "/orders") as ws:
        await ws.send_text('{"item": "tea", "price": 4, "ref": 1}')
        assert f"`{await ws.receive_text()}`" in TEXT
        await ws.send_text('{"item": "tea", "ref": 2}')
        [shown] = [block.code for block in pages.blocks(TEXT) if block.language == "json"]
        assert await ws.receive_json() == json.loads(shown)
        await ws.expect_nothing(0)
    async with connected(app, "/ticks") as ws:
        assert [text async for text in ws] == [f'{{"tick":{n}}}' for n in range(3)]


def test_every_extra_is_named() -> None:
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [name for name in project["optional-dependencies"] if f"`{name}`" not in TEXT] == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("target", "path", "answer"),
    [
        ("main:app", "/echo", "you said hi"),
        ("mounted:api", "/live/echo", "you said hi"),
        ("around:app", "/shout", "HI"),
        ("around:app", "/live/echo", None),
        ("bare:app", "/", "ih"),
    ],
)
async def test_every_server_runs_in_a_folder_of_its_own(
    target: str, path: str, answer: str | None, folder: Path
) -> None:
    async with asyncio.timeout(DEADLINE), served(target, folder) as host:
        if answer is None:
            # Telex is outside here and takes the WebSockets; HTTP goes through.
            async with httpx.AsyncClient(base_url=f"http://{host}", trust_env=False) as http:
                assert (await http.get("/docs")).status_code == 200
            return
        async with connect(f"ws://{host}{path}", proxy=None) as ws:
            await ws.send("hi")
            assert await ws.recv() == answer


def test_every_example_it_names_exists_and_the_short_ones_are_short() -> None:
    assert pages.broken_links(README) == []
    for path in EXAMPLES.glob("*.py"):
        assert path.name in TEXT
        # Logging in takes an HTTP side as well.
        longest = 150 if path.name == "login.py" else 60
        assert len(path.read_text().splitlines()) < longest


def test_every_command_is_one_of_the_command_line() -> None:
    from telex.cli import commands

    callbacks = [command.callback for command in commands.registered_commands]
    known = {callback.__name__ for callback in callbacks if callback}
    assert set(re.findall(r"\btelex (run|routes|connect|[a-z]+) (?:\w+:|ws:)", TEXT)) == known


# The table of endings: each line has a scene, which is played with the test client.


class Scene:
    """A handler, and what became of its connection."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        self.app = telex.App(**options)
        self.overheard = Overheard(self.app)
        self.cleanups = 0
        self.seen: list[object] = []

        async def observed(ws: telex.WebSocket) -> None:
            ws.add_cleanup(self._clean)
            try:
                await handler(ws)
                self.seen.append("returned")
            except BaseException as exc:
                self.seen.append(type(exc))
                raise

        self.app.websocket("/", name=None)(observed)

    def _clean(self) -> None:
        self.cleanups += 1

    def connected(self) -> AbstractAsyncContextManager[AsyncTestSession]:
        return connected(self.overheard, raise_app_exceptions=False)

    async def ending(self) -> tuple[int, str]:
        end = await ending(self.overheard, raise_app_exceptions=False)
        assert self.overheard.types == ["accept", "close"]
        return end

    async def rejection(self, path: str = "/") -> ConnectionRejected:
        return await rejection(self.overheard, path, raise_app_exceptions=False)


async def _returns(ws: telex.WebSocket) -> None:
    await ws.accept()


async def _returns_at_once(ws: telex.WebSocket) -> None:
    pass


async def _fails_before(ws: telex.WebSocket) -> None:
    raise LookupError("the secret")


async def _fails_after(ws: telex.WebSocket) -> None:
    await ws.accept()
    raise LookupError("the secret")


async def _closes_by_exception(ws: telex.WebSocket) -> None:
    await ws.accept()
    raise telex.WebSocketException(4001, "moved")


async def _rejects(ws: telex.WebSocket) -> None:
    raise telex.Reject(401)


async def _iterates(ws: telex.WebSocket) -> None:
    await ws.accept()
    async for _ in ws:
        pass


async def _receives(ws: telex.WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


async def _sends(ws: telex.WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.send_text("tick")


async def _waits(ws: telex.WebSocket) -> None:
    await ws.accept()
    await asyncio.Event().wait()


async def returns() -> Scene:
    scene = Scene(_returns)
    assert await scene.ending() == (1000, "")
    return scene


async def returns_without_accepting() -> Scene:
    scene = Scene(_returns_at_once)
    assert (await scene.rejection()).status == 403
    return scene


async def raises_before() -> Scene:
    scene = Scene(_fails_before)
    refused = await scene.rejection()
    assert refused.status == 500
    assert "secret" not in str(vars(refused))
    return scene


async def raises_after() -> Scene:
    scene = Scene(_fails_after)
    assert await scene.ending() == (1011, "")
    return scene


async def raises_a_close() -> Scene:
    scene = Scene(_closes_by_exception)
    assert await scene.ending() == (4001, "moved")
    return scene


async def raises_reject() -> Scene:
    scene = Scene(_rejects)
    assert (await scene.rejection()).status == 401
    return scene


async def unknown_path() -> None:
    assert (await Scene(_returns).rejection("/nowhere")).status == 404


async def leaves_while_reading() -> Scene:
    for handler, end in ((_iterates, "returned"), (_receives, telex.WebSocketDisconnect)):
        scene = Scene(handler)
        async with scene.connected() as ws:
            await ws.close(1001)
        assert (scene.seen, scene.overheard.types) == ([end], ["accept"])
    return scene


async def leaves_while_sending() -> Scene:
    scene = Scene(_sends)
    async with scene.connected() as ws:
        await ws.receive_text()
        await ws.abort()
    assert scene.seen == [telex.WebSocketDisconnect]
    return scene


async def leaves_while_busy() -> Scene:
    scene = Scene(_waits, disconnect_grace=0.01)
    async with scene.connected() as ws:
        await ws.close(1001)
    assert (scene.seen, scene.overheard.types) == ([asyncio.CancelledError], ["accept"])
    return scene


async def server_stops() -> Scene:
    scene, peer = Scene(_waits), Peer()
    task = asyncio.create_task(peer.run(scene.app))
    await turns()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert peer.closes == [(1012, "")]
    return scene


async def does_not_read() -> Scene:
    took: list[bool] = []

    async def flood(ws: telex.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()
        took.extend(ws.send_nowait("x") for _ in range(5))
        await ws.send_text("waits")

    scene = Scene(flood, outbox=telex.Outbox(max_messages=3))
    async with scene.connected() as ws:
        ws.pause_reading(buffer=0)
        await ws.send_text("go")
        await ws.expect_blocked()
        assert (took, scene.seen) == ([True, True, True, False, False], [])
        ws.resume_reading()
        assert [text async for text in ws] == ["x", "x", "x", "waits"]
    assert scene.seen == ["returned"]
    return scene


async def read_is_cancelled() -> Scene:
    got: list[str] = []

    async def impatient(ws: telex.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ws.receive_text()
        await ws.send_text("gave up")
        got.extend([text async for text in ws.iter_text()])

    scene = Scene(impatient)
    async with scene.connected() as ws:
        assert await ws.receive_text() == "gave up"
        await ws.send_text("a")
        await ws.send_text("b")
        await ws.close(1001)
    assert got == ["a", "b"]
    return scene


SCENES: dict[str, Callable[[], Awaitable[Scene | None]]] = {
    "the handler returns": returns,
    "the handler returns without accepting": returns_without_accepting,
    "the handler raises before accepting": raises_before,
    "the handler raises after accepting": raises_after,
    'the handler raises `WebSocketException(4001, "…")`': raises_a_close,
    "the handler raises `Reject(401)` before accepting": raises_reject,
    "no route has that path": unknown_path,
    "the client leaves while the handler waits for a message": leaves_while_reading,
    "the client leaves while the handler sends": leaves_while_sending,
    "the client leaves while the handler does something else": leaves_while_busy,
    "the server stops and cancels the handler": server_stops,
    "a client does not read": does_not_read,
    "a read is cancelled, by `asyncio.timeout` for example": read_is_cancelled,
}
WARNED = {
    "the handler returns without accepting": "WARNING",
    "a client does not read": "WARNING",
}
FAILED = {"the handler raises before accepting", "the handler raises after accepting"}


def test_every_line_of_the_table_has_a_scene() -> None:
    *lines, last = pages.table(TEXT, "When")
    assert [when for when, _ in lines] == list(SCENES)
    assert last[0] == "anything of this"


@pytest.mark.parametrize("when", SCENES)
async def test_it_ends_as_the_table_says(when: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex.connection")
    scene = await SCENES[when]()
    if scene is not None:
        assert scene.cleanups == 1
        assert len([r for r in caplog.records if r.name == "telex.connection"]) >= 1
    serious = [r for r in caplog.records if r.levelno >= logging.WARNING]
    if when in FAILED:
        assert [bool(record.exc_info) for record in serious] == [True]
    else:
        assert [record.levelname for record in serious] == [*filter(None, [WARNED.get(when)])]
