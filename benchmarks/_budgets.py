"""The budgets of the project, and how far a figure is from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from _pairs import Round, Spread


@dataclass(frozen=True)
class Budget:
    """A bound for the ratio of two servers.

    Attributes:
        ours: Whose figure it is.
        theirs: What it is compared with.
        bound: What the ratio must be.
        least: Whether the bound is the least that the ratio may be, else it is the most.
    """

    ours: str
    theirs: str
    bound: float
    least: bool = True

    def line(self, found: Spread) -> str:
        """Return what is printed: who, the figure, the budget, and whether it is met."""
        met = found.middle >= self.bound if self.least else found.middle <= self.bound
        sign = "≥" if self.least else "≤"
        who = f"{self.ours} : {self.theirs}"
        verdict = "met" if met else "NOT MET"
        return f"  {who:<36}{found!s:<20}budget {sign} {self.bound:<5} {verdict}"


ECHO: Final = (
    Budget("telex-ours", "starlette-stock", 2.0),
    Budget("telex-ours", "picows", 0.68),
    Budget("telex-ours", "floor", 0.85),
    Budget("telex-ours", "aiohttp", 1.0),
    Budget("telex-ours", "socketify", 1.0),
    Budget("starlette-ours", "starlette-stock", 1.6),
    Budget("telex-stock", "starlette-stock", 0.95),
)
"""For 64 B of text on 32 connections: how many messages one has for each of the other."""

FANOUT: Final = (
    Budget("telex-ours", "starlette-stock", 1.3),
    Budget("telex-ours", "litestar", 4.0),
)
"""How many deliveries one has for each of the other."""

HANDSHAKES: Final = (Budget("telex-ours", "starlette-stock", 0.66, least=False),)
"""Processor time of one handshake for that of the other."""

LISTENERS: Final = (
    Budget("telex-stock", "fastapi", 2.0),
    Budget("telex-stock", "litestar", 2.0),
    Budget("telex-ours", "fastapi", 2.0),
    Budget("telex-ours", "litestar", 2.0),
)
"""How many messages a listener of one does for each of the other."""

IDLE_KIB: Final = 12.5
IDLE: Final = Budget("telex-ours", "starlette-stock", 0.52, least=False)
DEFLATE_KIB: Final = 8.0
AFTER_BIG_KIB: Final = 32.0
"""Memory of an idle connection, what compression may add to it, and after a message of 1 MiB."""


def speed(measured: Sequence[Round], ours: str, theirs: str) -> Spread:
    """Return how much work one server does in the time that another needs for one piece."""
    return Spread.of([each[theirs].cost / each[ours].cost for each in measured])


def verdicts(measured: Sequence[Round], budgets: Sequence[Budget]) -> list[str]:
    """Return a line for each budget of which both servers were measured."""
    names = measured[0].keys()
    lines = []
    for budget in budgets:
        if budget.ours in names and budget.theirs in names:
            one, other = budget.ours, budget.theirs
            found = speed(measured, one, other) if budget.least else speed(measured, other, one)
            lines.append(budget.line(found))
    return lines
