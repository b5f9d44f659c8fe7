"""The types are right for users: type checkers, as strict as they can be, agree with their code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = Path(__file__).with_name("users_code.py")
HANDLERS = Path(__file__).with_name("users_handlers.py")
MESSAGES = Path(__file__).with_name("users_messages.py")


def run(*command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=55
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("code", [CODE, HANDLERS, MESSAGES], ids=lambda code: code.stem)
def test_a_users_code_has_the_types_it_says(code: Path) -> None:
    pytest.importorskip("mypy")
    run("mypy", "--strict", str(code.relative_to(ROOT)))


def test_another_type_checker_agrees(tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")
    settings = {
        "include": [str(CODE), str(HANDLERS), str(MESSAGES)],
        "extraPaths": [str(ROOT / "src")],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": True,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    run("basedpyright", "--project", str(project), "--pythonpath", sys.executable)


@pytest.mark.parametrize(
    ("code", "ignored", "asserted"), [(CODE, 10, 30), (HANDLERS, 8, 15)], ids=["code", "handlers"]
)
def test_the_code_has_lines_that_must_be_errors(code: Path, ignored: int, asserted: int) -> None:
    text = code.read_text(encoding="utf-8")
    assert text.count("# type: ignore[") >= ignored
    assert text.count("assert_type(") >= asserted
