"""`websocket`, a stand-in for the connection whose handler is running.

The connection is kept in a context variable: child tasks and `asyncio.to_thread` see it, threads
started by hand and `loop.run_in_executor` do not. Outside a connection every use is a
`LookupError`, except what tools do to any object they meet: `repr`, `bool`, `isinstance`, `dir`,
comparison and looking for attributes.

It stands for another connection in another handler: what outlives the handler, such as a set of
clients, has to hold `current.get()`, not `websocket`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, cast

from telex.websockets import WebSocket

current: Final[ContextVar[WebSocket]] = ContextVar("telex.websocket")
"""The connection whose handler is running in this context."""


class OutsideConnection(LookupError, AttributeError):
    """`websocket` was used where no connection is being handled.

    It is an `AttributeError` too, so that `hasattr` and introspection work.
    """

    def __init__(self, action: str) -> None:
        super().__init__(
            f"telex.websocket {action}, but no connection is being handled here; use it inside a "
            "WebSocket handler, in tasks the handler started, or in asyncio.to_thread"
        )


class _Proxy:
    """Forwards everything to the current connection.

    Special methods are looked up on the type, so each that `WebSocket` has is written out.
    """

    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        found = current.get(None)
        return _Proxy if found is None else type(found)

    def __getattr__(self, name: str) -> Any:
        return getattr(_get(f"was asked for {name!r}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_get(f"was told to set {name!r}"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_get(f"was told to delete {name!r}"), name)

    def __getitem__(self, key: str) -> Any:
        return _get(f"was asked for [{key!r}]")[key]

    def __setitem__(self, key: str, value: Any) -> None:
        _get(f"was told to set [{key!r}]")[key] = value

    def __delitem__(self, key: str) -> None:
        del _get(f"was told to delete [{key!r}]")[key]

    def __contains__(self, key: object) -> bool:
        return key in _get(f"was asked for {key!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(_get("was iterated over"))

    # Not in reverse, like every mapping that says nothing else; `reversed` would count indices.
    __reversed__ = None

    def __len__(self) -> int:
        return len(_get("was asked for its length"))

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return aiter(_get("was iterated over"))

    async def __aenter__(self) -> WebSocket:
        return await _get("was entered").__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _get("was left").__aexit__(kind, exc, traceback)

    def __bool__(self) -> bool:
        return current.get(None) is not None

    def __eq__(self, other: object) -> bool:
        found = current.get(None)
        return self is other or (found is not None and found == other)

    def __hash__(self) -> int:
        found = current.get(None)
        return object.__hash__(self) if found is None else hash(found)

    def __dir__(self) -> list[str]:
        return dir(current.get(WebSocket))

    def __repr__(self) -> str:
        found = current.get(None)
        return "<telex.websocket outside a connection>" if found is None else repr(found)


def _get(action: str) -> WebSocket:
    found = current.get(None)
    if found is None:
        raise OutsideConnection(action)
    return found


websocket: Final = cast(WebSocket, _Proxy())
"""The connection whose handler is running."""
