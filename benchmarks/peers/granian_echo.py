"""Serve an ASGI application with Granian, one worker, uvloop: `granian_echo.py module:app`.

Prints a port that was free a moment ago; whoever connects tries until Granian listens.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels


def main() -> None:
    """Serve until told to stop."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = Granian(
        sys.argv[1],
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        working_dir=Path(__file__).parent.parent,
    )
    print(port, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
