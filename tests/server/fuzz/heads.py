"""Heads of handshake requests, right and wrong, and what must be made of them."""

from __future__ import annotations

import base64
import itertools
import re
from typing import Final

from websockets.server import ServerProtocol

from server.fuzz.outcomes import Finding
from server.fuzz.streams import Dice, choose, cuts, noise
from server.fuzz.trial import Bench
from telex.server._deflate import agree
from telex.server._handshake import BadHandshake, Upgrade, parse

METHODS: Final = (b"GET", b"GET", b"GET", b"POST", b"get", b"", b"GET ", b"\x00")
TARGETS: Final = (
    b"/",
    b"/a/b?c=d&e=%20",
    b"/%ff%00%",
    b"http://h/x?y",
    b"ws://h",
    b"*",
    b"",
    b"/a b",
    b"/\xc3\xa9",
    b"//h/../x",
    b"/?",
    b"/#f",
    b"/" + b"a" * 3000,
)
VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"", b"HTTP/1.1 ")
KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="
GOOD: Final = (
    b"Host: h",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
)
MORE: Final = (
    b"Host: other",
    b"upgrade: h2c, WebSocket",
    b"Upgrade: websocket/13",
    b"connection: keep-alive, UPGRADE",
    b"Connection: close",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Version: 13, 8",
    b"Sec-WebSocket-Key: " + KEY,
    b"Sec-WebSocket-Key: AAAA",
    b"Sec-WebSocket-Key: \xff\xff==",
    b"Sec-WebSocket-Protocol: a, b,, c",
    b"Sec-WebSocket-Protocol: \xe9",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8; x",
    b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99999999999999999999",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\xb2",
    b'Sec-WebSocket-Extensions: x; a="b\\"c", permessage-deflate; server_max_window_bits="10"',
    b"Sec-WebSocket-Extensions: ;;;,,,",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Cookie: a=b; c=d",
    b"X:",
    b": x",
    b"no colon",
    b" folded: x",
    b"X : y",
    b"X: \x00\r\x0b\x85",
    b"\xffX: y",
    b"",
)
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")


def make_head(dice: Dice) -> bytes:
    """Make the head of a request, with up to four things wrong with it."""
    line = b"GET /x HTTP/1.1"
    if dice(3) == 0:
        line = b" ".join((choose(dice, METHODS), choose(dice, TARGETS), choose(dice, VERSIONS)))
    lines = [*GOOD]
    for _ in range(choose(dice, (0, 0, 1, 1, 2, 4))):
        at = dice(len(lines) + 1)
        if dice(3):
            lines.insert(at, choose(dice, MORE))
        elif at < len(lines) > 1:
            del lines[at]
    head = b"\r\n".join((line, *lines, b"", b""))
    for _ in range(choose(dice, (0, 0, 0, 1, 2))):
        at = dice(len(head) + 1)
        head = head[:at] + noise(dice, dice(4)) + head[at + dice(3) :]
    return head


def check_head(bench: Bench, dice: Dice, head: bytes) -> None:
    """Try a head on the parser and on the protocol.

    Raises:
        Finding: Anything but an upgrade or a refusal comes out.
    """
    accepted = False
    try:
        upgrade = parse(head)
        accepted = True
        if upgrade.extensions:
            agree(upgrade.extensions)
    except BadHandshake as bad:
        if not 400 <= bad.status < 500:
            raise Finding(f"refused with {bad.status}") from bad
        accepted = False
    except Exception as exc:
        raise Finding(f"{type(exc).__name__}: {exc}") from exc
    if accepted:
        _check_upgrade(upgrade, head)
    end = head.find(b"\r\n\r\n")
    if end >= 0:
        head = head[: end + 4]
        places = [0, *cuts(dice, len(head)), len(head)]
        pieces = [head[a:b] for a, b in itertools.pairwise(places)]
        _check_answer(bench.answer(pieces))


def _check_upgrade(upgrade: Upgrade, head: bytes) -> None:
    if len(base64.b64decode(upgrade.key)) != 16 or not upgrade.path.startswith("/"):
        raise Finding(f"accepted {upgrade}")
    for name, value in upgrade.headers:
        if not TOKEN.fullmatch(name) or re.search(rb"[\r\n\x00]", value):
            raise Finding(f"accepted the header {name!r}: {value!r}")
    other = ServerProtocol()
    other.receive_data(head)
    events = other.events_received()
    if not events and other.handshake_exc is not None:
        raise Finding(f"accepted; websockets says {other.handshake_exc!r}")


def _check_answer(answer: bytes) -> None:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.1 (101|4\d\d) ", head) or not blank:
        raise Finding(f"answered with {answer!r}")
    if b"\n" in head.replace(b"\r\n", b"") or b"\0" in head:
        raise Finding(f"answered with {answer!r}")
    if not head.startswith(b"HTTP/1.1 101") and b"connection: close" not in head.lower():
        raise Finding(f"refused without hanging up: {answer!r}")
    if head.startswith(b"HTTP/1.1 101") and body:
        raise Finding(f"frames after a 101: {body!r}")
