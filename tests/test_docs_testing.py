"""The files in docs/testing.md, written into a folder and run by pytest as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pages

pytestmark = pytest.mark.integration

TEXT = (pages.ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
FILES = pages.files(TEXT)
DEADLINE = 50


def test_every_python_block_names_its_file() -> None:
    python = [block for block in pages.blocks(TEXT) if block.language == "python"]
    assert len(FILES) == len(python)
    assert "test_chat.py" in FILES


def test_its_tests_pass_as_they_stand(tmp_path: Path) -> None:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    ini = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    (tmp_path / "pytest.ini").write_text(ini)
    # The plugin of the package is loaded as for everybody; coverage and xdist are ours.
    command = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:cov"]
    result = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    written = sum(len(re.findall(r"^(?:async )?def test_", code, re.M)) for code in FILES.values())
    assert f"{written} passed" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["timeout", "raise_app_exceptions", "check_tasks", "lifespan"])
def test_every_option_of_the_client_is_in_its_table(name: str) -> None:
    first_column = [row[0] for row in pages.table(TEXT, "`AsyncTestClient(app, …)`")]
    assert any(f"`{name}=" in cell for cell in first_column)
