"""The soak test for seconds; `scripts/soak` does the same for minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECONDS = 6
DEADLINE = 110.0
"""Seconds until all is over: the load, and twice the time in which the server forgets clients."""


@pytest.mark.integration
@pytest.mark.timeout(DEADLINE + 10)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_nothing_is_left_when_all_clients_have_gone() -> None:
    result = subprocess.run(
        [sys.executable, "benchmarks/soak.py", str(SECONDS / 60)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("all is as it was\n")
