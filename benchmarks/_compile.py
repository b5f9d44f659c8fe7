"""Compile a C file of this folder where there is a compiler. Nothing is kept."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def compiled(source: str, *flags: str) -> Path | None:
    """Return the program or library made of a source, which is gone when this process ends.

    Returns:
        `None` where there is no C compiler, or it cannot do it.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="telex-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = Path(folder) / Path(source).stem
    done = subprocess.run(
        [compiler, "-O2", *flags, "-o", str(target), str(HERE / source)],
        check=False,
        capture_output=True,
    )
    return target if done.returncode == 0 else None
