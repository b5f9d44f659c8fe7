"""The crowd for seconds and small; `scripts/crowd` does the same for minutes, with thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 3
CLIENTS = 60
DEADLINE = 110.0
"""Seconds until all is over: the load, and twice the time in which the server forgets clients."""


@pytest.mark.integration
@pytest.mark.timeout(DEADLINE + 10)
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's /proc")
def test_nothing_is_left_of_clients_that_pass_every_limit() -> None:
    result = subprocess.run(
        [sys.executable, "benchmarks/crowd.py", str(SECONDS / 60), "--clients", str(CLIENTS)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *_paths()])},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("all is as it was\n")


def _paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
