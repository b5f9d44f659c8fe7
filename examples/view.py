"""A class is the handler: one instance per connection, one method for each thing that happens.

telex run view:app --app-dir examples
telex connect ws://127.0.0.1:8000/votes
["Ada", "Grace", "Ada"]
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import telex

app = telex.App()
total: Counter[str] = Counter()


@app.websocket("/votes")
class Votes(telex.SocketView):
    encoding = "json"  # malformed JSON closes with 1003; on_receive is not called

    async def on_connect(self) -> None:
        self.mine: Counter[str] = Counter()
        await self.websocket.accept()
        await self.websocket.send_json({"total": total})

    async def on_receive(self, data: Any) -> None:
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            await self.websocket.send_json({"error": "expected a list of names"})
            return
        self.mine.update(data)
        await self.websocket.send_json({"mine": self.mine})

    async def on_disconnect(self, close_code: int) -> None:
        total.update(self.mine)  # called once, however the connection ended
