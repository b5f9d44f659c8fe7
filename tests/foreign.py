"""The examples in the documents of other frameworks, run as they stand there.

    run = foreign.example("kui-en", "K7")
    names = run(app=app)

Their texts are in `compat/documents/`, whose README says where they are from. Nothing is changed in
them but where they import from.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Awaitable
from pathlib import Path
from types import CodeType
from typing import Any, cast

DOCUMENTS = Path(__file__).parent / "compat" / "documents"

PLACES = {
    "kui": "telex.compat.kui",
    "view": "telex.compat.view",
    "lilya": "telex.compat.lilya",
    "genro_asgi": "telex.compat.genro",
}
"""The packages they import from, and ours."""

_IMPORT = re.compile(rf"^from ({'|'.join(PLACES)})\b", re.MULTILINE)


class Example:
    """One example.

    Attributes:
        name: Its document and its number: `"kui-en/K7"`.
        code: Its text, with our imports.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.code = _IMPORT.sub(lambda match: f"from {PLACES[match[1]]}", text)

    def __call__(self, **names: Any) -> dict[str, Any]:
        """Run it as a module in which these names are known; return its names.

        Raises:
            TypeError: It waits for something; see `block`.
        """
        module = {"__name__": self.name, **names}
        exec(self._compiled(0), module)
        return module

    async def block(self, **names: Any) -> dict[str, Any]:
        """Run it as the inside of an asynchronous function; return its names."""
        module = {"__name__": self.name, **names}
        done = eval(self._compiled(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), module)
        if inspect.isawaitable(done):
            await cast(Awaitable[None], done)
        return module

    def _compiled(self, flags: int) -> CodeType:
        # Without the `__future__` of this file.
        made: CodeType = compile(self.code, self.name, "exec", flags, dont_inherit=True)
        return made


def example(document: str, number: str) -> Example:
    """Return the example of a document with that number in `specification`."""
    text = (DOCUMENTS / document / f"{number}.txt").read_text(encoding="utf-8")
    return Example(f"{document}/{number}", text)
