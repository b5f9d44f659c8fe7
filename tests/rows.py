"""The statements that tests carry, read from `specification/*.toml`, and what `--row` chooses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).parent / "specification"

SERVER_FACTS: Final = frozenset(f"S{number}" for number in range(1, 23))
"""What servers do. They are described in `docs/servers.md`."""


@dataclass(frozen=True)
class Difference:
    """What Telex does otherwise than a system or its documentation, on purpose.

    Attributes:
        ids: The statements it is about.
        what: What differs.
        why: The reason.
        page_says_otherwise: Whether the documentation says otherwise, and not only the system does.
    """

    ids: tuple[str, ...]
    what: str
    why: str
    page_says_otherwise: bool = False


@dataclass(frozen=True)
class Repeat:
    """A statement that another language of the documentation repeats."""

    id: str
    says: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class System:
    """What the documentation of one system says.

    Attributes:
        name: What it is called.
        dialect: The module that stands in for it.
        parts: The statements by id, by the part of the documentation they belong to.
        dialect_only: The ids of those that hold in the dialect and not in `telex` itself.
        repeats: What another language of the documentation repeats.
        differs: What Telex does otherwise.
    """

    name: str
    dialect: str
    parts: Mapping[str, Mapping[str, str]]
    dialect_only: frozenset[str]
    repeats: tuple[Repeat, ...]
    differs: tuple[Difference, ...]

    @property
    def ids(self) -> list[str]:
        """The ids of all its statements."""
        statements = [row for part in self.parts.values() for row in part]
        return [*statements, *(repeat.id for repeat in self.repeats)]


@dataclass(frozen=True)
class Conflict:
    """Something that the four systems do not agree on.

    Attributes:
        topic: What it is about.
        telex: What Telex does.
        dialects: What a dialect does otherwise, by its name.
    """

    topic: str
    telex: str
    dialects: Mapping[str, str]


@dataclass(frozen=True)
class Trap:
    """Something that is easily done wrong, and what Telex does."""

    trap: str
    telex: str


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _system(name: str) -> System:
    data = _read(name)
    return System(
        name=data["system"],
        dialect=data["dialect"],
        parts=data["statements"],
        dialect_only=frozenset(data["dialect_only"]),
        repeats=tuple(
            Repeat(row, said["says"], tuple(said["of"]))
            for row, said in data.get("repeats", {}).items()
        ),
        differs=tuple(_difference(**said) for said in data.get("differs", [])),
    )


def _difference(ids: Sequence[str], **said: Any) -> Difference:
    return Difference(tuple(ids), **said)


def _conflict(said: dict[str, str]) -> Conflict:
    dialects: dict[str, str] = {name: said[name] for name in SYSTEMS if name in said}
    assert len(said) == 2 + len(dialects), said
    return Conflict(said["topic"], said["telex"], dialects)


SYSTEMS: Final[Mapping[str, System]] = {
    name: _system(name) for name in ("kui", "view", "lilya", "genro")
}
CONFLICTS: Final = {
    part: {row: _conflict(said) for row, said in rows.items()}
    for part, rows in _read("conflicts").items()
}
TRAPS: Final = {
    part: {row: Trap(**said) for row, said in rows.items()} for part, rows in _read("traps").items()
}


def ids_of(parts: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The ids in the parts of a file, in order."""
    return [row for part in parts.values() for row in part]


STATEMENTS: Final = [row for system in SYSTEMS.values() for row in system.ids]
TO_BE_CARRIED: Final = [*STATEMENTS, *ids_of(CONFLICTS), *ids_of(TRAPS), *sorted(SERVER_FACTS)]
"""Every id, in the order of the files. Each needs a test."""
KNOWN: Final = frozenset(TO_BE_CARRIED)


def asked_for(options: Iterable[str]) -> frozenset[str]:
    """The ids in `--row K7,K8 --row V4`.

    Raises:
        pytest.UsageError: There is no such id.
    """
    ids = frozenset(row.strip() for option in options for row in option.split(","))
    if unknown := sorted(ids - KNOWN):
        raise pytest.UsageError(f"--row: unknown: {', '.join(unknown)}")
    return ids


def carried_by(item: pytest.Item) -> frozenset[str]:
    """The ids that a test is marked with."""
    return frozenset(row for mark in item.iter_markers("row") for row in mark.args)


def _place(item: pytest.Item) -> str:
    file, line, name = item.location
    return f"{file}:{(line or 0) + 1} {name}"


def check(items: Sequence[pytest.Item]) -> None:
    """Make sure that tests carry nothing but known ids.

    Raises:
        pytest.UsageError: Some do; the text names the tests.
    """
    unknown = [
        f"{_place(item)}: {', '.join(sorted(map(str, carried_by(item) - KNOWN)))}"
        for item in items
        if not carried_by(item) <= KNOWN
    ]
    if unknown:
        raise pytest.UsageError("tests carry unknown rows:\n" + "\n".join(unknown))


def divide(
    items: Sequence[pytest.Item], ids: frozenset[str]
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests that carry one of these ids, and the others."""
    chosen = [item for item in items if carried_by(item) & ids]
    return chosen, [item for item in items if not carried_by(item) & ids]
