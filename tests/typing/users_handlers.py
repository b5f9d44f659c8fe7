"""Handlers with parameters, as type checkers see them. Checked by `test_types.py`, never run.

A line with `type: ignore` has to be an error for mypy: strict mode complains about one that is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import partial, wraps
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, assert_type
from uuid import UUID

from msgspec import Meta, Struct

from telex import (
    App,
    Cookie,
    Depends,
    Header,
    Path,
    Query,
    SocketRoute,
    SocketView,
    State,
    WebSocket,
)

app = App()


class Colour(Enum):
    RED = "red"


class Filters(Struct):
    limit: int = 10
    tags: list[str] = []


@dataclass
class Range:
    start: int
    stop: int | None = None


class Page(TypedDict):
    number: int


class Session:
    async def commit(self) -> None: ...


Limit: TypeAlias = Annotated[int, Meta(ge=1, le=100), Query()]


async def open_session() -> AsyncIterator[Session]:
    session = Session()
    yield session
    await session.commit()


def blocking_session(limit: Limit) -> Iterator[Session]:
    yield Session()


async def user_of(token: Annotated[str, Header(alias="x-token")]) -> UUID:
    return UUID(token)


class Service:
    def __init__(self, session: Annotated[Session, Depends(open_session)]) -> None:
        self.session = session

    def __call__(self, limit: Limit = 5) -> int:
        return limit


SessionOf: TypeAlias = Annotated[Session, Depends(open_session)]
UserOf: TypeAlias = Annotated[UUID, Depends(user_of)]


@app.websocket("/rooms/{room}/{day}")
async def everything(
    ws: WebSocket,
    room: str,
    day: date,
    app: App,
    state: State,
    session: SessionOf,
    user: UserOf,
    service: Annotated[Service, Depends()],
    made: Annotated[int, Depends(Service(Session()), use_cache=False)],
    threaded: Annotated[Session, Depends(blocking_session, scope="handshake", thread=True)],
    prefix: Annotated[str, Path(alias="tenant")],
    ids: Annotated[list[UUID], Query(alias="id", default_factory=list)],
    colours: Annotated[set[Colour] | None, Query(None)],
    user_agent: Annotated[str | None, Header()] = None,
    sid: Annotated[str, Cookie(alias="session")] = "",
    limit: Limit = 50,
    order: Annotated[Literal["new", "old"], Query()] = "new",
) -> None:
    assert_type(room, str)
    assert_type(day, date)
    assert_type(session, Session)
    assert_type(user, UUID)
    assert_type(service.session, Session)
    assert_type(made, int)
    assert_type(threaded, Session)
    assert_type(user_agent, str | None)
    assert_type(sid, str)
    assert_type(limit, int)
    assert_type(ids, list[UUID])
    assert_type(state, State)
    assert_type(order, Literal["new", "old"])
    assert_type(colours, set[Colour] | None)
    assert_type(app.debug, bool)
    assert_type(ws.path, str)
    del prefix


@app.websocket("/queries")
async def whole_queries(
    ws: WebSocket,
    filters: Annotated[Filters, Query()],
    page: Annotated[Page, Query()],
    everything: Annotated[dict[str, str], Query()],
    span: Annotated[Range | None, Query()] = None,
) -> None:
    assert_type(filters.tags, list[str])
    assert_type(page["number"], int)
    assert_type(everything, dict[str, str])
    assert_type(span, Range | None)
    await ws.accept()


# A handler stays what it is: it can be called, in a test for example, with values of its own.
still_a_function: Callable[[WebSocket, Filters, Page, dict[str, str]], Awaitable[None]] = (
    whole_queries
)


async def call_it(ws: WebSocket) -> None:
    await whole_queries(ws, Filters(), {"number": 1}, {}, Range(1))
    await whole_queries(ws, Filters(), {"number": 1})  # type: ignore[call-arg]
    await whole_queries(ws, "limit=1", {"number": 1}, {})  # type: ignore[arg-type]


@app.websocket("/view/{room}")
class View(SocketView):
    def __init__(self, room: str, user: UserOf, limit: Limit = 3) -> None:
        self.room, self.user, self.limit = room, user, limit

    async def on_receive(self, data: Any) -> None:
        assert_type(self.user, UUID)


def guarded(endpoint: Callable[[], Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    @wraps(endpoint)
    async def wrapper(auth: Annotated[str, Query("anonymous")]) -> object:
        return await endpoint() if auth else None

    return wrapper


async def with_prefix(prefix: str, ws: WebSocket, limit: Limit) -> None:
    await ws.close()


route = SocketRoute("/partial", partial(with_prefix, "a"), middlewares=[guarded]) @ guarded
assert_type(route, SocketRoute)
app.router <<= route

app.dependency_overrides[open_session] = lambda: Session()
app.dependency_overrides["open_session"] = Session  # type: ignore[index]

Query(alias=3)  # type: ignore[arg-type]
Query(3, default_factory=3)  # type: ignore[arg-type]
Query(1, "alias")  # type: ignore[call-arg]
Depends("function")  # type: ignore[arg-type]
Depends(open_session, scope="request")  # type: ignore[arg-type]
Depends(open_session).use_cache = False  # type: ignore[misc]
