"""The Autobahn client in a process of its own: kosoku changes what `import autobahn` finds.

python -m conformance.fuzzing_client ws://127.0.0.1:8000/asgi 4 '1.*' 2.3

Takes the URL, how many cases may run at once, and patterns of case numbers. Prints a verdict a
line, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

SHOWN = 80
"""Characters of a payload that are shown."""


def matching(patterns: Sequence[str]) -> list[str]:
    """The numbers of the cases that match a pattern, in kosoku's order.

    Its own patterns match beginnings: `12.*.1` would be 12.1.18, too.
    """
    from kosoku.cases import CASES

    return [case for case in CASES if any(fnmatch(case, pattern) for pattern in patterns)]


def take_uncompressed_messages() -> None:
    """Have 12.* and 13.* take a message that the server has not compressed.

    RFC 7692, section 6, leaves it to the sender which messages it compresses. kosoku 0.1.0 gives
    these cases bytes when a message was compressed and `str` when not, and they hash it.
    """
    from kosoku.cases import CASES

    for name, case in CASES.items():
        if name.startswith(("12.", "13.")):
            cast("Any", case).onMessage = as_bytes(cast("Any", case).onMessage)


def as_bytes(on_message: Callable[[Any, str | bytes, bool], None]) -> Callable[..., None]:
    """Wrap a case's `onMessage` so that it is always given bytes."""

    def wrapper(case: Any, message: str | bytes, binary: bool) -> None:
        if isinstance(message, str):
            # Bytes by another name, as in Python 2, from which the cases come.
            message = message.encode("latin-1")
        on_message(case, message, binary)

    return wrapper


async def results(url: str, concurrency: int, cases: Sequence[str]) -> Sequence[CaseResult]:
    """Run cases, failing ones included."""
    import kosoku

    try:
        return await kosoku.run_fuzzingclient(url, cases, concurrency=concurrency)
    except kosoku.FailureError as error:
        return error.results


def event(given: Sequence[Any]) -> str:
    """One message, ping, pong or silence, in short."""
    kind, *rest = given
    payload = str(rest[0]) if rest else ""
    shown = payload if len(payload) <= SHOWN else f"{payload[:SHOWN]}…, {len(payload)} long"
    return f"{'binary ' if rest[1:] == [True] else ''}{kind} {shown!r}"


def events(given: Sequence[Sequence[Any]]) -> str:
    """Some of them, in short."""
    return ", ".join(map(event, given)) or "nothing"


def expected(result: CaseResult) -> str:
    """What would have been right, and how the connection ought to have ended."""
    accepted: Mapping[str, Any] = result.expected or {}
    wanted = [events(given) for verdict, given in accepted.items() if verdict == "OK"]
    closing: Mapping[str, Any] = result.expected_close or {}
    codes = " or ".join(str(code) for code in closing.get("closeCode", ()))
    ending = [f"close {codes}"] if codes else []
    return "; ".join([*wanted, *ending]) or result.expectation


def received(result: CaseResult) -> str:
    """What came, and how the connection ended."""
    code = result.remote_close_code
    ending = "no close frame" if code is None else f"close {code} {result.remote_close_reason!r}"
    return f"{events(result.received or ())}; {ending}"


def verdict(result: CaseResult) -> dict[str, object]:
    """What counts of a result, for `verdicts.Verdict`."""
    return {
        "case": result.case_id,
        "behavior": result.behavior.value,
        "closing": result.behavior_close.value,
        "clean": result.was_clean,
        "description": " ".join(re.sub(r"<.*?>", " ", result.description).split()),
        "expected": expected(result),
        "received": received(result),
        "remark": " / ".join(dict.fromkeys([result.result, result.result_close])),
        "milliseconds": result.duration,
    }


def main() -> None:
    """Run the cases that match the command line."""
    url, concurrency, *patterns = sys.argv[1:]
    cases = matching(patterns)
    if not cases:
        sys.exit(f"no case matches {' '.join(patterns)}")
    take_uncompressed_messages()
    for result in asyncio.run(results(url, int(concurrency), cases)):
        sys.stdout.write(json.dumps(verdict(result)) + "\n")
    sys.stdout.flush()
    # kosoku's threads live on and, now and then, abort an interpreter that ends in good order.
    os._exit(0)


if __name__ == "__main__":
    main()
