"""What Markdown files hold: code blocks, tables, links, and sections that are generated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"(?:<!-- runnable: (?P<name>[a-z-]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block."""

    language: str
    code: str
    name: str | None
    """What the comment `<!-- runnable: name -->` above it says, else `None`."""


def blocks(text: str) -> list[Block]:
    """Every fenced block, in order."""
    return [Block(m["language"], m["code"], m["name"]) for m in _BLOCK.finditer(text)]


def files(text: str) -> dict[str, str]:
    """The Python blocks whose first line is a comment with a file name, by that name."""
    named = {}
    for block in blocks(text):
        found = re.match(r"# (\w+\.py)\n", block.code)
        if block.language == "python" and found:
            named[found[1]] = block.code
    return named


def table(text: str, first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, without the head."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|")) if line.startswith("|") else []
        cells = [cell.strip() for cell in cells]
        if cells and cells[0] == first_heading:
            inside = True
        elif inside and not cells:
            return rows
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    assert inside, f"there is no table that begins with {first_heading!r}"
    return rows


def generated(text: str, name: str) -> str:
    """What stands between `<!-- generated: name -->` and `<!-- end -->`."""
    found = re.search(rf"<!-- generated: {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found, f"there is no section <!-- generated: {name} -->"
    return found[1]


def broken_links(path: Path) -> list[str]:
    """The links of a file that lead to no file, or to no heading in it."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in _LINK.findall(text) if not _leads_somewhere(path, link)]


def _leads_somewhere(path: Path, link: str) -> bool:
    if link.startswith(("http://", "https://")):
        return True
    name, _, heading = link.partition("#")
    target = path.parent / name if name else path
    if not target.exists():
        return False
    return not heading or heading in {
        _anchor(each) for each in _HEADING.findall(target.read_text())
    }


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
