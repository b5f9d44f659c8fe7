"""Typed messages: each one becomes an `Order`, and the `Receipt` that is returned is sent.

telex run typed_echo:app --app-dir examples
telex connect ws://127.0.0.1:8000/orders
{"item": "tea", "price": "4.50", "ref": 1}
{"item": "tea", "price": "much", "ref": 2}
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec

import telex

app = telex.App()


class Order(msgspec.Struct):
    item: str
    price: Decimal
    amount: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    ref: int | None = None


class Receipt(msgspec.Struct):
    item: str
    total: Decimal
    ref: int | None


@app.websocket_listener("/orders")
async def orders(data: Order) -> Receipt:
    return Receipt(data.item, data.price * data.amount, data.ref)
