"""Echo with socketify's callbacks. Prints its port."""

from __future__ import annotations

import json
from typing import Any

from socketify import App, AppListenOptions, OpCode  # type: ignore[import-not-found]


def plain(ws: Any, message: str | bytes, opcode: Any) -> None:
    ws.send(message, opcode)


def decoded(ws: Any, message: str | bytes, opcode: Any) -> None:
    ws.send(json.dumps(json.loads(message)), OpCode.TEXT)


def main() -> None:
    """Serve until told to stop."""
    app = App()
    for path, handler in (("/text", plain), ("/binary", plain), ("/json", decoded)):
        app.ws(path, {"compression": 0, "max_payload_length": 1 << 24, "message": handler})
    app.listen(
        AppListenOptions(port=0, host="127.0.0.1"),
        lambda config: print(app.get_listen_port() if not config.port else config.port, flush=True),
    )
    app.run()


if __name__ == "__main__":
    main()
