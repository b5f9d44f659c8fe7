"""What came out of a trial, compared with what must."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

from server.fuzz.cases import Case
from server.fuzz.reference import TAIL, Verdict

OWN_CODE: Final = 4321
OWN_ENDS: Final = {"closes": OWN_CODE, "returns": 1000, "raises": 1011}
"""The close codes of applications that end the connection after a message."""


class Finding(AssertionError):
    """Something came out that must not."""


@dataclass
class Outcome:
    """What came out.

    Attributes:
        received: The messages that the application has received.
        disconnect: Code and reason that it was told at the end.
        frames: Opcodes and payloads of what the server has sent.
        dropped: Whether the server ended the connection before the client did.
    """

    received: list[str | bytes] = field(default_factory=list)
    disconnect: tuple[int, str] | None = None
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    dropped: bool = False

    def sent(self, *opcodes: int) -> list[bytes]:
        """The payloads of the frames of some kinds that the server has sent."""
        return [payload for kind, payload in self.frames if kind in opcodes]


def read_answer(offer: int, written: bytes, outcome: Outcome) -> None:
    """Read what the server has written, frame by frame, strictly.

    Raises:
        Finding: It may not write that.
    """
    head, _, data = written.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        raise Finding(f"not accepted: {written!r}")
    if (b"permessage-deflate" in head) != bool(offer):
        raise Finding(f"compression: {head!r}")
    if (b"client_max_window_bits=12" in head) != (offer == 2):
        raise Finding(f"windows: {head!r}")
    unpacker = zlib.decompressobj(-15)
    while data:
        first, size, at = data[0], data[1], 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        payload, data = data[at : at + size], data[at + size :]
        if len(payload) != size:
            raise Finding("the last frame of the server is not whole")
        if first & 0xB0 != 0x80 or (first & 0x40 and not (offer and first & 0x0F < 3)):
            raise Finding(f"the server has sent a frame with {first:#x}")
        if first & 0x40:
            payload = unpacker.decompress(payload + TAIL)
            if offer == 3:
                unpacker = zlib.decompressobj(-15)
        outcome.frames.append((first & 0x0F, payload))
    kinds = [kind for kind, _ in outcome.frames]
    if 8 in kinds[:-1]:
        raise Finding(f"something follows a close frame: {outcome.frames}")


def compare(case: Case, outcome: Outcome, verdict: Verdict) -> None:
    """Compare what came out with what must.

    Raises:
        Finding: They differ.
    """
    closes = outcome.sent(8)
    code = int.from_bytes(closes[0][:2], "big") if closes and closes[0] else None
    if case.room is not None:
        _compare_clogged(case, outcome, verdict, code)
        return
    if case.app in OWN_ENDS and verdict.messages:
        _compare_own_end(case, outcome, verdict, code)
        return
    if code == 1011 and case.pings and case.end == "silence":
        # Its pings were not answered.
        told = outcome.disconnect
        if told is not None and told[0] != 1011:
            raise Finding(f"the application was told {told}")
        code, closes = None, []
    _compare_messages(case, outcome, verdict)
    _compare_pongs(outcome, verdict)
    if verdict.closed is not None:
        _compare_closed(outcome, verdict.closed)
    elif verdict.refused and code is None and case.app == "sleeps" and case.end != "silence":
        # The close frame waits a moment for the application, and the client has left before.
        _compare_told(outcome, 1006, *verdict.refused)
    elif verdict.refused and (verdict.certain or code is not None):
        if code not in verdict.refused:
            raise Finding(f"closed with {code}, expected {verdict.refused}")
        _compare_told(outcome, code)
    elif code is not None:
        raise Finding(f"closed with {code} without a reason")
    else:
        _compare_told(outcome, 1006, *([1011] if case.pings else []))
    if outcome.disconnect is None and case.app != "echoes":
        raise Finding("the application was told nothing")
    if (closes or verdict.closed == b"") and case.end == "silence" and not outcome.dropped:
        raise Finding("the connection was left to the client")


def _compare_own_end(case: Case, outcome: Outcome, verdict: Verdict, code: int | None) -> None:
    """The application has ended it, or the client at the same time."""
    received = outcome.received
    if received != verdict.messages[: len(received)] or not received:
        raise Finding(f"received {received}, expected some of {verdict.messages}")
    own = OWN_ENDS[case.app]
    theirs = int.from_bytes(verdict.closed[:2], "big") if verdict.closed else None
    if code not in {own, theirs, None, *verdict.refused}:
        raise Finding(f"closed with {code}, expected {own}, {theirs} or {verdict.refused}")
    if code is None and verdict.closed != b"" and case.end == "silence":
        raise Finding("no close frame")
    if case.end == "silence" and not outcome.dropped:
        raise Finding("the connection was left to the client")


def _compare_clogged(case: Case, outcome: Outcome, verdict: Verdict, code: int | None) -> None:
    """The client does not read all, so the server may not have read all either."""
    received = outcome.received
    if received != verdict.messages[: len(received)]:
        raise Finding(f"received {received}, expected some of {verdict.messages}")
    theirs = int.from_bytes(verdict.closed[:2], "big") if verdict.closed else None
    allowed = {OWN_ENDS.get(case.app), theirs, None, *verdict.refused}
    if code not in allowed | ({1011} if case.pings else set()):
        raise Finding(f"closed with {code}, expected {allowed}")
    if outcome.sent(8) and case.end == "silence" and not outcome.dropped:
        raise Finding("a client that does not read was not dropped")


def _compare_messages(case: Case, outcome: Outcome, verdict: Verdict) -> None:
    received, expected = outcome.received, verdict.messages
    over = verdict.closed is not None or bool(verdict.refused) or case.end != "silence"
    if case.app == "echoes" and over:
        # It may have ended because its echo was refused.
        expected = expected[: max(len(received), 1)]
    if received != expected:
        raise Finding(f"received {received}, expected {expected}")
    if case.app == "echoes":
        sent = [each.decode() if kind == 1 else each for kind, each in outcome.frames if kind < 8]
        if sent != received[: len(sent)] or (not over and sent != received):
            raise Finding(f"echoed {sent} of {received}")


def _compare_pongs(outcome: Outcome, verdict: Verdict) -> None:
    pongs = outcome.sent(10)
    # Where the connection fails, the last ones may be missing.
    whole = not verdict.refused
    if pongs != verdict.pongs[: len(pongs)] or (whole and pongs != verdict.pongs):
        raise Finding(f"pongs {pongs}, expected {verdict.pongs}")


def _compare_closed(outcome: Outcome, payload: bytes) -> None:
    answers = outcome.sent(8)
    if answers != [payload[:2]]:
        raise Finding(f"the close frame {payload!r} was answered with {answers}")
    _compare_told(outcome, int.from_bytes(payload[:2], "big") if payload else 1005)


def _compare_told(outcome: Outcome, *codes: int | None) -> None:
    told = outcome.disconnect
    if told is not None and told[0] not in codes:
        raise Finding(f"the application was told {told}, expected {codes}")
