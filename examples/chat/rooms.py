"""Rooms and who is in them. No WebSocket, no clock of its own: easy to test, easy to move."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from messages import (
    MAX_TEXT,
    Joined,
    Left,
    RoomInfo,
    Said,
    Say,
    ToClient,
    Welcome,
    encode,
)

MAX_NAME = 24
MAX_PEOPLE = 200
HISTORY = 50

_ROOM_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")


class RoomFull(Exception):
    """There is no place left in the room."""


class Refused(Exception):
    """A message that is not passed on; the text says why."""


@dataclass(eq=False, slots=True)
class Member:
    """One person in one room. `send` must neither wait nor raise."""

    name: str
    key: str
    room: Room
    send: Callable[[str], object]


@dataclass(eq=False, slots=True)
class Room:
    """The people in a room and what they said last."""

    name: str
    clock: Callable[[], datetime]
    members: dict[str, Member] = field(default_factory=dict)
    history: deque[Said] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def broadcast(self, message: ToClient) -> None:
        """Send to everybody: encoded once, and nobody waits for anybody."""
        text = encode(message)
        for member in tuple(self.members.values()):
            member.send(text)

    def say(self, member: Member, message: Say) -> None:
        """Pass a message on. One that was already said is only confirmed to its author.

        Raises:
            Refused: It is empty or too long.
        """
        text = clean_text(message.text)
        if not text or not 0 < len(message.id) <= 64:
            raise Refused("There is nothing in that message.")
        if len(text) > MAX_TEXT:
            raise Refused(f"That is too long: at most {MAX_TEXT} characters.")
        for said in self.history:
            if said.id == message.id and said.name == member.name:
                member.send(encode(said))
                return
        said = Said(id=message.id, name=member.name, text=text, at=self.clock())
        self.history.append(said)
        self.broadcast(said)


@dataclass(eq=False, slots=True)
class Hub:
    """All rooms. A room exists while somebody is in it."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    rooms: dict[str, Room] = field(default_factory=dict)

    def join(self, room_name: str, name: str, key: str, send: Callable[[str], object]) -> Member:
        """Let somebody in, tell the others, and welcome the newcomer.

        A page that lost its connection comes back with the same key before we have noticed
        that it was gone. It takes its old place over: same name, and nobody is told.

        Raises:
            RoomFull: It already holds `MAX_PEOPLE`.
        """
        room = self.rooms.get(room_name) or Room(room_name, self.clock)
        old = next((m for m in room.members.values() if key and m.key == key), None)
        if old is None and len(room.members) >= MAX_PEOPLE:
            raise RoomFull
        member = Member(old.name if old else free_name(name, room.members), key, room, send)
        if old is None:
            room.broadcast(Joined(name=member.name, at=self.clock()))
        self.rooms[room_name] = room
        room.members[member.name.casefold()] = member
        people = [other.name for other in room.members.values()]
        send(encode(Welcome(room_name, member.name, people, list(room.history), self.busiest())))
        return member

    def leave(self, member: Member) -> None:
        """Let somebody out and tell the others. Does nothing when the place was taken over."""
        room = member.room
        if not self.is_here(member):
            return
        del room.members[member.name.casefold()]
        room.broadcast(Left(name=member.name, at=self.clock()))
        if not room.members:
            del self.rooms[room.name]

    def is_here(self, member: Member) -> bool:
        """Whether the member still has its place."""
        return member.room.members.get(member.name.casefold()) is member

    def busiest(self, limit: int = 12) -> list[RoomInfo]:
        """Return the rooms with the most people."""
        rooms = sorted(self.rooms.values(), key=lambda room: (-len(room.members), room.name))
        return [RoomInfo(room.name, len(room.members)) for room in rooms[:limit]]


@dataclass(slots=True)
class TokenBucket:
    """So many messages at once, so many per second. What is refused counts too."""

    clock: Callable[[], float]
    burst: float = 10.0
    per_second: float = 2.0
    tokens: float = field(init=False)
    filled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens, self.filled_at = self.burst, self.clock()

    def take(self) -> float:
        """Take one. Return 0.0 when it was there, else the seconds until it would be."""
        now = self.clock()
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        self.tokens -= 1
        return 0.0 if self.tokens >= 0 else (1 - self.tokens) / self.per_second


def is_room_name(name: str) -> bool:
    """Whether a room may be called that: small letters, digits and hyphens, at most 24."""
    return _ROOM_NAME.fullmatch(name) is not None


def clean_name(name: str) -> str:
    """Return a name that fits in a list: one line, nothing invisible, at most 24 characters."""
    composed = unicodedata.normalize("NFC", name)
    spaced = (" " if char.isspace() else char for char in composed)
    visible = "".join(char for char in spaced if unicodedata.category(char)[0] != "C")
    return " ".join(visible.split())[:MAX_NAME].rstrip() or "Guest"


def clean_text(text: str) -> str:
    """Return a message without control characters; line breaks and tabs stay."""
    unix = text.replace("\r\n", "\n")
    return "".join(c for c in unix if c in "\n\t" or unicodedata.category(c) != "Cc").strip()


def free_name(name: str, taken: dict[str, Member]) -> str:
    """Return the name, with a number behind it when somebody in the room has it already."""
    name = clean_name(name)
    if name.casefold() not in taken:
        return name
    tries = (f"{name[: MAX_NAME - 1 - len(str(n))].rstrip()} {n}" for n in count(2))
    return next(attempt for attempt in tries if attempt.casefold() not in taken)
