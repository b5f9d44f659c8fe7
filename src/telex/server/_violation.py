"""A violation of the protocol by the client, which ends the connection."""

from __future__ import annotations


class Violation(Exception):
    """What a client sent is against the protocol or its limits (RFC 6455 §7.1.7).

    Attributes:
        code: The close code that says so.
        reason: The close reason.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code:d})")
        self.code = int(code)
        self.reason = reason
