"""The WebSocket APIs of other frameworks, over the same engine: change the import, keep the code.

| module | what it stands in for |
|---|---|
| `telex.compat.kui` | Kui: `kui`, `kui.asgi` |
| `telex.compat.view` | view.py: `view` |
| `telex.compat.lilya` | Lilya: `lilya.websockets`, `.routing`, `.apps` and others |
| `telex.compat.genro` | genro-asgi: `genro_asgi.websocket`, `.exceptions` |

Each has the names that the documentation of its system has, and what that says otherwise than
Telex; where both do the same it is the same object. `docs/compatibility.md` lists every statement.
"""
