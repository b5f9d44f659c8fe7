"""How test clients meet the ends of a connection. `python tests/testing/rivals.py telex`.

Prints as JSON what a test sees, by ending and application. Every run is a process of its own: what
hangs in one is in nobody's way. `--write` keeps the outcomes of all clients in `rivals.json`, which
the documentation shows and the tests hold both to.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from telex._types import ASGIApp
from testing import rival_apps
from testing.rival_apps import BLOCK, MANY, Notes
from testing.rival_clients import CLIENTS, TIMED, Client, Session

DATA = Path(__file__).with_name("rivals.json")

LIMIT = 1.0
"""Seconds after which a test hangs."""

REST = 0.1
"""Seconds after which what has not ended goes on."""

ENDINGS = {
    "returns": "The handler returns after accept; the client waits for a message",
    "returns first": "The handler returns without accepting",
    "raises first": "The handler raises before accept",
    "raises": "The handler raises after accept; the client waits for a message",
    "rejects": "The handler rejects with 418 and a body",
    "closes": "The server closes with 4001; the client waits for a message",
    "sends on": "The client leaves while the handler sends in a loop",
    "sends on without a pause": "The same, with nothing but sends in the loop",
    "waits elsewhere": "The client leaves while the handler waits for something else",
    "never accepts": "The handler never accepts",
    "says nothing": "The client waits for a message that never comes",
    "leaves a task": "The handler leaves a task behind",
    "is not read": f"{MANY} messages of {len(BLOCK) // 1024} KiB to a client that does not read",
    "stops reading": "The same after `pause_reading()`",
}
"""What happens, for the docs."""

WAITING = {"returns", "raises", "closes", "says nothing"}
"""The endings for which the client waits for a message."""

LEAVING = {"sends on", "sends on without a pause", "waits elsewhere", "leaves a task"}
"""The endings before which it gets one and leaves."""

UNREAD = {"is not read", "stops reading"}
"""The endings in which it reads nothing."""

FATES = {"is cancelled": "the handler is cancelled", "fails": "a call of the handler raises"}
"""What the end of a handler means, when its client has left."""


@dataclass
class Run:
    """One test, with what is seen of it from outside.

    Attributes:
        at: What it does at the moment.
        waited: What the wait for a message raised.
        raised: What came out of everything.
        after_block: What was still there behind the session's block.
        blocked: Whether the handler could not send all it wanted to.
    """

    client: Client
    application: str
    ending: str
    notes: Notes = field(default_factory=Notes)
    at: str = "starting"
    waited: BaseException | None = None
    raised: BaseException | None = None
    after_block: list[str] = field(default_factory=list)
    blocked: bool = False

    def play(self) -> None:
        """The test, from the first line to the last."""
        try:
            self.client.run(self._scene())
        except BaseException as exc:
            self.raised = exc
        self.at = "over"

    def build(self) -> ASGIApp:
        """The application under test."""
        return rival_apps.build(self.application.removesuffix(TIMED), self.ending, self.notes)

    async def _scene(self) -> None:
        timed = self.application.endswith(TIMED)
        async with self.client.open(self.build(), timed) as connect:
            self.at = "connecting"
            try:
                async with connect() as ws:
                    await self._use(ws)
            finally:
                self.at = "leaving"
                await self.client.rest(REST)
                self.after_block = self.survivors()
                self.at = "leaving"

    async def _use(self, ws: Session) -> None:
        try:
            self.at = "waiting"
            if self.ending in WAITING | LEAVING:
                await ws.receive_text()
            elif self.ending in UNREAD:
                if self.ending == "stops reading":
                    ws.stop_reading()
                await self.client.rest(3 * REST)
                self.blocked = self.notes.sent < MANY
        except BaseException as exc:
            self.waited = exc
            raise
        finally:
            self.at = "leaving"

    def survivors(self) -> list[str]:
        """What of the application has not ended."""
        found = ["the handler goes on"] if self.notes.handler == "goes on" else []
        if self.notes.task is not None and not self.notes.task.done():
            found.append("the task goes on")
        return found

    def outcome(self) -> str:
        """What the test saw, in a few words."""
        if self.at != "over":
            return f"hangs {self.at}"
        if isinstance(self.raised, NotImplementedError):
            return "not offered"
        parts = [self._seen()]
        if self.notes.handler == "fails" and "raises" in self.ending:
            parts += [] if _holds_own(self.raised) else ["the handler's exception is lost"]
        if self.ending in UNREAD:
            parts.append("sending is held back" if self.blocked else "all are sent")
        if self.ending in LEAVING and self.notes.handler in FATES:
            parts.append(FATES[self.notes.handler])
        time.sleep(REST)
        last = self.survivors()
        if threading.active_count() > 1:
            last.append("a thread goes on")
        parts += [f"{each} until the client ends" for each in self.after_block if each not in last]
        return "; ".join([*parts, *last])

    def _seen(self) -> str:
        if self.raised is None:
            return "nothing"
        seen = describe(self.raised)
        if self.waited is None or describe(self.waited) == seen:
            return seen
        return f"{describe(self.waited)}, then {seen}"


def describe(exc: BaseException) -> str:
    """An exception in a few words: its class, and the code or status and what was said."""
    if isinstance(exc, BaseExceptionGroup):
        return f"`{type(exc).__name__}` of {' and '.join(map(describe, exc.exceptions))}"
    names = ("status", "status_code", "code")
    number = next((n for name in names if isinstance(n := getattr(exc, name, None), int)), None)
    said = next((s for n in ("reason", "detail", "text") if (s := getattr(exc, n, None))), None)
    values = ", ".join(
        [*([] if number is None else [str(number)]), *([repr(said)] if said else [])]
    )
    return f"`{type(exc).__name__}({values})`" if values else f"`{type(exc).__name__}`"


def _holds_own(exc: BaseException | None) -> bool:
    """Whether the handler's exception can be read in what a test printed."""
    if exc is None or isinstance(exc, rival_apps.OwnError):
        return exc is not None
    inner = list(exc.exceptions) if isinstance(exc, BaseExceptionGroup) else []
    return any(_holds_own(each) for each in (*inner, exc.__cause__, exc.__context__))


def _child(client: str, application: str, ending: str, limit: float, pipe: Connection) -> None:
    """Measure in a thread, for it may hang, and end without waiting for anything."""
    logging.getLogger().addHandler(logging.NullHandler())
    run = Run(CLIENTS[client], application, ending)
    for module in run.client.imports:
        importlib.import_module(module)
    # What is imported late is imported here, not in the time that is measured.
    run.build()
    thread = threading.Thread(target=run.play, daemon=True)
    thread.start()
    thread.join(limit)
    pipe.send(run.outcome())
    os._exit(0)


def outcome(client: str, application: str, ending: str, limit: float = LIMIT) -> str:
    """What a test sees of one ending."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["fastapi", "litestar", "telex", *CLIENTS[client].imports])
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=_child, args=(client, application, ending, limit, theirs))
    child.start()
    try:
        assert ours.poll(limit + 30), "the process that measures hangs itself"
        return str(ours.recv())
    finally:
        child.kill()
        child.join()


def measure(client: str, limit: float = LIMIT) -> dict[str, dict[str, str]]:
    """The whole table of one client: what a test sees, by ending and application."""
    cells = [(each, ending) for ending in ENDINGS for each in CLIENTS[client].applications]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda cell: outcome(client, cell[0], cell[1], limit), cells))
    table: dict[str, dict[str, str]] = {ending: {} for ending in ENDINGS}
    for (application, ending), seen in zip(cells, found, strict=True):
        table[ending][application] = seen
    return table


def versions(client: str) -> dict[str, str]:
    """What a client's outcomes depend on, as installed."""
    return {package: version(package) for package in CLIENTS[client].packages}


def kept() -> dict[str, Any]:
    """The committed outcomes: `versions` and `endings` by client."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def table() -> str:
    """The committed outcomes as a Markdown table."""
    data = kept()
    heads = ["What happens", *(client.title for name, client in CLIENTS.items() if name in data)]
    rows = [heads, ["---"] * len(heads)]
    for ending, text in ENDINGS.items():
        cells = [_cell(data[name]["endings"][ending]) for name in CLIENTS if name in data]
        rows.append([text, *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(outcomes: dict[str, str]) -> str:
    """What all applications have in common once, else each outcome and whose it is."""
    whose: dict[str, list[str]] = {}
    for application, seen in outcomes.items():
        whose.setdefault(seen, []).append(application)
    if len(whose) == 1:
        return next(iter(whose))
    return "<br>".join(f"{_names(names, outcomes)}: {seen}" for seen, names in whose.items())


def _names(some: list[str], outcomes: dict[str, str]) -> str:
    """The names of some applications, without saying twice what is said of all."""
    timed = [each for each in outcomes if each.endswith(TIMED)]
    if set(some) == set(timed):
        return "with timeouts"
    if timed and set(some) == set(outcomes) - set(timed):
        return "without timeouts"
    return ", ".join(each for each in some if each.removesuffix(TIMED) not in set(some) - {each})


def main() -> None:
    """Print the outcomes of one client, or of all by client."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("client", nargs="?", choices=[*CLIENTS, "all"], default="all")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a test may take")
    parser.add_argument("--write", action="store_true", help=f"keep the outcomes in {DATA.name}")
    options = parser.parse_args()
    names = list(CLIENTS) if options.client == "all" else [options.client]
    found = {name: measure(name, options.limit) for name in names}
    print(json.dumps(found if options.client == "all" else found[options.client], indent=1))  # noqa: T201
    if options.write:
        data = kept() if DATA.exists() else {}
        for name in names:
            data[name] = {"versions": versions(name), "endings": found[name]}
        DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
