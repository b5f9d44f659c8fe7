"""One input: what the client sends, how it arrives, and what the application does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from server.fuzz.reference import Deflate
from server.fuzz.streams import Client, Dice, choose, cuts, damage

APPLICATIONS: Final = (
    *("reads", "echoes", "late", "sleeps", "frames", "closes", "returns", "raises"),
)
ENDS: Final = ("silence", "eof", "reset")
MAX_SIZES: Final = (125, 1000, 70_000)
QUEUES: Final = (1, 3, 32)

OFFERS: Final = (
    "",
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
)
AGREED: Final = (None, Deflate(15, False), Deflate(12, False), Deflate(15, True))
"""How the client may compress after each offer; checked against the answer."""


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        stream: What the client sends after the handshake.
        cuts: Where the reads of it begin.
        early: Bytes of it that come before the application has started.
        offer: The number of the compression offer.
        max_size: The limit of a message.
        queue: How many messages may wait.
        app: What the application does.
        turns: Turns of the event loop between reads.
        rests: Whether time passes between reads.
        end: What the client does after it.
        tls: Whether the transport is one of TLS.
        pings: Whether the server sends pings.
        room: Bytes, with the answer to the handshake, that the client reads; `None` for all.
    """

    stream: bytes
    cuts: list[int]
    early: int = 0
    offer: int = 0
    max_size: int = 1000
    queue: int = 32
    app: str = "reads"
    turns: int = 1
    rests: bool = False
    end: str = "eof"
    tls: bool = False
    pings: bool = False
    room: int | None = None


def make(dice: Dice) -> Case:
    """Make an input."""
    max_size = choose(dice, MAX_SIZES)
    offer = dice(len(OFFERS)) if dice(2) else 0
    stream = damage(dice, Client(dice, max_size, AGREED[offer]).frames())
    places = cuts(dice, len(stream))
    return Case(
        stream=stream,
        cuts=places,
        early=dice(len(stream) + 1) if dice(6) == 0 else 0,
        offer=offer,
        max_size=max_size,
        queue=choose(dice, QUEUES),
        app=choose(dice, APPLICATIONS) if dice(2) else "reads",
        turns=dice(3) if len(places) < 20 or dice(8) == 0 else 0,
        rests=len(places) < 5 and dice(4) == 0,
        end=choose(dice, ENDS),
        tls=dice(4) == 0,
        pings=dice(8) == 0,
        room=choose(dice, (100, 200, 300, 1000)) if dice(5) == 0 else None,
    )
