"""The typed example over real uvicorn, with what its docstring tells to type."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0
TOO_FEW = "Expected `int` >= 1"

LINES = [
    line
    for line in (EXAMPLES / "typed_echo.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("{")
]


def error(ref: int | None, path: str, message: str) -> dict[str, Any]:
    return {"type": "error", "ref": ref, "errors": [{"path": path, "message": message}]}


ORDERS: list[tuple[str | bytes, dict[str, Any]]] = [
    (LINES[0], {"item": "tea", "total": "4.50", "ref": 1}),
    (LINES[1], error(2, "$.price", "Invalid decimal string")),
    ('{"item": "tea", "price": 1.25, "amount": 0}', error(None, "$.amount", TOO_FEW)),
    (b'{"item": "tea", "price": 1.25, "amount": 4}', {"total": "5.00"}),
]


async def test_orders_are_answered_with_receipts_and_what_is_none_with_an_error() -> None:
    async with asyncio.timeout(DEADLINE), served("typed_echo:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/orders", proxy=None) as ws:
            for message, answer in ORDERS:
                await ws.send(message)
                assert json.loads(await ws.recv()).items() >= answer.items()
        assert ws.close_code == 1000


async def test_ten_wrong_ones_in_a_row_are_the_end() -> None:
    async with asyncio.timeout(DEADLINE), served("typed_echo:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/orders", proxy=None) as ws:
            for _ in range(10):
                await ws.send("no JSON")
                assert json.loads(await ws.recv())["type"] == "error"
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
        assert ws.close_code == 1007
