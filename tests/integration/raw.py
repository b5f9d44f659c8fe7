"""A bare ASGI application that does what its client tells it to: the servers, without Telex.

The query string holds a list of steps as a Python literal:

("receive",)            await receive()
("receive", 0.5)        the same, for half a second
("drain",)              receive until the disconnect
("send", message)       await send(message); ("send", message, "bytearray") converts its bytes
("raise",)              raise RuntimeError

Every step leaves an entry in the journal, with the message received or the exception raised.
"""

from __future__ import annotations

import ast
import asyncio
from typing import Any
from urllib.parse import parse_qs

from integration.journal import Journal
from telex._types import Message, Receive, Scope, Send

KINDS = {"bytearray": bytearray, "memoryview": memoryview}


async def run_script(journal: Journal, scope: Scope, receive: Receive, send: Send) -> None:
    """Do what the query string says."""
    steps = ast.literal_eval(parse_qs(scope["query_string"].decode("ascii"))["script"][0])
    await journal.write(scope, "scope", scope=_plain(scope))
    for name, *arguments in steps:
        if name == "raise":
            raise RuntimeError("the script says so")
        try:
            outcome = await _do(name, arguments, receive, send)
        except Exception as exc:
            how = {"error": type(exc).__name__, "is_os_error": isinstance(exc, OSError)}
            await journal.write(scope, name, **how, text=str(exc))
        else:
            await journal.write(scope, name, error=None, message=outcome)
    await journal.write(scope, "done")


async def _do(name: str, arguments: list[Any], receive: Receive, send: Send) -> object:
    match name, arguments:
        case "receive", []:
            return _plain(await receive())
        case "receive", [float(seconds)]:
            async with asyncio.timeout(seconds):
                return _plain(await receive())
        case "drain", []:
            while (message := await receive())["type"] != "websocket.disconnect":
                pass
            return _plain(message)
        case "send", [message, *kind]:
            if kind:
                message["bytes"] = KINDS[kind[0]](message["bytes"])
            await send(message)
            return None
    raise AssertionError(f"no such step: {name} {arguments}")


def _plain(mapping: Message) -> dict[str, object]:
    """A message or scope as JSON can express it: everything but text and None as its repr."""
    return {
        key: value if value is None or isinstance(value, str) else repr(value)
        for key, value in mapping.items()
    }
