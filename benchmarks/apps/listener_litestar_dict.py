"""An object for an object with Litestar: a listener of what the JSON holds, which nobody checks."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, websocket_listener


@websocket_listener("/json")
async def orders(data: dict[str, Any]) -> dict[str, Any]:
    return data


app = Litestar([orders])
