"""The object of ten fields that listeners take and give, as a msgspec `Struct`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct


class Order(Struct):
    id: int
    customer: str
    side: Literal["buy", "sell"]
    price: float
    quantity: int
    urgent: bool
    placed: datetime
    limit: float | None
    levels: list[list[float]]
    note: str
