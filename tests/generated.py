"""Sections of the docs that are made from the code and data. `python tests/generated.py`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from types import ModuleType

import compatibility
from integration import capabilities
from pages import ROOT
from telex import exceptions, lifecycle
from telex._state import APPLICATION, CLIENT, Phase
from telex.close_codes import all_close_codes
from telex.middleware import errors
from telex.routing import _convertors
from testing import rivals


def _diagram(transitions: Mapping[tuple[Phase, str], Phase]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> CONNECTING"]
    for (before, kind), after in transitions.items():
        name = kind.removeprefix("websocket.")
        if (before, name) == (Phase.DENYING, "http.response.body"):
            # The one thing the table cannot say, see the head of `_state.py`.
            lines.append(f"    {before.name} --> {after.name}: {name}, more to come")
            lines.append(f"    {before.name} --> DISCONNECTED: {name}, the last")
        else:
            lines.append(f"    {before.name} --> {after.name}: {name}")
    return "\n".join([*lines, "    DISCONNECTED --> [*]", "```"])


def application() -> str:
    """The state diagram of the application's side."""
    return _diagram(APPLICATION)


def client() -> str:
    """The state diagram of the client's side."""
    return _diagram(CLIENT)


def tree() -> str:
    """The tree of errors, as drawn at the head of `exceptions.py`."""
    drawn = re.search(r"\n\n(    .*?)\n\n", exceptions.__doc__ or "", re.DOTALL)
    assert drawn
    return f"```text\n{inspect.cleandoc(drawn[1])}\n```"


def codes() -> str:
    """Every close code that has a meaning of its own."""
    again = {True: "yes", False: "no", None: "ask the application"}
    rows = [
        f"| {info.code} | {info.name} | {info.meaning} | {info.sender} | {again[info.reconnect]} |"
        for info in all_close_codes()
    ]
    head = "| Code | Name | Meaning | Who sends it | Connect again? |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _table_in(module: ModuleType) -> str:
    """The table at the head of a module."""
    lines = [line for line in (module.__doc__ or "").splitlines() if line.startswith("|")]
    head = " | ".join(cell.strip().capitalize() for cell in lines[0].strip("|").split("|"))
    return "\n".join([f"| {head} |", *lines[1:]])


def convertors() -> str:
    """The types of path parameters."""
    return _table_in(_convertors)


def endings() -> str:
    """How a handler may end."""
    return _table_in(lifecycle)


def answers() -> str:
    """What an exception becomes."""
    return _table_in(errors)


SECTIONS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/lifecycle.md": {"endings": endings, "application": application, "client": client},
    "docs/errors.md": {"tree": tree, "answers": answers, "codes": codes},
    "docs/routing.md": {"convertors": convertors},
    "docs/testing.md": {"clients": rivals.table},
    "docs/servers.md": {
        "versions": capabilities.versions,
        "application": capabilities.application,
        "facts": capabilities.facts,
    },
    "docs/compatibility.md": {
        "counts": compatibility.counts,
        "kui": functools.partial(compatibility.statements, "kui"),
        "kui-chinese": functools.partial(compatibility.repeats, "kui"),
        "kui-differs": functools.partial(compatibility.differences, "kui"),
        "view": functools.partial(compatibility.statements, "view"),
        "view-differs": functools.partial(compatibility.differences, "view"),
        "lilya": functools.partial(compatibility.statements, "lilya"),
        "lilya-differs": functools.partial(compatibility.differences, "lilya"),
        "genro": functools.partial(compatibility.statements, "genro"),
        "genro-differs": functools.partial(compatibility.differences, "genro"),
        "disagree": compatibility.conflicts,
        "traps": compatibility.traps,
    },
}
"""By file and by the name in `<!-- generated: name -->`."""


def write() -> None:
    """Bring every section up to date."""
    for file, sections in SECTIONS.items():
        path = ROOT / file
        text = path.read_text(encoding="utf-8")
        for name, make in sections.items():
            begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
            before, _, rest = text.partition(begin)
            text = before + begin + "\n" + make() + "\n\n" + end + rest.partition(end)[2]
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
