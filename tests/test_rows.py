"""Every statement of the specification is carried by a test, and no test carries another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rows
from integration import capabilities
from marks import Mark, marks_in, marks_of
from pages import ROOT

pytestmark = pytest.mark.row  # `pytest -m row` runs these, too; they carry no statement.


# The list


def test_there_are_as_many_as_were_counted() -> None:
    assert len(rows.STATEMENTS) == 313
    assert len(rows.ids_of(rows.CONFLICTS)) == 69
    assert len(rows.ids_of(rows.TRAPS)) == 95


@pytest.mark.parametrize(
    ("prefix", "count"),
    [
        *[("K", 60), ("KX", 15), ("Z", 28), ("V", 48), ("VX", 11), ("L", 56), ("LX", 10)],
        *[("G", 75), ("GX", 10), ("C", 69), ("T", 95), ("S", 22)],
    ],
)
def test_the_numbers_of_a_kind_have_no_gap(prefix: str, count: int) -> None:
    of_the_kind = [row for row in rows.TO_BE_CARRIED if row.rstrip("0123456789") == prefix]
    assert sorted(of_the_kind) == sorted(f"{prefix}{number}" for number in range(1, count + 1))


def test_the_facts_about_servers_are_those_that_were_measured() -> None:
    assert {row.fact for row in capabilities.FACTS} - {""} <= rows.SERVER_FACTS


@pytest.mark.parametrize("system", rows.SYSTEMS.values(), ids=lambda system: system.name)
def test_what_is_said_of_an_id_is_said_of_a_known_one(system: rows.System) -> None:
    assert system.dialect_only <= {*system.ids}
    own = {*system.ids, *rows.ids_of(rows.CONFLICTS), *rows.ids_of(rows.TRAPS)}
    assert [each.ids for each in system.differs if not own.issuperset(each.ids)] == []
    again = [row for repeat in system.repeats for row in repeat.of]
    assert [row for row in again if row not in system.ids] == []


def test_every_text_is_a_sentence_that_is_said_once() -> None:
    texts = [
        text
        for system in rows.SYSTEMS.values()
        for part in system.parts.values()
        for text in part.values()
    ]
    for system in rows.SYSTEMS.values():
        texts += [text for each in system.differs for text in (each.what, each.why)]
    for conflicts in rows.CONFLICTS.values():
        for conflict in conflicts.values():
            texts += [conflict.telex, *conflict.dialects.values()]
    texts += [each.telex for traps in rows.TRAPS.values() for each in traps.values()]
    assert [text for text in texts if text.strip() != text or text[-1] not in ".?"] == []
    assert [text for text in texts if text.count("`") % 2] == []


# The tests


MARKS = [mark for path in sorted((ROOT / "tests").rglob("*.py")) for mark in marks_of(path, ROOT)]


def missing(marks: list[Mark]) -> list[str]:
    carried = {row for mark in marks if mark.carries for row in mark.ids}
    return [row for row in rows.TO_BE_CARRIED if row not in carried]


def wrong(marks: list[Mark]) -> list[str]:
    return [
        f"{mark.place}: {', '.join(mark.ids) or 'no id'}"
        for mark in marks
        if not mark.readable or not rows.KNOWN.issuperset(mark.ids)
    ]


def idle(marks: list[Mark]) -> list[str]:
    return [f"{mark.place}: {', '.join(mark.ids)}" for mark in marks if not mark.carries]


def test_every_statement_is_carried_by_a_test() -> None:
    without = missing(MARKS)
    assert not without, f"carried by no test: {' '.join(without)}"


def test_no_mark_names_an_unknown_statement() -> None:
    assert wrong(MARKS) == []


def test_every_mark_is_on_a_test() -> None:
    assert idle(MARKS) == []


# How marks are found


def carried(source: str, file: str = "tests/test_x.py") -> list[str]:
    return [row for mark in marks_in(source, file) if mark.carries for row in mark.ids]


CARRYING = {
    "a function": '@pytest.mark.row("K7", "K5")\ndef test_a(): ...',
    "an asynchronous one": '@pytest.mark.row("K7", "K5")\nasync def test_a(): ...',
    "two marks": '@pytest.mark.row("K7")\n@pytest.mark.row("K5")\ndef test_a(): ...',
    "a method": 'class TestA:\n    @pytest.mark.row("K7", "K5")\n    def test_a(self): ...',
    "a class": '@pytest.mark.row("K7", "K5")\nclass TestA:\n    def test_a(self): ...',
    "a class inside a class": (
        'class TestA:\n  @pytest.mark.row("K7", "K5")\n  class TestB:\n    def test_a(self): ...'
    ),
    "a module": 'pytestmark = pytest.mark.row("K7", "K5")\ndef test_a(): ...',
    "a list of a module": (
        'pytestmark = [pytest.mark.integration, pytest.mark.row("K7", "K5")]\ndef test_a(): ...'
    ),
    "a module with an annotation": (
        'pytestmark: object = (pytest.mark.row("K7", "K5"),)\ndef test_a(): ...'
    ),
    "the body of a class": (
        'class TestA:\n    pytestmark = pytest.mark.row("K7", "K5")\n    def test_a(self): ...'
    ),
    "a parameter": 'CASES = [pytest.param(1, marks=pytest.mark.row("K7", "K5"))]',
    "a parameter with two marks": (
        'CASES = [pytest.param(1, marks=[pytest.mark.row("K7"), pytest.mark.row("K5")])]'
    ),
    "a parameter in place": (
        '@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.row("K7", "K5"))])\n'
        "def test_a(x): ..."
    ),
    "another name for the mark": 'row = pytest.mark.row\n@row("K7", "K5")\ndef test_a(): ...',
    "another name for all marks": (
        'from pytest import mark as m, param as p\nCASES = [p(1, marks=m.row("K7", "K5"))]'
    ),
    "another name for pytest": 'import pytest as t\n@t.mark.row("K7", "K5")\ndef test_a(): ...',
    "a name for a mark with ids": (
        'echo = pytest.mark.row("K7", "K5")\n@echo\ndef test_a(): ...\n@echo\ndef test_b(): ...'
    ),
    "a name for several": (
        'both = [pytest.mark.row("K7"), pytest.mark.row("K5")]\n'
        "pytestmark = [pytest.mark.integration, *both]\ndef test_a(): ..."
    ),
}


@pytest.mark.parametrize("source", CARRYING.values(), ids=CARRYING)
def test_a_mark_on_a_test_counts(source: str) -> None:
    assert carried(source) == ["K7", "K5"]


NOT_CARRYING = {
    "a function that is no test": '@pytest.mark.row("K7")\ndef make(): ...',
    "a function inside a test": (
        'def test_a():\n    @pytest.mark.row("K7")\n    def test_b(): ...'
    ),
    "a class that is no test": '@pytest.mark.row("K7")\nclass A:\n    def test_a(self): ...',
    "a class without a test": '@pytest.mark.row("K7")\nclass TestA:\n    def make(self): ...',
    "a module without a test": 'pytestmark = pytest.mark.row("K7")\ndef make(): ...',
    "a name that nobody uses": 'echo = pytest.mark.row("K7")\ndef test_a(): ...',
    "a name made of itself": 'a = pytest.mark.row("K7")\na = [a]\ndef test_a(): ...',
    "an argument of something else": 'make(1, marks=pytest.mark.row("K7"))\ndef test_a(): ...',
    "another argument of a parameter": 'pytest.param(pytest.mark.row("K7"), id="a")',
}


@pytest.mark.parametrize("source", NOT_CARRYING.values(), ids=NOT_CARRYING)
def test_a_mark_elsewhere_does_not_count(source: str) -> None:
    assert carried(source) == []
    assert len(idle(marks_in(source, "tests/test_x.py"))) == 1


def test_a_function_counts_in_a_file_of_tests_only() -> None:
    source = '@pytest.mark.row("K7")\ndef test_a(): ...'
    assert carried(source, "tests/test_x.py") == ["K7"]
    assert carried(source, "tests/shapes.py") == []


def test_a_parameter_counts_in_every_file() -> None:
    assert carried(CARRYING["a parameter"], "tests/shapes.py") == ["K7", "K5"]


def test_text_that_looks_like_a_mark_is_none() -> None:
    source = "'''@pytest.mark.row'''\ndef test_a(): ...  # @pytest.mark.row"
    assert marks_in(source, "tests/test_x.py") == []
    other = '@pytest.mark.rows("K7")\n@mark.row("K7")\n@pytest.mark.row\ndef test_a(): ...'
    assert marks_in(other, "tests/test_x.py") == []


def test_what_no_test_carries_is_named() -> None:
    every = ", ".join(f'"{row}"' for row in rows.TO_BE_CARRIED if row not in ("K7", "T95"))
    marks = marks_in(f"row = pytest.mark.row\n@row({every})\ndef test_a(): ...", "tests/test_x.py")
    assert missing(marks) == ["K7", "T95"]
    assert missing([]) == rows.TO_BE_CARRIED


@pytest.mark.parametrize("arguments", ["", "*IDS", "NAME", '"K7", *IDS', "7", '"K7", name="a"'])
def test_ids_that_are_not_written_out_are_wrong(arguments: str) -> None:
    source = f"row = pytest.mark.row\n\n@row({arguments})\ndef test_a(): ..."
    found = wrong(marks_in(source, "tests/test_x.py"))
    assert len(found) == 1
    assert found[0].startswith("tests/test_x.py:3: ")


def test_an_unknown_id_is_wrong_wherever_it_stands() -> None:
    source = (
        '@pytest.mark.row("K7", "K61")\ndef test_a(): ...\n'
        '@pytest.mark.row("Q1")\ndef make(): ...\n'
        'CASES = [pytest.param(1, marks=pytest.mark.row("K8"))]'
    )
    found = wrong(marks_in(source, "tests/test_x.py"))
    assert found == ["tests/test_x.py:1: K7, K61", "tests/test_x.py:3: Q1"]


# What pytest is told


def item(name: str, *ids: str) -> Any:
    marks = [SimpleNamespace(args=(row,)) for row in ids]
    return SimpleNamespace(location=("test_x.py", 6, name), iter_markers=lambda name: marks)


def test_collecting_an_unknown_id_is_an_error_that_names_the_test() -> None:
    rows.check([item("test_a", "K7", "T1"), item("test_b")])
    with pytest.raises(pytest.UsageError, match=r"unknown rows:\ntest_x.py:7 test_b: K61, K99\Z"):
        rows.check([item("test_a", "K7"), item("test_b", "K99", "K61", "K8")])


def test_rows_are_asked_for_one_by_one_or_in_a_list() -> None:
    assert rows.asked_for(["K7", "K8, V4"]) == {"K7", "K8", "V4"}
    with pytest.raises(pytest.UsageError, match="--row: unknown: K61, k7"):
        rows.asked_for(["K7,K61", "k7"])


def test_tests_are_chosen_by_what_they_carry() -> None:
    both, one, none = item("test_a", "K7", "K8"), item("test_b", "K8"), item("test_c")
    assert rows.divide([both, one, none], frozenset({"K7"})) == ([both], [one, none])
    assert rows.divide([both, one, none], frozenset({"K8", "V4"})) == ([both, one], [none])


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    states = "tests/conformance/test_states.py"
    options = ["-c", "pyproject.toml", "--collect-only", "-q", "-pno:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, states, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.integration
def test_pytest_runs_the_tests_that_carry_a_row() -> None:
    result = collect("--row", "G75,K7", "--row=G69")
    assert result.returncode == 0, result.stdout + result.stderr
    assert {line.partition("::")[2] for line in result.stdout.splitlines() if "::" in line} == {
        "test_there_is_one_int_enum_with_three_states",
        "test_a_new_connection_is_connecting",
    }


@pytest.mark.integration
def test_pytest_refuses_a_test_that_carries_an_unknown_row(tmp_path: Path) -> None:
    unknown = tmp_path / "test_unknown.py"
    unknown.write_text('import pytest\n\n@pytest.mark.row("K61")\ndef test_a(): ...\n')
    result = collect(str(unknown))
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_unknown.py:3 test_a: K61" in result.stderr
