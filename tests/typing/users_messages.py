"""What users write for typed messages, as a type checker sees it. Checked by `test_types.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, assert_type

import msgspec

from telex import App, Depends, SocketView, StreamEvent, WebSocket, on
from telex._iterator import MessageIterator
from telex.codecs import JSON, Codec, MessagePack


class Order(msgspec.Struct):
    price: float


class Receipt(msgspec.Struct):
    total: float


app = App(codec=JSON(), codecs={"json": JSON(), "msgpack": MessagePack()})
App(codec="json")  # type: ignore[arg-type]


async def values(ws: WebSocket) -> None:
    assert_type(await ws.receive_as(Order), Order)
    assert_type(await ws.receive_as(int), int)
    assert_type(await ws.receive_as(Order | int), Any)
    assert_type(await ws.receive_as(), Any)
    assert_type(ws.iter_as(Order), MessageIterator[Order])
    async for order in ws.iter_as(Order):
        assert_type(order, Order)
    assert_type(await ws.pair("ready?", bool), bool)
    assert_type(await ws.pair(1, Order, recv_first=True), Order)
    assert_type(await ws.expect({"a": 1}), dict[str, int])
    assert_type(await ws.request({"ask": 1}, Receipt, timeout=None), Receipt)
    assert_type(await ws.request({"ask": 1}), Any)
    await ws.send_value([Order(1.0)])
    codec: Codec = ws.codec
    codec.encode(1)


def price_of(order: Order) -> float:
    return order.price


async def per_message(data: Order) -> str:
    return str(data.price)


@app.websocket_listener("/orders", concurrency=3, key=price_of)
async def orders(
    data: Order, text: Annotated[str, Depends(per_message, scope="message")]
) -> Receipt:
    return Receipt(data.price + len(text))


still_a_function: Callable[[Order, str], Awaitable[Receipt]] = orders


@app.router.websocket_listener("/strict", on_invalid="close", max_invalid=1)
async def strict(data: Order) -> AsyncIterator[Receipt]:
    yield Receipt(data.price)


@app.websocket_stream("/ticks/{symbol}")
async def ticks(symbol: str) -> AsyncIterator[StreamEvent | str]:
    yield StreamEvent({"symbol": symbol}, id="1")
    yield "tick"


assert_type(ticks("x"), AsyncIterator[StreamEvent | str])
app.router.websocket_listener("/bad", on_invalid="ignore")  # type: ignore[arg-type]


@app.websocket("/chat")
class Chat(SocketView):
    discriminator = "kind"
    on_invalid = "raise"

    @on("order", 7)
    async def order(self, data: Order) -> Receipt:
        return Receipt(data.price)

    @on
    async def tagged(self, data: Order) -> None:
        assert_type(await self.order(data), Receipt)
