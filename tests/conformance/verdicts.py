"""What the Autobahn client found: verdicts, how they are counted and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ORDER = ("OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED")
"""All that a verdict may be, best first."""

GOOD = {"OK", "INFORMATIONAL"}


@dataclass(frozen=True)
class Verdict:
    """How a server did in one case.

    Attributes:
        case: The number, such as `"6.4.3"`.
        behavior: Autobahn's verdict on the messages.
        closing: Autobahn's verdict on how the connection ended.
        clean: Whether it ended with close frames from both sides. In most cases Autobahn takes a
            connection that is only dropped for a good end.
        description: What the client does.
        expected: Messages and close codes that would have been right.
        received: What came.
        remark: Autobahn's words for the verdicts.
        milliseconds: How long it took.
    """

    case: str
    behavior: str
    closing: str
    clean: bool
    description: str
    expected: str
    received: str
    remark: str
    milliseconds: int

    def __str__(self) -> str:
        # On the others Autobahn says that all is well.
        remark = f" ({self.remark})" if self.word == "FAILED" else ""
        if not self.clean:
            remark += ", without a close handshake"
        return (
            f"{self.case} {self.word}{remark}\n"
            f"    does      {self.description}\n"
            f"    expected  {self.expected}\n"
            f"    came      {self.received}"
        )

    @property
    def word(self) -> str:
        """Both verdicts in one word: a wrong end makes the case a failed one."""
        if self.closing in GOOD and self.behavior in ORDER:
            return self.behavior
        # Cases that could not be run, too: Autobahn calls them ERROR.
        return "FAILED"

    @property
    def group(self) -> str:
        """The first part of the number."""
        return self.case.partition(".")[0]

    @property
    def is_compression(self) -> bool:
        """Whether the case asks for permessage-deflate."""
        return self.group in {"12", "13"}

    def passes(self, *, compression: bool = True) -> bool:
        """Whether that is what a strict server does, with or without compression."""
        if self.is_compression and not compression:
            return self.word == "UNIMPLEMENTED"
        return self.word in GOOD and self.clean


def counts(verdicts: Sequence[Verdict]) -> str:
    """How many of which word, in one line."""
    found = Counter(verdict.word for verdict in verdicts)
    return ", ".join(f"{found[word]} {word}" for word in ORDER if found[word]) or "none"


def told(verdicts: Sequence[Verdict]) -> str:
    """Each verdict with what was expected and what came."""
    return "\n".join(map(str, verdicts))
