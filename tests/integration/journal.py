"""What happened inside the server's process, told to the tests.

The application under test writes entries under the key that a test put into its query string;
the test reads them over a connection of its own. Nothing has to be polled or slept for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs

Entry = dict[str, Any]
"""What happened: `what` names it, the other keys say how. JSON can express all of it."""


class Journal:
    """Entries by key. Belongs to one event loop."""

    def __init__(self) -> None:
        self._pages: defaultdict[str, list[Entry]] = defaultdict(list)
        self._news = asyncio.Event()

    async def read(self, key: str) -> AsyncIterator[Entry]:
        """Go through the entries of a key, also those still to come."""
        page = self._pages[key]
        position = 0
        while True:
            while position < len(page):
                position += 1
                yield page[position - 1]
            await self._news.wait()

    def write(self, scope: Mapping[str, Any], what: str, /, **how: object) -> None:
        """Add an entry for the connection that a scope describes."""
        for key in parse_qs(scope["query_string"].decode("ascii")).get("key", ()):
            self._pages[key].append({"what": what, **how})
        self._news.set()
        self._news = asyncio.Event()
