"""The server of the fuzzed listeners: `python -m server.fuzz.listener_app` prints its port.

It serves until its standard input ends. What it logs from warnings on goes to standard error, and
so does what cannot be logged.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime as dt
import enum
import gc
import json
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
import pydantic

from server.fuzz.listener_messages import MAX_SIZE
from telex import App, Depends, SocketView, on
from telex.codecs import JSON, MessagePack
from telex.testing import LiveServer

MAX_INVALID: Final = 30
"""Messages in a row that may not fit, of those listeners that answer them."""

Ref = str | int


class Size(enum.Enum):
    SMALL = "S"
    MEDIUM = "M"
    LARGE = "L"


class Customer(msgspec.Struct):
    name: str
    id: uuid.UUID
    born: dt.date | None = None


class Item(msgspec.Struct):
    sku: str
    price: Decimal
    count: Annotated[int, msgspec.Meta(ge=0)]
    size: Size = Size.MEDIUM


class Order(msgspec.Struct):
    ref: Ref
    customer: Customer
    items: list[Item]
    placed: dt.datetime
    notes: dict[str, float | str | None] = {}
    parts: list[Order] = []
    more: Any = None


class Receipt(msgspec.Struct, tag="receipt"):
    ref: Ref
    order: Order


class Say(msgspec.Struct, tag="say"):
    ref: Ref
    text: str


class Said(msgspec.Struct, tag="said"):
    ref: Ref
    text: str


class CustomerModel(pydantic.BaseModel):
    name: str
    id: uuid.UUID
    born: dt.date | None = None


class ItemModel(pydantic.BaseModel, extra="forbid"):
    sku: str
    price: Decimal
    count: Annotated[int, pydantic.Field(ge=0)]
    size: Size = Size.MEDIUM


class OrderModel(pydantic.BaseModel, extra="forbid"):
    ref: Ref
    customer: CustomerModel
    items: list[ItemModel]
    placed: dt.datetime
    notes: dict[str, float | str | None] = {}
    parts: list[OrderModel] = []
    more: Any = None


class ReceiptModel(pydantic.BaseModel):
    type: Literal["receipt"] = "receipt"
    ref: Ref
    order: OrderModel


app = App(codecs={"json": JSON(), "msgpack": MessagePack()})
opened = 0


async def counted() -> AsyncIterator[int]:
    """Count what is open for messages."""
    global opened
    opened += 1
    try:
        yield opened
    finally:
        await asyncio.sleep(0)
        opened -= 1


Counted = Annotated[int, Depends(counted, scope="message")]


@app.websocket_listener("/orders", max_invalid=MAX_INVALID)
async def orders(data: Order) -> Receipt:
    return Receipt(data.ref, data)


@app.websocket_listener("/strict", on_invalid="close")
async def strict(data: Order) -> Receipt:
    return Receipt(data.ref, data)


@app.websocket_listener("/models", max_invalid=MAX_INVALID)
async def models(data: OrderModel) -> ReceiptModel:
    return ReceiptModel(ref=data.ref, order=data)


@app.websocket_listener("/any", max_invalid=MAX_INVALID)
async def anything(data: Any, it: Counted) -> Any:
    return {"type": "seen", "ref": None, "what": type(data).__name__, "open": it}


@app.websocket("/room")
class Room(SocketView):
    max_invalid = MAX_INVALID

    @on
    async def say(self, data: Say, it: Counted) -> Said:
        return Said(data.ref, data.text)

    @on("move", 7)
    async def move(self, data: dict[str, Any]) -> Any:
        return {"type": "moved", "ref": None, "names": len(data)}

    @on("order")
    async def order(self, data: Order) -> AsyncIterator[Receipt]:
        yield Receipt(data.ref, data)

    @on("raw")
    async def raw(self, data: bytes) -> Any:
        return {"type": "seen", "ref": None, "what": "raw"}


class Journal(logging.Handler):
    """Writes every record, as a file in UTF-8 would have it, but keeps warnings and worse alone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode() + b"\n"
        except Exception:
            self.handleError(record)
            return
        self.records += 1
        if record.levelno >= logging.WARNING:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()


def held() -> dict[str, int]:
    """Count what the process holds, without what nobody holds any more."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with open("/proc/self/statm", encoding="ascii") as numbers:
        pages = int(numbers.read().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()),
        "opened": opened,
        "records": journal.records,
    }


async def known(scope: Any, receive: Any, send: Any) -> None:
    """Serve the listeners, and over HTTP what is known of the process."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(held()).encode()})
    else:
        await app(scope, receive, send)


journal = Journal()

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, handlers=[journal])
    with LiveServer(known, log_level="info", ws_max_size=MAX_SIZE, timeout_keep_alive=1) as server:
        sys.stdout.write(f"{server.url.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
