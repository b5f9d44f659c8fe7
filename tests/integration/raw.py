"""A bare ASGI application that does what its client tells it to: the servers, without Telex.

The query string holds a list of steps as a Python literal:

("receive",)            await receive()
("drain",)              receive until the disconnect
("listen",)             await receive() in a task of its own, to the end of the script
("send", message)       await send(message)
("send bytearray", m)   the same, with the message's bytes as a bytearray; memoryview works too
("raise",)              raise RuntimeError

A number of seconds at the end of a step is its deadline. Every step leaves an entry in the
journal, with the message received or the exception raised, and `done` comes last.
"""

from __future__ import annotations

import ast
import asyncio
from typing import Any
from urllib.parse import parse_qs

from integration.journal import Journal
from telex._types import Message, Receive, Scope, Send


async def run_script(journal: Journal, scope: Scope, receive: Receive, send: Send) -> None:
    """Do what the query string says."""
    steps = ast.literal_eval(parse_qs(scope["query_string"].decode("ascii"))["script"][0])
    journal.write(scope, "scope", scope=_plain(scope))
    listeners: list[asyncio.Future[Message]] = []
    try:
        for step in steps:
            if step[0] == "raise":
                raise RuntimeError("the script says so")
            if step[0] == "listen":
                listeners.append(asyncio.ensure_future(receive()))
                await asyncio.wait(listeners, timeout=0.1)
                continue
            await _note(journal, scope, step, receive, send)
    finally:
        for listener in listeners:
            listener.cancel()
        journal.write(scope, "done")


async def _note(
    journal: Journal, scope: Scope, step: tuple[Any, ...], receive: Receive, send: Send
) -> None:
    what, *arguments = step
    deadline = arguments.pop() if arguments and isinstance(arguments[-1], float) else None
    message = None
    try:
        async with asyncio.timeout(deadline):
            message = await _do(what, *arguments, receive=receive, send=send)
    except Exception as exc:
        how = {"error": type(exc).__name__, "is_os_error": isinstance(exc, OSError)}
        journal.write(scope, what, **how, text=str(exc))
    else:
        journal.write(scope, what, error=None, message=message and _plain(message))


async def _do(
    what: str, message: Message | None = None, *, receive: Receive, send: Send
) -> Message | None:
    if what == "receive":
        return await receive()
    if what == "drain":
        while (event := await receive())["type"] != "websocket.disconnect":
            pass
        return event
    assert message is not None
    if what != "send":
        kind = {"send bytearray": bytearray, "send memoryview": memoryview}[what]
        message["bytes"] = kind(message["bytes"])
    await send(message)
    return None


def _plain(mapping: Message) -> dict[str, object]:
    """A message or scope as JSON can express it: everything but text and None as its repr."""
    return {
        key: value if value is None or isinstance(value, str) else repr(value)
        for key, value in mapping.items()
    }
