"""The types are right for users: mypy in strict mode agrees with the code of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = Path(__file__).with_name("users_code.py")


def test_a_users_code_has_the_types_it_says() -> None:
    pytest.importorskip("mypy")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", CODE.relative_to(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_code_has_lines_that_must_be_errors() -> None:
    text = CODE.read_text(encoding="utf-8")
    assert text.count("# type: ignore[") >= 10
    assert text.count("assert_type(") >= 30
