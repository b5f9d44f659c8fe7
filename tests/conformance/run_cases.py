"""Run Autobahn's cases against an echo server in a process of its own. `make conformance`.

Without arguments all of them, against Telex's protocol without and with compression, as a plain
ASGI application and as a handler. Ends with 1 when the protocol is not strict, with 2 when the
cases could not be run.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from conformance.verdicts import ORDER, Verdict, counts, told
from integration.servers import TESTS, Kind, Server, running

OURS: Final = "telex.server:WebSocketProtocol"
PATHS: Final = {"asgi": "/asgi", "telex": "/telex"}
"""Where `conformance.echo` has which application."""

CASES: Final = 517
"""All that there are; a run of the whole suite that finds others has not run it."""

GROUPS: Final = (
    *(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)),
    *(f"12.{group}.*" for group in range(1, 6)),
    *(f"13.{group}.*" for group in range(1, 8)),
)
"""The whole suite, in parts that are reported one by one."""

CONCURRENCY: Final = 4
"""Cases at once: several wait for seconds."""

DEADLINE: Final = 900.0
"""Seconds for one part; the longest took 180 on a crowded machine with two cores."""


def echo_server(ws: str = OURS, *, compression: bool = True, loop: str = "auto") -> Kind:
    """An echo server with uvicorn's defaults, but for pings, which Autobahn does not expect."""
    command = (
        "uvicorn {app} --host 127.0.0.1 --port {port} --log-level warning"
        f" --ws {ws} --ws-per-message-deflate {compression} --loop {loop}"
        " --ws-ping-interval 3600"
    )
    return Kind(f"uvicorn {ws}", ("uvicorn",), command)


def run(url: str, patterns: Sequence[str], deadline: float = DEADLINE) -> list[Verdict]:
    """Run the cases that match one of the patterns.

    Raises:
        ValueError: None matches.
        RuntimeError: The client broke down or took too long.
    """
    command = ["-m", "conformance.fuzzing_client", url, str(CONCURRENCY), *patterns]
    try:
        client = subprocess.run(
            [sys.executable, *command], cwd=TESTS, capture_output=True, text=True, timeout=deadline
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(patterns)} took more than {deadline:g} seconds") from None
    if client.returncode:
        kind = ValueError if client.stderr.startswith("no case") else RuntimeError
        raise kind(client.stderr.strip())
    return [Verdict(**json.loads(line)) for line in client.stdout.splitlines()]


@dataclass(frozen=True)
class Run:
    """All cases against one server.

    Attributes:
        app: `"asgi"` or `"telex"`.
        compression: Whether the server offers permessage-deflate.
        verdicts: What came out.
        seconds: How long it took.
    """

    app: str
    compression: bool
    verdicts: list[Verdict]
    seconds: float

    def __str__(self) -> str:
        return f"{self.app}, {'with' if self.compression else 'without'} compression"

    @property
    def not_passed(self) -> list[Verdict]:
        """What a strict server would have done otherwise."""
        return [each for each in self.verdicts if not each.passes(compression=self.compression)]


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run_parts(server: Server, app: str, patterns: Sequence[str]) -> list[Verdict]:
    """Run cases part by part and say how each went."""
    verdicts: dict[str, Verdict] = {}
    for pattern in patterns:
        begun = time.monotonic()
        part = run(server.url(PATHS[app]), [pattern])
        verdicts.update((verdict.case, verdict) for verdict in part)
        say(f"  {pattern:8} {counts(part)} ({time.monotonic() - begun:.0f} s)")
    return [*verdicts.values()]


def run_server(options: argparse.Namespace, app: str, compression: bool) -> Run:
    """Start a server, run the cases against it, and stop it."""
    kind = echo_server(options.ws, compression=compression, loop=options.loop)
    say(f"== {options.ws}, {app}, {'with' if compression else 'without'} compression")
    begun = time.monotonic()
    with running(kind, "conformance.echo:served") as server:
        verdicts = run_parts(server, app, options.cases or GROUPS)
        if "Traceback" in server.output and options.ws == OURS:
            say(f"The server printed:\n{server.output}")
    return Run(app, compression, verdicts, time.monotonic() - begun)


def versions() -> dict[str, str]:
    """What the run was made with."""
    found = {"Python": platform.python_version()}
    for package in ("kosoku", "uvicorn", "picows", "websockets", "wsproto", "httptools", "uvloop"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def summary(runs: Sequence[Run]) -> str:
    """The table for the documentation, and every case that did not pass."""
    rows = [f"| Application | Compression | {' | '.join(ORDER)} | Dropped | Seconds |"]
    rows.append("|---" * (len(ORDER) + 4) + "|")
    for each in runs:
        words = [verdict.word for verdict in each.verdicts]
        numbers = " | ".join(str(words.count(word)) for word in ORDER)
        rows.append(
            f"| {each.app} | {'on' if each.compression else 'off'} | {numbers}"
            f" | {sum(not one.clean for one in each.verdicts)} | {each.seconds:.0f} |"
        )
    parts = [f"{each}:\n{told(each.not_passed)}" for each in runs if each.not_passed]
    return "\n\n".join(["\n".join(rows), *parts])


def as_json(options: argparse.Namespace, runs: Sequence[Run]) -> dict[str, Any]:
    """Everything, for whoever compares runs."""
    return {
        "ws": options.ws,
        "loop": options.loop,
        "versions": versions(),
        "runs": [
            {
                **asdict(each),
                "verdicts": [{**asdict(one), "word": one.word} for one in each.verdicts],
            }
            for each in runs
        ],
    }


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--ws", default=OURS, help="another protocol of uvicorn's, by its name")
    parser.add_argument("--app", choices=PATHS, help="default: both")
    parser.add_argument("--compression", choices=["on", "off"], help="default: both")
    parser.add_argument("--loop", default="auto", help="asyncio or uvloop; default: auto")
    parser.add_argument(
        "--cases", type=lambda given: given.split(","), help="such as '1.*,6.4.3'; default: all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict there")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for; 1 when a case has not passed."""
    options = parsed()
    # As for SIGINT: the server is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    say(", ".join(f"{name} {number}" for name, number in versions().items()))
    runs = [
        run_server(options, app, compression)
        for compression in (False, True)
        if options.compression in (None, "on" if compression else "off")
        for app in ([options.app] if options.app else PATHS)
    ]
    if options.json:
        options.json.write_text(json.dumps(as_json(options, runs), indent=1), encoding="utf-8")
    say(f"\n{summary(runs)}")
    if not options.cases and any(len(each.verdicts) != CASES for each in runs):
        say(f"Not all of the {CASES} cases were run.")
        return 1
    return int(any(each.not_passed for each in runs))


if __name__ == "__main__":
    try:
        code = main()
    except (RuntimeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        code = 2
    sys.exit(code)
