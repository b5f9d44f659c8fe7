"""Lilya's WebSocket API over Telex: change the import, keep the code.

| module | what it stands in for |
|---|---|
| `websockets` | `lilya.websockets`: the connection |
| `types`, `exceptions` | `lilya.types`, `lilya.exceptions` |
| `apps`, `routing` | `lilya.apps`, `lilya.routing`: `Lilya`, `WebSocketPath` |
| `dependencies` | `lilya.dependencies`: `Provide`, `Provides` |
| `controllers` | `lilya.controllers`: `WebSocketController` |
| `testclient` | `lilya.testclient`: `TestClient` |

Each says at its head what it does otherwise than Telex. Whatever is not said there is Telex's own.
"""
