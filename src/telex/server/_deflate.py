"""Compression of messages (RFC 7692), by the extension of the `websockets` library.

An agreement is a matter of the handshake and the same for the same offer, so it is worked out once
an offer. Windows are small (4 KiB), and nothing is allocated for a connection before a message
needs it: a compressor takes 40 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from websockets.exceptions import (
    InvalidHeader,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
)
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from telex.close_codes import CloseCode
from telex.server._handshake import BadHandshake
from telex.server._violation import Violation

WORTH_IT: Final = 256
"""Bytes from which a message is compressed."""

_SETTINGS: Final = {"memLevel": 5}
_OFFERED: Final = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings=_SETTINGS
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed on in the handshake.

    Attributes:
        header: The `Sec-WebSocket-Extensions` of the response.
        forgets: Whether each side begins anew with every message: the client, the server.
        bits: The sizes of their windows, as powers of two.
    """

    header: str
    forgets: tuple[bool, bool]
    bits: tuple[int, int]


@lru_cache(maxsize=64)
def agree(offer: str) -> Agreement | None:
    """Answer the `Sec-WebSocket-Extensions` of a request; `None` for no compression.

    Raises:
        BadHandshake: The header is malformed.
    """
    try:
        offers = parse_extension(offer)
    except InvalidHeader:
        raise BadHandshake(
            HTTPStatus.BAD_REQUEST, "The `Sec-WebSocket-Extensions` header is malformed."
        ) from None
    for name, params in offers:
        if name == _OFFERED.name:
            try:
                answer, made = _OFFERED.process_request_params(params, ())
            except NegotiationError:
                continue
            return Agreement(
                build_extension([(name, answer)]),
                (made.remote_no_context_takeover, made.local_no_context_takeover),
                (made.remote_max_window_bits, made.local_max_window_bits),
            )
    return None


def _malformed() -> Violation:
    return Violation(CloseCode.PROTOCOL_ERROR, "compressed data is malformed")


class Compression:
    """The compression of one connection."""

    __slots__ = ("_agreement", "_decoder", "_encoder")

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._decoder: PerMessageDeflate | None = None
        self._encoder: PerMessageDeflate | None = None

    def inflate(self, data: bytes, *, first: bool, fin: bool, max_size: int) -> Any:
        """Return what one frame of a compressed message holds, as bytes or something like them.

        Args:
            data: Its payload.
            first: Whether the message begins with it.
            fin: Whether the message ends with it.
            max_size: Bytes it may hold; inflating stops there.

        Raises:
            Violation: It holds more, or is not compressed in the way that was agreed on.
        """
        if self._decoder is None:
            self._decoder = self._made(for_client=True)
        elif not first and data and self._decoder.decoder.eof:
            raise _malformed()
        frame = Frame(Opcode.BINARY if first else Opcode.CONT, data, fin, rsv1=first)
        try:
            # One more than may be: zlib may hold back what fits exactly, and zero is no limit.
            inflated = self._decoder.decode(frame, max_size=max_size + 1).data
        except PayloadTooBig:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, "message too big") from None
        except ProtocolError:
            raise _malformed() from None
        decoder = getattr(self._decoder, "decoder", None)
        if fin and decoder is not None and decoder.eof:
            # A last block (RFC 7692 §7.2.3.4). zlib would keep all that follows for nothing.
            self._decoder = None
        if len(inflated) > max_size:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, "message too big")
        return inflated

    def deflate(self, data: bytes) -> Any:
        """Return a message compressed, as bytes or something like them."""
        if self._encoder is None:
            self._encoder = self._made(for_client=False)
        return self._encoder.encode(Frame(Opcode.BINARY, data)).data

    def _made(self, *, for_client: bool) -> PerMessageDeflate:
        # A side that begins anew with every message is given nothing beforehand: so it is said of
        # the one that is not wanted.
        client, server = self._agreement.forgets
        return PerMessageDeflate(
            client or not for_client, server or for_client, *self._agreement.bits, _SETTINGS
        )
