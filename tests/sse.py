"""Requests for Server-Sent Events to an application in this event loop, read as they come.

async with events_of(app, "/ticks", last_id="7") as stream:
    assert (await stream.next()).data == "tick"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opened import soon, turns
from telex._types import ASGIApp, Message

ACCEPT = ("accept", "text/event-stream")


@dataclass
class Event:
    """One event as an `EventSource` takes it out of the stream (HTML §9.2.6)."""

    data: str | None = None
    id: str | None = None
    event: str | None = None
    retry: str | None = None


def parse(text: str) -> Iterable[Event]:
    """Yield the events of a whole stream; comments are none."""
    for block in text.split("\n\n"):
        event = Event()
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if name == "data" and event.data is not None:
                event.data += "\n" + value
            elif name:
                setattr(event, name, value)
        if event != Event():
            yield event


def http_scope(
    path: str, headers: Iterable[tuple[str, str]], method: str = "GET"
) -> dict[str, Any]:
    """Return the scope of a request."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
    }


class EventStream:
    """A request, and the response as far as it has come.

    Attributes:
        task: The application.
        sent: What it has sent.
    """

    def __init__(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        self.sent: list[Message] = []
        self.fail_sends_with: Exception | None = None
        self._news = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._left = asyncio.Event()
        self._asked = False
        self._text = ""
        self._events: list[Event] = []
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))
        self.task.add_done_callback(lambda _: self._news.set())

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reading.wait()
        if self.fail_sends_with is not None:
            raise self.fail_sends_with
        if self._left.is_set():
            return
        self.sent.append(message)
        self._text += message.get("body", b"").decode()
        *whole, self._text = self._text.split("\n\n")
        self._events += parse("\n\n".join(whole))
        self._news.set()

    def leave(self) -> None:
        """Be gone."""
        self._left.set()
        self._reading.set()

    def pause(self) -> None:
        """Read no more: the server's buffers are full."""
        self._reading.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reading.set()

    @property
    def status(self) -> int | None:
        """The status of the response, `None` as long as there is none."""
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the response."""
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        """What came of the body."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def complete(self) -> bool:
        """Whether the response has come to its end."""
        last = self.sent[-1] if self.sent else {}
        return last.get("type") == "http.response.body" and not last.get("more_body")

    async def next(self) -> Event:
        """Wait for the next event."""
        while not self._events:
            assert not self.task.done(), f"the response is over: {self.sent}"
            self._news.clear()
            await soon(self._news.wait())
        return self._events.pop(0)

    async def rest(self) -> list[Event]:
        """Wait for the end of the application, and return what came before it."""
        await soon(asyncio.wait((self.task,)))
        self.task.result()
        return self._events


@asynccontextmanager
async def events_of(
    app: ASGIApp,
    path: str = "/",
    *headers: tuple[str, str],
    last_id: str | None = None,
    method: str = "GET",
) -> AsyncIterator[EventStream]:
    """Ask for events; who leaves the block has left the server, whose task must then end."""
    sent = [ACCEPT, *headers] if not any(name == "accept" for name, _ in headers) else [*headers]
    if last_id is not None:
        sent.append(("last-event-id", last_id))
    stream = EventStream(app, http_scope(path, sent, method))
    try:
        yield stream
    finally:
        stream.leave()
        await soon(asyncio.wait((stream.task,)))
        end_watchers()
        await turns()


async def response_of(app: ASGIApp, path: str = "/", *headers: tuple[str, str], **more: Any) -> Any:
    """Ask, and return the stream when the application has ended by itself."""
    async with events_of(app, path, *headers, **more) as stream:
        await stream.rest()
    return stream


def end_watchers() -> None:
    """End the one task of sse-starlette that looks for the end of the server, for good."""
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__name__", "") == "_shutdown_watcher":
            task.cancel()
