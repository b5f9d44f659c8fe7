"""The load in Python, for machines without a C compiler. See `load.c`, which does the same."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from _messages import MASK, masked

SPACE: Final = 1 << 18
PATIENCE: Final = 10.0


class _Client:
    """One connection: what of a frame was read, and what of a message was not sent yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.read = bytearray()
        self.unsent = memoryview(b"")
        self.due: deque[int] = deque()

    def send(self, poll: select.epoll, message: bytes | memoryview) -> None:
        """Send what the kernel takes; ask the poll for room for the rest."""
        was = len(self.unsent)
        left = memoryview(message)
        while left:
            try:
                left = left[os.write(self.fd, left) :]
            except BlockingIOError:
                break
            except OSError as exc:
                raise RuntimeError("the server has hung up") from exc
        self.unsent = left
        if was or left:
            poll.modify(self.fd, select.EPOLLIN | (select.EPOLLOUT if left else 0))

    def messages(self) -> int:
        """Read what is there; return how many messages it completes."""
        try:
            data = os.read(self.fd, SPACE)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise RuntimeError("the server has hung up") from exc
        if not data:
            raise RuntimeError("the server has hung up")
        if not self.read and data[0] in (0x81, 0x82) and data[1] == len(data) - 2 < 126:
            return 1
        self.read += data
        done = 0
        while (size := _frame_size(self.read)) is not None:
            done += self._frame(bytes(self.read[:size]))
            del self.read[:size]
        return done

    def _frame(self, frame: bytes) -> int:
        match frame[0] & 0x0F:
            case 8:
                raise RuntimeError("the server has closed a connection")
            case 9:
                if not self.unsent:
                    os.write(self.fd, bytes((0x8A, 0x80 | frame[1])) + MASK + masked(frame[2:]))
                return 0
        return 1 if frame[0] & 0x80 and frame[0] & 0x0F < 3 else 0


def _frame_size(data: bytearray) -> int | None:
    """Return the size of the first frame, `None` while it is not complete."""
    if len(data) < 2:
        return None
    size, head = data[1], 2
    if size >= 126:
        head = 4 if size == 126 else 10
        if len(data) < head:
            return None
        size = int.from_bytes(data[2:head])
    return head + size if len(data) >= head + size else None


class PythonLoad:
    """The engine in Python."""

    name = "Python"

    def echo(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        until, done, waiting = time.perf_counter() + seconds, 0, len(fds)
        clients = {fd: _Client(fd) for fd in fds}
        with _poll(fds) as poll:
            for client in clients.values():
                client.send(poll, message)
            while waiting:
                for client, came in _ready(poll, clients):
                    done += came
                    if not came:
                        continue
                    if time.perf_counter() < until:
                        client.send(poll, message)
                    else:
                        waiting -= 1
        return done

    def fanout(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        until, done = time.perf_counter() + seconds, 0
        clients = {fd: _Client(fd) for fd in fds}
        with _poll(fds) as poll:
            while time.perf_counter() < until:
                clients[fds[0]].send(poll, message)
                waiting = len(fds)
                while waiting > 0:
                    came = sum(each for _, each in _ready(poll, clients))
                    waiting -= came
                    done += came
        return done

    def paced(self, fds: Sequence[int], message: bytes, rate: float, total: int) -> list[int]:
        clients, sent = {fd: _Client(fd) for fd in fds}, 0
        times: list[int] = []
        begun = time.perf_counter_ns()
        with _poll(fds) as poll:
            while len(times) < total:
                due = begun + int(sent * 1e9 / rate)
                if sent < total and time.perf_counter_ns() >= due:
                    client = clients[fds[sent % len(fds)]]
                    client.due.append(due)
                    client.send(poll, message)
                    sent += 1
                    continue
                for client, came in _ready(poll, clients, 0 if sent < total else PATIENCE):
                    now = time.perf_counter_ns()
                    times += [now - client.due.popleft() for _ in range(came)]
        return times

    def tend(self, fds: Sequence[int]) -> None:
        for fd in fds:
            _Client(fd).messages()


def _poll(fds: Sequence[int]) -> select.epoll:
    poll = select.epoll()
    for fd in fds:
        poll.register(fd, select.EPOLLIN)
    return poll


def _ready(
    poll: select.epoll, clients: dict[int, _Client], patience: float = PATIENCE
) -> list[tuple[_Client, int]]:
    """Wait for connections, send what they had no room for, and return what came on them."""
    events = poll.poll(patience)
    if not events and patience:
        raise RuntimeError("no answer from the server")
    found = []
    for fd, event in events:
        client = clients[fd]
        if event & select.EPOLLOUT:
            client.send(poll, client.unsent)
        if event & ~select.EPOLLOUT:
            found.append((client, client.messages()))
    return found
