"""The object of ten fields that listeners take and give, as a pydantic model."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class Order(BaseModel):
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
