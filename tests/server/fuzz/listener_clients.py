"""A client of a listener that sends frames and knows what must be answered to each.

Each message has one answer: what the listener returns, an error message, or a close. A connection
is closed with 1007 for text that is not UTF-8, with 1009 for a message that is too big, and with
1007 or 1003 for the last of too many that do not fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import msgspec

from server.fuzz.listener_app import MAX_INVALID
from server.fuzz.listener_messages import MAX_SIZE, make_message, order, spoken
from server.fuzz.outcomes import Finding
from server.fuzz.soak_clients import Client, frame, request
from server.fuzz.streams import Dice

PATIENCE: Final = 60.0
"""Seconds for some answers; far more than they take, for machines that are busy."""
MOST: Final = 8
"""Messages that are sent before the first answer is read."""
ANSWERS: Final = {"receipt", "said", "moved", "seen"}
"""The types of what the listeners return."""


@dataclass(frozen=True)
class Target:
    """A listener as a client sees it.

    Attributes:
        path: Where it is.
        make: Makes messages for it.
        packed: Whether MessagePack is agreed on.
        max_invalid: After how many in a row that do not fit it closes.
        answers: Whether it answers those.
    """

    path: str
    make: Callable[[Dice, int], Any] = order
    packed: bool = False
    max_invalid: int = MAX_INVALID
    answers: bool = True

    def message(self, number: int) -> tuple[int, bytes]:
        """Return opcode and payload of the message of a number."""
        return make_message(Random(number).randrange, number, self.make, packed=self.packed)

    def __str__(self) -> str:
        return f"{self.path} {'msgpack' if self.packed else 'json'}"


TARGETS: Final = (
    Target("/orders"),
    Target("/orders", packed=True),
    Target("/models"),
    Target("/models", packed=True),
    Target("/room", spoken),
    Target("/room", spoken, packed=True),
    Target("/any"),
    Target("/strict", max_invalid=1, answers=False),
)
"""Message n is for the target at n modulo their number."""


class Sender:
    """Sends the messages of some numbers to one listener, and checks what is answered to each.

    Attributes:
        seen: Kinds of answers, and how many.
    """

    def __init__(self, port: int, target: Target, numbers: Iterator[int]) -> None:
        self._port = port
        self._target = target
        self._numbers = numbers
        self._client: Client | None = None
        self._in_a_row = 0
        self.seen: Counter[str] = Counter()

    async def run(self) -> None:
        """Send everything.

        Raises:
            Finding: What was answered to a message is not what must be.
        """
        try:
            while numbers := self._some():
                async with asyncio.timeout(PATIENCE):
                    await self._exchange(numbers)
            if self._client is not None:
                async with asyncio.timeout(PATIENCE):
                    await self._client.leave()
        except TimeoutError:
            raise Finding(f"{self._target}: nothing was answered for {PATIENCE} seconds") from None
        finally:
            if self._client is not None:
                self._client.writer.close()

    def _some(self) -> list[tuple[int, int, bytes]]:
        """Return the next messages: so many that only the last one can end the connection."""
        some: list[tuple[int, int, bytes]] = []
        while len(some) < min(MOST, self._target.max_invalid - self._in_a_row):
            number = next(self._numbers, None)
            if number is None:
                break
            some.append((number, *self._target.message(number)))
            if refused(*some[-1][1:]):
                break
        return some

    async def _exchange(self, messages: list[tuple[int, int, bytes]]) -> None:
        if self._client is None:
            self._client = await self._connected()
        dice = Random(messages[0][0])
        for _, opcode, data in messages:
            for piece in pieces(dice, opcode, data):
                self._client.writer.write(piece)
        for number, opcode, data in messages:
            try:
                await self._answered(self._client, opcode, data)
            except Exception as error:
                what = f"{'text' if opcode == 1 else 'binary'} {data[:300]!r}, {len(data)} bytes"
                problem = f"{type(error).__name__}: {error}"
                raise Finding(f"input {number}, {self._target}: {problem}\n{what}") from error

    async def _connected(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        spoken = "msgpack" if self._target.packed else "json"
        writer.write(request(self._target.path, f"Sec-WebSocket-Protocol: {spoken}"))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101") or spoken.encode() not in head:
            raise Finding(f"{self._target} was not accepted: {head!r}")
        self._in_a_row = 0
        return Client(reader, writer)

    async def _answered(self, client: Client, opcode: int, data: bytes) -> None:
        codes = refused(opcode, data)
        if codes:
            await self._ended(client, *codes)
            return
        first, payload = await client.read()
        if first == 0x88 and not self._target.answers:
            await self._ended(client, 1003, 1007, close=payload)
            return
        answer = self._read(first, payload)
        ref = answer["ref"]
        expect(ref is None or has_ref(data, ref, packed=self._target.packed), answer)
        if answer["type"] in ANSWERS:
            self._in_a_row = 0
            self.seen["reply"] += 1
            return
        expect(self._target.answers and is_error(answer), answer)
        self.seen["error"] += 1
        self._in_a_row += 1
        if self._in_a_row == self._target.max_invalid:
            await self._ended(client, 1003, 1007)

    def _read(self, first: int, payload: bytes) -> Any:
        expect(first == (0x82 if self._target.packed else 0x81), (hex(first), payload))
        decode = msgspec.msgpack.decode if self._target.packed else json.loads
        answer = decode(payload)
        expect(isinstance(answer, dict) and "type" in answer and "ref" in answer, answer)
        return answer

    async def _ended(self, client: Client, *codes: int, close: bytes | None = None) -> None:
        if close is None:
            first, close = await client.read()
            expect(first == 0x88, (hex(first), close))
        code = int.from_bytes(close[:2])
        expect(code in codes, close)
        self.seen[f"close {code}"] += 1
        self._client = None
        with contextlib.suppress(ConnectionError):
            client.writer.write(frame(0x88, close[:2]))
            expect(not await client.reader.read(), "more behind a close frame")
        client.writer.close()


def refused(opcode: int, data: bytes) -> list[int]:
    """Return with what codes the server itself closes for a message, whichever it finds first."""
    codes = [1009] if len(data) > MAX_SIZE else []
    if opcode == 1:
        try:
            data.decode()
        except UnicodeDecodeError:
            codes.append(1007)
    return codes


def pieces(dice: Random, opcode: int, data: bytes) -> Iterator[bytes]:
    """Go through the frames of a message: most often one, sometimes with a ping in between."""
    cuts = sorted(dice.choices(range(len(data) + 1), k=dice.choice((0, 0, 0, 1, 3))))
    for at, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
        last = 0x80 if at == len(cuts) else 0
        yield frame(last | (opcode if at == 0 else 0), data[begin:end])


def has_ref(data: bytes, ref: object, *, packed: bool) -> bool:
    """Whether this is by what a message wants to be known, as another library reads it."""
    if not packed:
        # In what nobody asked for msgspec takes any bytes, and integers of any length.
        text = data.decode(errors="replace")
        value = json.loads(text, parse_int=lambda digits: int(digits[:4000]))
    else:
        try:
            value = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Here as well.
            return msgspec.msgpack.encode(ref) in data
    return bool(value.get("ref") == ref)


def is_error(answer: dict[str, Any]) -> bool:
    """Whether an answer is an error message as it is documented."""
    errors = answer.get("errors")
    return (
        answer.keys() == {"type", "ref", "errors"}
        and answer["type"] == "error"
        and type(answer["ref"]) in (str, int, type(None))
        and isinstance(errors, list)
        and bool(errors)
        and all(
            each.keys() == {"path", "message"} and each["path"].startswith("$") and each["message"]
            for each in errors
        )
    )


def expect(right: bool, got: object) -> None:
    """Fail for what was answered."""
    if not right:
        raise Finding(f"answered with {str(got)[:500]}")
