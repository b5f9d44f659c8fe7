"""Every message of the chat, both ways: one JSON object each, told apart by its `type`."""

from __future__ import annotations

from datetime import datetime

import msgspec

MAX_TEXT = 2_000
"""Characters in one chat message."""

MAX_FRAME = 16_000
"""Characters in one WebSocket message: the longest text, escaped, and its envelope."""


class Join(msgspec.Struct, tag="join"):
    """The first message of a client. The key is its own secret, new for every page load."""

    name: str
    key: str = ""


class Say(msgspec.Struct, tag="say"):
    """Something to say. The client chooses the id, so that it may send it twice."""

    id: str
    text: str


class Ping(msgspec.Struct, tag="ping"):
    """Are you there? Browsers cannot send the ping frames of the protocol."""


class Said(msgspec.Struct, tag="message"):
    """Somebody said something. To the one who said it, this is also the receipt."""

    id: str
    name: str
    text: str
    at: datetime


class Joined(msgspec.Struct, tag="joined"):
    """Somebody came in."""

    name: str
    at: datetime


class Left(msgspec.Struct, tag="left"):
    """Somebody went out."""

    name: str
    at: datetime


class RoomInfo(msgspec.Struct):
    """A room that has people in it."""

    name: str
    people: int


class Welcome(msgspec.Struct, tag="welcome"):
    """The answer to `Join`: the name you got, who is here, what was said last."""

    room: str
    you: str
    members: list[str]
    history: list[Said]
    rooms: list[RoomInfo]


class Pong(msgspec.Struct, tag="pong"):
    """The answer to `Ping`."""

    rooms: list[RoomInfo]


class SlowDown(msgspec.Struct, tag="slow_down"):
    """Nothing was done; send it again after `retry_in` seconds."""

    text: str
    retry_in: float
    id: str | None = None


class Error(msgspec.Struct, tag="error"):
    """Nothing was done, and sending it again will not help."""

    text: str
    id: str | None = None


FromClient = Join | Say | Ping
ToClient = Welcome | Joined | Left | Said | Pong | SlowDown | Error

_decoder: msgspec.json.Decoder[FromClient] = msgspec.json.Decoder(FromClient)
_encoder = msgspec.json.Encoder()


def decode(data: str | bytes) -> FromClient:
    """Read what a client sent.

    Raises:
        ValueError: It is binary, no JSON, or none of our messages. The text says which.
    """
    if isinstance(data, bytes):
        raise ValueError("Send text, not binary.")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(f"That is not a message of this chat: {error}") from None


def encode(message: ToClient) -> str:
    """Write a message for clients."""
    return _encoder.encode(message).decode()
