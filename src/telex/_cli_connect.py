"""The interactive client behind `telex connect`."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from telex._cli_show import Screen
from telex.exceptions import MissingDependency

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import (
        ConnectionClosed,
        InvalidHandshake,
        InvalidStatus,
        InvalidURI,
    )
    from websockets.typing import Origin, Subprotocol
except ImportError as error:
    raise MissingDependency("websockets", "standard", "telex connect") from error

CHUNK: Final = 64 * 1024
"""Bytes read from the standard input at once."""
MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of the largest message that is taken."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds the server may take to answer our close."""
QUIET: Final = 0.5
"""Seconds without a message after which no more answers are expected."""
PATIENCE: Final = 10.0
"""Seconds after which answers that keep coming are not waited for."""

_SCHEMES: Final = {"http": "ws", "https": "wss"}
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what."""


@dataclass(frozen=True, slots=True)
class Call:
    """Whom to call and how.

    Attributes:
        url: A WebSocket URL; see `websocket_url`.
        headers: Further request headers.
        subprotocols: Subprotocols to offer, the preferred one first.
        origin: The `Origin` header, `None` for none.
        insecure: Take any TLS certificate.
        wait: Seconds to keep listening after the input has ended; `None` for as long as answers
            keep coming, but no more than `PATIENCE` seconds.
    """

    url: str
    headers: Sequence[tuple[str, str]] = ()
    subprotocols: Sequence[str] = ()
    origin: str | None = None
    insecure: bool = False
    wait: float | None = None


def websocket_url(text: str) -> str:
    """Return a WebSocket URL: `http` becomes `ws`, `https` becomes `wss`, no scheme is `ws`."""
    if "://" not in text:
        return f"ws://{text}"
    scheme, _, rest = text.partition("://")
    return f"{_SCHEMES.get(scheme.lower(), scheme)}://{rest}"


def parse_header(text: str) -> tuple[str, str]:
    """Return name and value of `Name: value`."""
    found = _HEADER.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not a header; write 'Name: value'")
    return found[1], found[2]


async def session(call: Call, screen: Screen, lines: AsyncIterator[str]) -> int:
    """Connect, send each line as a text message, show what comes, close with 1000 at the end.

    Cancelling it once the connection is open is an orderly end, too: it closes with 1000.

    Returns:
        The exit code: 0 after a close with 1000 or 1001, else 1.

    Raises:
        UsageError: URL, subprotocols or headers are malformed; nothing was sent.
    """
    opening = _opening(call)
    try:
        ws = await opening
    except InvalidStatus as error:
        response = error.response
        body = bytes(response.body or b"")
        headers = response.headers.raw_items()
        screen.rejected(response.status_code, response.reason_phrase, headers, body)
        return 1
    except (InvalidHandshake, InvalidURI) as error:
        screen.problem(f"the handshake failed: {error}")
        return 1
    except OSError as error:
        screen.problem(f"cannot connect to {call.url}: {error}")
        return 1
    chosen = f", subprotocol {ws.subprotocol!r}" if ws.subprotocol else ""
    screen.note(f"connected to {call.url}{chosen}; Ctrl-D closes", "bold green")
    by_us = await _talk(ws, screen, lines, call.wait)
    code = ws.close_code or 1006
    screen.closed(code, ws.close_reason or "", by_us=by_us and code != 1006)
    return 0 if code in (1000, 1001) else 1


def _opening(call: Call) -> connect:
    options: dict[str, Any] = {}
    if call.insecure and call.url.startswith("wss://"):
        options["ssl"] = ssl._create_unverified_context()
    if _is_loopback(call.url):
        options["proxy"] = None
    try:
        return connect(
            call.url,
            additional_headers=list(call.headers),
            subprotocols=[Subprotocol(name) for name in call.subprotocols] or None,
            origin=None if call.origin is None else Origin(call.origin),
            user_agent_header=f"telex/{version('telex')}",
            max_size=MAX_MESSAGE,
            close_timeout=CLOSE_TIMEOUT,
            **options,
        )
    except (InvalidURI, TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _talk(
    ws: ClientConnection, screen: Screen, lines: AsyncIterator[str], wait: float | None
) -> bool:
    """Run the conversation to its end; return whether it was we who closed it."""
    reader = asyncio.create_task(_show_messages(ws, screen))
    writer = asyncio.create_task(_send_lines(ws, lines))
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        if wait is None:
            await _hear_out(reader, screen)
        else:
            await asyncio.wait({reader}, timeout=wait)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    by_us = not reader.done()
    writer.cancel()
    await ws.close()
    await asyncio.wait({reader, writer})
    for ended in (reader, writer):
        if not ended.cancelled():
            ended.result()
    return by_us


async def _hear_out(reader: asyncio.Task[None], screen: Screen) -> None:
    """Wait until the server has nothing more to say."""
    heard = -1
    try:
        async with asyncio.timeout(PATIENCE):
            while screen.messages != heard and not reader.done():
                heard = screen.messages
                await asyncio.wait({reader}, timeout=QUIET)
    except TimeoutError:
        return


async def _show_messages(ws: ClientConnection, screen: Screen) -> None:
    try:
        while True:
            screen.received(await ws.recv())
    except ConnectionClosed:
        return


async def _send_lines(ws: ClientConnection, lines: AsyncIterator[str]) -> None:
    try:
        async for line in lines:
            await ws.send(line)
    except ConnectionClosed:
        return


async def stdin_lines() -> AsyncIterator[str]:
    """Yield the lines of the standard input, without their ends, until it is closed.

    A thread does the reading, because no event loop can wait for every kind of file. It is a
    daemon and reads the file descriptor itself: a program that ends while it waits for a key
    leaves no lock behind that would stop the interpreter.
    """
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    permits = threading.Semaphore(16)
    arguments = (asyncio.get_running_loop(), chunks, permits)
    threading.Thread(target=_read_stdin, args=arguments, daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        permits.release()
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def _read_stdin(
    loop: asyncio.AbstractEventLoop, chunks: asyncio.Queue[bytes], permits: threading.Semaphore
) -> None:
    chunk = b"?"
    while chunk:
        permits.acquire()
        try:
            chunk = os.read(sys.stdin.fileno(), CHUNK)
        except (OSError, AttributeError):
            chunk = b""
        try:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
        except RuntimeError:
            return
