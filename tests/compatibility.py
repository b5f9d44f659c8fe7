"""The tables of `docs/compatibility.md`, made from the statements in `specification/`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import rows


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *cells]
    )


def _parts(tables: dict[str, str]) -> str:
    return "\n\n".join(f"### {part}\n\n{table}" for part, table in tables.items())


def _ids(differences: Iterable[rows.Difference]) -> set[str]:
    return {row for each in differences for row in each.ids}


def statements(name: str) -> str:
    """What the documentation of a system says, and whether it holds."""
    system = rows.SYSTEMS[name]
    differs = _ids(system.differs)
    otherwise = _ids(each for each in system.differs if each.page_says_otherwise)
    below = f"[see below](#what-differs-from-{system.name.lower().replace('.', '')})"

    def holds(row: str) -> str:
        if row in otherwise:
            return f"**differs**, {below}"
        holds = "as documented"
        if row in system.dialect_only:
            holds += ", in the dialect only"
        return f"{holds}; {below}" if row in differs else holds

    heads = ["", "Statement", "In Telex"]
    return _parts(
        {
            part: _table(heads, [[row, text, holds(row)] for row, text in said.items()])
            for part, said in system.parts.items()
        }
    )


def repeats(name: str) -> str:
    """What another language of the documentation repeats."""
    lines = [[each.id, each.says, ", ".join(each.of)] for each in rows.SYSTEMS[name].repeats]
    return _table(["", "The page says", "The same as"], lines)


def differences(name: str) -> str:
    """What Telex does otherwise than a system, and why."""
    lines = [[", ".join(each.ids), each.what, each.why] for each in rows.SYSTEMS[name].differs]
    return _table(["", "What differs", "Why"], lines)


def conflicts() -> str:
    """What the four systems do not agree on."""

    def otherwise(conflict: rows.Conflict) -> str:
        return " ".join(
            f"**{rows.SYSTEMS[name].name}**: {text}" for name, text in conflict.dialects.items()
        )

    heads = ["", "What", "Telex", "A dialect does otherwise"]
    return _parts(
        {
            part: _table(
                heads,
                [[row, each.topic, each.telex, otherwise(each)] for row, each in said.items()],
            )
            for part, said in rows.CONFLICTS.items()
        }
    )


def traps() -> str:
    """What is easily done wrong, and what Telex does."""
    return _parts(
        {
            part: _table(
                ["", "The trap", "Telex"], [[row, e.trap, e.telex] for row, e in said.items()]
            )
            for part, said in rows.TRAPS.items()
        }
    )


def counts() -> str:
    """How many statements there are, and how many of them differ."""
    lines = []
    for system in rows.SYSTEMS.values():
        number = len(system.ids)
        otherwise = len(_ids(each for each in system.differs if each.page_says_otherwise))
        line = [system.name, f"`{system.dialect}`", number, number - otherwise, otherwise]
        lines.append([*map(str, line)])
    return _table(["System", "Module", "Statements", "As documented", "Different"], lines)
