"""The table of what servers do is complete, and nothing in it goes unasserted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integration import capabilities
from integration.capabilities import APPLICATION, FACTS, MEASURED_WITH, SERVERS, Row
from integration.servers import KINDS

ROWS = {name: row for name, row in vars(capabilities).items() if isinstance(row, Row)}


def test_every_server_has_its_column() -> None:
    assert [*SERVERS] == [*MEASURED_WITH] == [*KINDS]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_one_value_or_one_for_each_server(name: str) -> None:
    assert len(ROWS[name].values) in (1, len(SERVERS))
    assert "|" not in "".join((ROWS[name].text, *ROWS[name].values))


def test_every_row_is_shown() -> None:
    assert {id(row) for row in ROWS.values()} == {id(row) for row in (*APPLICATION, *FACTS)}


def test_every_row_is_asserted_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    asserted = set(re.findall(r"\btable\.([A-Z_]+)", tests))
    assert ROWS.keys() - asserted == set()
