"""One input tried on the server's protocol, and what came out compared with what must."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import uvicorn
from uvicorn.server import ServerState

from server.fuzz.cases import AGREED, OFFERS, Case
from server.fuzz.outcomes import OWN_CODE, Finding, Outcome, compare, read_answer
from server.fuzz.reference import judge
from server.fuzz.virtual import VirtualLoop, VirtualTransport
from telex.server import WebSocketProtocol

T = TypeVar("T")

SOON: Final = 12
"""Turns of the event loop in which an application has asked for what is there."""
PATIENCE: Final = 60.0
"""Seconds, which pass in no time, after which everything must be over."""
ASLEEP: Final = 5.0
"""Seconds that an application does not read; longer than the server waits for it to."""
REST: Final = 1.5
"""Seconds after which a big read buffer is given back."""
QUIET: Final = 40.0
"""Seconds for which a client says nothing; longer than every time limit."""

HEAD: Final = (
    b"GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class _Application:
    """The application of one trial."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.outcome = Outcome()
        self.go = asyncio.Event()
        if case.app != "late":
            self.go.set()

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.go.wait()
        if self.case.app == "sleeps":
            await asyncio.sleep(ASLEEP)
        if self.case.app == "frames":
            await self._frames(scope["extensions"]["telex.frames"])
            return
        while (message := await receive())["type"] == "websocket.receive":
            await self._take(message, send)
        self.outcome.disconnect = message["code"], message["reason"]

    async def _take(self, message: Any, send: Any) -> None:
        received = self.outcome.received
        text = message.get("text")
        received.append(message["bytes"] if text is None else text)
        app = self.case.app
        if app == "echoes":
            await send({**message, "type": "websocket.send"})
        elif app == "closes" and len(received) == 1:
            await send({"type": "websocket.close", "code": OWN_CODE})
        elif app == "raises":
            raise RuntimeError("of the application")
        elif app == "returns":
            raise _Return

    async def _frames(self, channel: Any) -> None:
        while True:
            while (data := channel.poll()) is not None:
                self.outcome.received.append(data)
            if channel.closed is not None:
                self.outcome.disconnect = channel.closed.code, channel.closed.reason
                return
            await channel.wait()


class _Return(Exception):
    """Has an application return."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    try:
        await scope["state"]["application"].run(scope, receive, send)
    except _Return:
        pass


@lru_cache(maxsize=32)
def _config(max_size: int, queue: int, pings: bool) -> uvicorn.Config:
    config = uvicorn.Config(
        _app,
        ws=WebSocketProtocol,
        ws_max_size=max_size,
        ws_max_queue=queue,
        ws_ping_interval=10 if pings else None,
        ws_ping_timeout=10 if pings else None,
        log_config=None,
        lifespan="off",
    )
    config.load()
    return config


EXPECTED: Final = ("RuntimeError: of the application", "Invalid WebSocket handshake: ")
"""What may be in the log."""


class Complaints(logging.Filter):
    """Collects what is logged that should not be, and what the event loop complains of.

    A filter and not a handler: pytest keeps every record that gets as far as those.
    """

    LOGGERS = tuple(map(logging.getLogger, ("asyncio", "telex.server", "uvicorn.error")))

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.found: list[str] = []
        for logger in self.LOGGERS:
            logger.addFilter(self)
        loop.set_exception_handler(lambda _, context: self.found.append(repr(context)))

    def close(self) -> None:
        """Let log records pass again."""
        for logger in self.LOGGERS:
            logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            text = logging.Formatter().format(record)
            if not any(each in text for each in EXPECTED):
                self.found.append(text)
        return False


class Bench:
    """Where trials are made: one event loop for all of them."""

    def __init__(self) -> None:
        self._loop = VirtualLoop()
        self._complaints = Complaints(self._loop)

    def close(self) -> None:
        """End the event loop."""
        self._loop.close()
        self._complaints.close()

    def outcome(self, case: Case) -> Outcome:
        """Try an input.

        Raises:
            Finding: An exception, a complaint, or something left over.
        """
        return self._run(_tried(case, self._loop))

    def _run(self, trial: Coroutine[Any, Any, T]) -> T:
        self._complaints.found.clear()
        try:
            outcome = self._loop.run_until_complete(trial)
        except Finding:
            raise
        except Exception as exc:
            raise Finding(f"{type(exc).__name__}: {exc}") from exc
        if self._complaints.found:
            raise Finding(self._complaints.found[0])
        return outcome

    def answer(self, pieces: Sequence[bytes]) -> bytes:
        """Return what is answered to the head of a request that comes in pieces.

        Raises:
            Finding: An exception, a complaint, or something left over.
        """
        return self._run(_answered(pieces, self._loop))

    def check(self, case: Case) -> Outcome:
        """Try an input and compare what came out with what must.

        Raises:
            Finding: They differ.
        """
        outcome = self.outcome(case)
        compare(case, outcome, judge(case.stream, case.max_size, AGREED[case.offer]))
        return outcome


async def _tried(case: Case, loop: VirtualLoop) -> Outcome:
    application = _Application(case)
    state = ServerState()
    try:
        await _connected(case, loop, state, application)
    finally:
        for task in state.tasks:
            task.cancel()
        await asyncio.sleep(0)
    return application.outcome


async def _answered(pieces: Sequence[bytes], loop: VirtualLoop) -> bytes:
    case = Case(b"", [], end="silence")
    state = ServerState()
    transport = _connect(case, loop, state, _Application(case))
    for piece in pieces:
        transport.feed(piece)
    await _end(case, transport, Outcome())
    _nothing_left(state, transport)
    return bytes(transport.written)


def _connect(
    case: Case, loop: VirtualLoop, state: ServerState, application: _Application
) -> VirtualTransport:
    transport = VirtualTransport(tls=case.tls, room=case.room)
    protocol = WebSocketProtocol(
        _config(case.max_size, case.queue, case.pings), state, {"application": application}
    )
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return transport


async def _connected(
    case: Case, loop: VirtualLoop, state: ServerState, application: _Application
) -> None:
    transport = _connect(case, loop, state, application)
    extensions = OFFERS[case.offer]
    line = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    transport.feed(HEAD + line.encode() + b"\r\n")
    transport.feed(case.stream[: case.early])
    await _turns(3)
    await _send(case, transport, application)
    application.go.set()
    await _turns(SOON)
    await _end(case, transport, application.outcome)
    _nothing_left(state, transport)
    read_answer(case.offer, bytes(transport.written), application.outcome)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _send(case: Case, transport: VirtualTransport, application: _Application) -> None:
    places = sorted({case.early, *(each for each in case.cuts if each > case.early)})
    for begin, end in zip(places, [*places[1:], len(case.stream)], strict=True):
        rest = transport.feed(case.stream[begin:end])
        while rest and not transport.is_closing():
            application.go.set()
            await asyncio.sleep(ASLEEP + 1 if case.app == "sleeps" else 0.001)
            if rest == (rest := transport.feed(rest)):
                if transport.clogged:
                    return
                raise Finding("reading is paused for ever")
        if case.rests:
            await asyncio.sleep(REST)
        await _turns(case.turns)


async def _end(case: Case, transport: VirtualTransport, outcome: Outcome) -> None:
    match case.end:
        case "silence":
            await asyncio.sleep(QUIET)
        case "eof":
            transport.feed_eof()
        case "reset":
            transport.reset()
    outcome.dropped = transport.gone and case.end == "silence"
    if not transport.is_closing() or (transport.clogged and case.end != "silence"):
        transport.reset()
    await asyncio.sleep(PATIENCE)


def _nothing_left(state: ServerState, transport: VirtualTransport) -> None:
    if not transport.gone:
        raise Finding("the transport is open for ever")
    if state.connections or state.tasks:
        raise Finding(f"left: {state.connections} {state.tasks}")
