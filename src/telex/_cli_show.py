"""What `telex connect` writes: messages on the standard output, all else on the standard error."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NoReturn

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from telex.close_codes import describe

MAX_HEX: Final = 1024
"""Bytes of a binary message that are written out."""
MAX_BODY: Final = 4000
"""Characters of a denial's body that are written out."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_QUIET_HEADERS: Final = frozenset({"connection", "content-length", "date", "transfer-encoding"})
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_highlight_json: Final = JSONHighlighter()


class _Stream(Console):
    def on_broken_pipe(self) -> NoReturn:
        # Rich would leave with SystemExit, from the middle of a task.
        raise BrokenPipeError


class Screen:
    """The two output streams of one session.

    Args:
        raw: Write messages as they came, one a line, without time and colour. Control characters
            are only made visible on a terminal.

    Attributes:
        messages: How many were written.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self.raw = raw
        self.messages = 0
        self._out = _Stream(soft_wrap=True, highlight=False)
        self._err = _Stream(soft_wrap=True, highlight=False, stderr=True)

    def received(self, message: str | bytes) -> None:
        """Write one message from the server.

        Raises:
            BrokenPipeError: Nobody reads the output any more.
        """
        self.messages += 1
        if self.raw:
            text = message if isinstance(message, str) else message.hex()
            print(visible(text) if self._out.is_terminal else text, flush=True)  # noqa: T201
            return
        clock = (time.strftime("%H:%M:%S"), "dim")
        self._out.print(Text.assemble(clock, (" < ", "bold cyan"), _render(message)))

    def note(self, sentence: str, style: str = "dim") -> None:
        """Write a remark of our own."""
        self._err.print(Text(visible(sentence), style))

    def problem(self, sentence: str) -> None:
        """Write what went wrong."""
        self.note(sentence, "bold red")

    def rejected(
        self, status: int, phrase: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        """Write the HTTP response that came instead of a connection."""
        self.problem(f"the server rejected the connection: HTTP {status} {phrase}".rstrip())
        for name, value in headers:
            if name.lower() not in _QUIET_HEADERS:
                self.note(f"{name}: {value}")
        text = body.decode("utf-8", "replace").strip()
        if text:
            self._err.print(_render(text[:MAX_BODY]))

    def closed(self, code: int, reason: str, *, by_us: bool) -> None:
        """Write how the connection ended, and whether a client should connect again."""
        info = describe(code)
        who = "closed" if by_us else "the connection was lost" if code == 1006 else "server closed"
        said = f" ({reason!r})" if reason else ""
        self.note(f"{who}: {code} {info.name}{said}", "bold" if code <= 1001 else "bold yellow")
        if not by_us:
            advice = {
                True: "A client should connect again.",
                False: "Connecting again will not help.",
                None: "Whether to connect again, only the application knows.",
            }
            self.note(f"{info.meaning} {advice[info.reconnect]}")


def visible(text: str) -> str:
    """Return a text in which nothing commands the terminal: control characters become escapes."""
    return "".join(char if _is_harmless(char) else repr(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    return char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _BIDI)


def indent_json(text: str) -> str | None:
    """Return a JSON object or array over several lines, or `None` when the text is neither.

    Only white space changes: repeated keys, long numbers and escapes stay as they were sent.
    """
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    tokens: list[str] = _TOKEN.findall(text)
    out: list[str] = []
    depth = 0
    for before, token in pairwise(["", *tokens]):
        closing = token in ("]", "}")
        depth -= closing
        if closing != (before in ("[", "{")) or before == ",":
            out.append("\n" + "  " * depth)
        depth += token in ("[", "{")
        out.append(": " if token == ":" else token)
    return "".join(out).strip()


def _render(message: str | bytes) -> Text:
    if isinstance(message, bytes):
        more = len(message) - MAX_HEX
        tail = f" … {more} more bytes" if more > 0 else ""
        size = (f"{len(message)} bytes  ", "magenta")
        return Text.assemble(size, message[:MAX_HEX].hex(" ") + tail)
    pretty = indent_json(message)
    text = Text(visible(message if pretty is None else pretty))
    if pretty is not None:
        _highlight_json.highlight(text)
    return text
