"""The examples are not packages: their folders are put on the path, as `--app-dir` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "chat"))
