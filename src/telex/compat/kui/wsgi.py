"""Kui over WSGI, where there are no WebSockets: every name says so."""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"{__name__} has no {name}: WSGI cannot serve WebSockets, and Telex serves nothing else. "
        "Import from telex.compat.kui.asgi, or stay with Kui and use Server-Sent Events."
    )
