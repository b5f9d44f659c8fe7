"""Small scripts, played on Starlette's `WebSocket` and on ours: what comes of them is compared.

A script gets the connection, its peer, and the side whose classes it may use.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest
import starlette.exceptions
import starlette.websockets
from starlette.middleware.sessions import Session
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Router, WebSocketRoute

import telex
from peer import DEADLINE, B, D, Peer, T, make_scope
from telex._types import Message


class Side(NamedTuple):
    """One of the two, as it is imported."""

    WebSocket: Any
    WebSocketClose: Any
    WebSocketDisconnect: Any
    WebSocketException: Any
    WebSocketState: Any


THEIRS = Side(
    starlette.websockets.WebSocket,
    starlette.websockets.WebSocketClose,
    starlette.websockets.WebSocketDisconnect,
    starlette.exceptions.WebSocketException,
    starlette.websockets.WebSocketState,
)
OURS = Side(*(getattr(telex, name) for name in Side._fields))

Act = Callable[[Any, Peer, Side], Any]


class Script(NamedTuple):
    """Something to do with a connection.

    Attributes:
        act: Does it; what it returns may have to be awaited.
        events: What the client does, after its connect.
        scope: What is otherwise in the scope.
    """

    act: Act
    events: tuple[Message, ...]
    scope: dict[str, Any]

    async def play(self, side: Side) -> Any:
        """Return what came of it on one side, in words that both sides share."""
        peer = Peer(*self.events)
        ws = side.WebSocket(make_scope(**self.scope), peer.receive, peer.send)
        async with asyncio.timeout(DEADLINE):
            result = await attempt(lambda: self.act(ws, peer, side))
        return result, peer.sent, (ws.client_state.name, ws.application_state.name)


async def attempt(work: Callable[[], Any]) -> Any:
    """Return what comes of work: its result, or what `except` sees of its exception."""
    try:
        result = work()
        return plain(await result if inspect.isawaitable(result) else result)
    except Exception as error:
        return caught(error)


async def each_of(*work: Callable[[], Any]) -> list[Any]:
    """Return what comes of several things, one after the other."""
    return [await attempt(each) for each in work]


def plain(value: Any) -> Any:
    """Return a value without the class that it has on one side only."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return [(plain(key), plain(each)) for key, each in value.items()]
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if isinstance(value, bytes | int | None) else str(value)


def caught(error: Exception) -> str:
    """The exception as everybody knows it, with code and reason if it has them."""
    end = {"WebSocketDisconnect", "WebSocketException"} & {
        each.__name__ for each in type(error).__mro__
    }
    if end:
        return f"{end.pop()}({error.code}, {error.reason!r})"  # type: ignore[attr-defined]
    common = {"builtins", "json.decoder"}
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ in common)


SCRIPTS: dict[str, Script] = {}


def script(*events: Message, **scope: Any) -> Callable[[Act], Act]:
    """Add a function to the scripts, under its name."""

    def add(act: Act) -> Act:
        SCRIPTS[act.__name__.replace("_", " ")] = Script(act, events, scope)
        return act

    return add


# What the handshake tells.


def new(look: Callable[[Any], Any]) -> Act:
    """Do something with a connection nothing has happened to."""
    return lambda ws, _peer, _side: look(ws)


HEADERS = [
    (b"host", b"example.com:8000"),
    (b"x-a", b"1"),
    (b"x-a", b"\xe9"),
    (b"cookie", b'a=1; b="2 3"; c'),
    (b"cookie", b"d=4"),
]
SCOPE: dict[str, Any] = {
    "path": "/api/a b/é",
    "root_path": "/api",
    "query_string": b"a=1&a=2&b=&c=%20+",
    "headers": HEADERS,
    "state": {"from": "lifespan"},
    "path_params": {"n": 7},
    "app": "the app",
    "user": "me",
    "auth": ["all"],
    "session": {"a": 1},
}
LOOKS: dict[str, Callable[[Any], Any]] = {
    "url": lambda ws: ws.url,
    "url: parts": lambda ws: [ws.url.scheme, ws.url.netloc, ws.url.hostname, ws.url.port],
    "url: query": lambda ws: ws.url.query,
    "url: path": lambda ws: ws.url.path,
    "url: replace": lambda ws: ws.url.replace(scheme="wss", port=1, path="/x"),
    "url: is_secure": lambda ws: ws.url.is_secure,
    "url: equal to text": lambda ws: ws.url == str(ws.url),
    "base_url": lambda ws: ws.base_url,
    "headers": lambda ws: [ws.headers["X-A"], ws.headers.get("b"), "HOST" in ws.headers],
    "headers: all of a name": lambda ws: ws.headers.getlist("X-A"),
    "headers: items": lambda ws: list(ws.headers.items()),
    "headers: keys": lambda ws: list(ws.headers.keys()),
    "headers: raw": lambda ws: ws.headers.raw,
    "query_params": lambda ws: [ws.query_params["b"], ws.query_params["c"]],
    "query_params: one of several": lambda ws: ws.query_params["a"],
    "query_params: all of a name": lambda ws: ws.query_params.getlist("a"),
    "query_params: pairs": lambda ws: ws.query_params.multi_items(),
    "query_params: items": lambda ws: list(ws.query_params.items()),
    "query_params: a missing one": lambda ws: ws.query_params["missing"],
    "path_params": lambda ws: ws.path_params,
    "cookies": lambda ws: [ws.cookies[name] for name in ("a", "b", "d")],
    "cookies: one without a value": lambda ws: ws.cookies.get(""),
    "client": lambda ws: [ws.client, ws.client.host, ws.client.port, ws.client == tuple(ws.client)],
    "app, user, auth and session": lambda ws: [ws.app, ws.user, ws.auth, ws.session],
    "scope": lambda ws: [*ws.scope],
    "mapping": lambda ws: [ws["path"], "path" in ws, ws.get("nothing"), len(ws) == len(ws.scope)],
    "mapping: a missing key": lambda ws: ws["missing"],
    "mapping: iterating": lambda ws: [*ws] == [*ws.keys()] == [*ws.scope],
    "equality": lambda ws: [ws == ws, ws == dict(ws), hash(ws) == object.__hash__(ws), bool(ws)],
}
for _name, _look in LOOKS.items():
    SCRIPTS[_name] = Script(new(_look), (), SCOPE)


def minimal(look: Callable[[Any], Any]) -> Act:
    """Look at a scope that has what ASGI asks for, and nothing else."""

    def act(ws: Any, _peer: Peer, _side: Side) -> Any:
        for key in ("root_path", "state", "query_string", "headers", "raw_path", "extensions"):
            del ws.scope[key]
        return look(ws)

    return act


MINIMAL: dict[str, Callable[[Any], Any]] = {
    "client: unknown": lambda ws: ws.client,
    "path_params: none": lambda ws: ws.path_params,
    "cookies: none": lambda ws: ws.cookies,
    "app: missing": lambda ws: ws.app,
    "user: missing": lambda ws: ws.user,
    "auth: missing": lambda ws: ws.auth,
    "session: missing": lambda ws: ws.session,
    "url: no Host": lambda ws: ws.url,
    "headers: missing": lambda ws: list(ws.headers.items()),
    "query_params: missing": lambda ws: list(ws.query_params.items()),
    "url_for: no router": lambda ws: ws.url_for("room"),
    "state: new": lambda ws: [ws.state.__setattr__("a", 1), ws.state.a, ws.scope["state"]],
    "state: missing": lambda ws: ws.state.missing,
    "an attribute of the user's": lambda ws: [ws.__setattr__("mine", 1), ws.mine],
    "setting an item": lambda ws: ws.__setitem__("a", 1),
    "setting a state": lambda ws: ws.__setattr__("client_state", ws.client_state),
}
for _name, _look in MINIMAL.items():
    SCRIPTS[_name] = Script(minimal(_look), (), {"client": None})

# What can be called on an accepted connection.

GONE = D(1001, "bye")
DENIAL = PlainTextResponse("no", 404, headers={"x-a": "1"})
CALLS: dict[str, tuple[Callable[[Any], Any], tuple[Message, ...]]] = {
    "receive_text": (lambda ws: ws.receive_text(), (T("a"),)),
    "receive_text: empty": (lambda ws: ws.receive_text(), (T(""),)),
    "receive_text: binary": (lambda ws: ws.receive_text(), (B(b"a"),)),
    "receive_text: binary of Hypercorn": (
        lambda ws: ws.receive_text(),
        ({**B(b"a"), "text": None},),
    ),
    "receive_bytes": (lambda ws: ws.receive_bytes(), (B(b"a"),)),
    "receive_bytes: text": (lambda ws: ws.receive_bytes(), (T("a"),)),
    "receive_json": (lambda ws: ws.receive_json(), (T('{"a":[1,null,true,"b"]}'),)),
    "receive_json: binary": (lambda ws: ws.receive_json("binary"), (B(b"[1]"),)),
    "receive_json: another kind": (lambda ws: ws.receive_json(), (B(b"[1]"),)),
    "receive_json: another mode": (lambda ws: ws.receive_json(mode="other"), ()),
    "receive_json: no JSON": (lambda ws: ws.receive_json(), (T("{bad"),)),
    "receive_json: NaN": (lambda ws: ws.receive_json(), (T("NaN"),)),
    "receive_json: no UTF-8": (lambda ws: ws.receive_json("binary"), (B(b"\xff"),)),
    "receive_json: too deep": (lambda ws: ws.receive_json(), (T("[" * 100_000),)),
    "receive": (lambda ws: ws.receive(), (T("a"),)),
    "receive: the end": (lambda ws: ws.receive(), (GONE,)),
    "receive_text: the end": (lambda ws: ws.receive_text(), (GONE,)),
    "receive_bytes: the end": (lambda ws: ws.receive_bytes(), (GONE,)),
    "receive_json: the end": (lambda ws: ws.receive_json(), (GONE,)),
    "receive_text: an end without a code": (
        lambda ws: ws.receive_text(),
        ({"type": "websocket.disconnect"},),
    ),
    "send_text": (lambda ws: ws.send_text("a"), ()),
    "send_text: empty": (lambda ws: ws.send_text(""), ()),
    "send_text: no text": (lambda ws: ws.send_text(b"a"), ()),
    "send_text: a lone surrogate": (lambda ws: ws.send_text("\ud800"), ()),
    "send_bytes": (lambda ws: ws.send_bytes(b"a"), ()),
    "send_bytes: no bytes": (lambda ws: ws.send_bytes("a"), ()),
    "send_json": (lambda ws: ws.send_json({"a": [1, None, True, 1.5, "é"], 1: ()}), ()),
    "send_json: binary": (lambda ws: ws.send_json(["é"], mode="binary"), ()),
    "send_json: another mode": (lambda ws: ws.send_json({}, "other"), ()),
    "send_json: no JSON": (lambda ws: ws.send_json({1, 2}), ()),
    "send_json: NaN": (lambda ws: ws.send_json(float("nan")), ()),
    "send_json: a lone surrogate": (lambda ws: ws.send_json("\ud800"), ()),
    "send": (lambda ws: ws.send({"type": "websocket.send", "text": "a"}), ()),
    "send: an accept": (lambda ws: ws.send({"type": "websocket.accept"}), ()),
    "send: a close": (lambda ws: ws.send({"type": "websocket.close", "code": 4000}), ()),
    "accept: again": (lambda ws: ws.accept(), ()),
    "close": (lambda ws: ws.close(), ()),
    "close: code and reason": (lambda ws: ws.close(4000, "bye"), ()),
    "close: by name": (lambda ws: ws.close(code=1001, reason=None), ()),
    "close: a code that may not be sent": (lambda ws: ws.close(1005), ()),
    "close: a long reason": (lambda ws: ws.close(1000, "x" * 200), ()),
    "close: twice": (lambda ws: each_of(lambda: ws.close(4000), lambda: ws.close(4001)), ()),
    "iter_text": (lambda ws: listed(ws.iter_text()), (T("a"), T(""), GONE)),
    "iter_bytes": (lambda ws: listed(ws.iter_bytes()), (B(b"a"), B(b""), GONE)),
    "iter_json": (lambda ws: listed(ws.iter_json()), (T("1"), T("null"), GONE)),
    "iter_json: no JSON": (lambda ws: listed(ws.iter_json()), (T("{bad"), GONE)),
    "iter_text: binary": (lambda ws: listed(ws.iter_text()), (T("a"), B(b"b"), GONE)),
    "iter_text: one at a time": (
        lambda ws: each_of(lambda: anext(ws.iter_text()), lambda: anext(ws.iter_text())),
        (T("a"), T("b")),
    ),
    "send_denial_response: too late": (lambda ws: ws.send_denial_response(DENIAL), ()),
}
LATER: dict[str, Callable[[Any], Any]] = {
    "receive": lambda ws: ws.receive(),
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "send": lambda ws: ws.send({"type": "websocket.send", "text": "a"}),
    "send_text": lambda ws: ws.send_text("a"),
    "send_bytes": lambda ws: ws.send_bytes(b"a"),
    "send_json": lambda ws: ws.send_json(1),
    "iter_text": lambda ws: listed(ws.iter_text()),
    "accept": lambda ws: ws.accept(),
    "close": lambda ws: ws.close(),
}


async def listed(iterator: Any) -> list[Any]:
    """Return all that an iterator yields, and how it ends if not quietly."""
    found: list[Any] = []
    try:
        async for each in iterator:
            found.append(each)  # noqa: PERF401 - what came before an exception counts
    except Exception as error:
        found.append(caught(error))
    return found


def accepted(call: Callable[[Any], Any]) -> Act:
    """Do something with a connection that was accepted."""

    async def act(ws: Any, _peer: Peer, _side: Side) -> Any:
        await ws.accept()
        return await call(ws)

    return act


def left(call: Callable[[Any], Any]) -> Act:
    """Do something with a connection whose client has left, which was read."""

    async def act(ws: Any, _peer: Peer, _side: Side) -> Any:
        await ws.accept()
        await ws.receive()
        return await call(ws)

    return act


def closed(call: Callable[[Any], Any]) -> Act:
    """Do something with a connection that was closed."""

    async def act(ws: Any, _peer: Peer, _side: Side) -> Any:
        await ws.accept()
        await ws.close()
        return await call(ws)

    return act


def broken(call: Callable[[Any], Any]) -> Act:
    """Do something with a connection on which the server fails."""

    async def act(ws: Any, peer: Peer, _side: Side) -> Any:
        await ws.accept()
        peer.fail_sends_with = OSError("gone")
        return await call(ws)

    return act


for _name, (_call, _events) in CALLS.items():
    SCRIPTS[_name] = Script(accepted(_call), _events, {})
for _name, _call in LATER.items():
    SCRIPTS[f"{_name}: before accept"] = Script(new(_call), (), {})
    SCRIPTS[f"{_name}: after the client has left"] = Script(left(_call), (GONE,), {})
    SCRIPTS[f"{_name}: after close"] = Script(closed(_call), (T("late"), GONE), {})
for _name in ("send", "send_text", "send_bytes", "send_json", "close"):
    SCRIPTS[f"{_name}: the server fails"] = Script(broken(LATER[_name]), (), {})

# The handshake.


@script(subprotocols=["v1", "v2"])
async def accept_with_a_subprotocol_and_headers(ws: Any, peer: Peer, side: Side) -> None:
    await ws.accept("v2", [(b"x-a", b"1"), (b"x-a", b"\xe9")])


@script()
async def accept_with_headers_in_capitals(ws: Any, peer: Peer, side: Side) -> None:
    await ws.accept(headers=[(b"X-A", b"1")])


@script()
async def accept_with_headers_in_a_mapping(ws: Any, peer: Peer, side: Side) -> None:
    await ws.accept(headers={"x-a": "1"})


@script(subprotocols=["v1"])
async def accept_with_a_subprotocol_that_was_not_offered(ws: Any, peer: Peer, side: Side) -> None:
    await ws.accept("v9")


@script()
async def accept_after_the_connect_was_read(ws: Any, peer: Peer, side: Side) -> Any:
    return [await ws.receive(), await ws.accept()]


@script()
async def accept_of_a_client_that_has_given_up(ws: Any, peer: Peer, side: Side) -> None:
    peer.incoming.clear()
    peer.feed(GONE)
    await ws.accept()


@script()
async def accept_after_close(ws: Any, peer: Peer, side: Side) -> Any:
    return await each_of(lambda: ws.close(1008, "no"), ws.accept)


@script(T("early"))
async def a_message_before_accept(ws: Any, peer: Peer, side: Side) -> Any:
    return await each_of(ws.receive, ws.receive)


@script(extensions={"websocket.http.response": {}})
async def a_denial_response(ws: Any, peer: Peer, side: Side) -> None:
    await ws.send_denial_response(DENIAL)


@script(extensions={"websocket.http.response": {}})
async def a_denial_response_in_parts(ws: Any, peer: Peer, side: Side) -> None:
    await ws.send_denial_response(StreamingResponse(iter(["a", "b"]), 503))


@script(extensions={"websocket.http.response": {}})
async def half_a_denial_response(ws: Any, peer: Peer, side: Side) -> None:
    await ws.send({"type": "websocket.http.response.start", "status": 404, "headers": []})


@script()
async def a_denial_response_where_there_is_none(ws: Any, peer: Peer, side: Side) -> None:
    await ws.send_denial_response(DENIAL)


@script()
async def the_application_that_closes(ws: Any, peer: Peer, side: Side) -> None:
    await side.WebSocketClose(4000, "bye")(ws.scope, peer.receive, peer.send)


@script(GONE)
async def a_whole_conversation(ws: Any, peer: Peer, side: Side) -> Any:
    states = [ws.client_state, ws.application_state]
    await ws.accept()
    states += [ws.client_state, ws.application_state]
    with pytest.raises(side.WebSocketDisconnect) as gone:
        await ws.receive_text()
    states += [ws.client_state, ws.application_state]
    return states, gone.value.code, gone.value.reason


@script(T("a"), GONE)
async def aclosing_an_iterator(ws: Any, peer: Peer, side: Side) -> Any:
    await ws.accept()
    async with aclosing(ws.iter_text()) as texts:
        return await anext(texts)


# The rest.


@script()
def a_scope_of_another_type(ws: Any, peer: Peer, side: Side) -> Any:
    return side.WebSocket({**ws.scope, "type": "http"}, peer.receive, peer.send)


@script(headers=[(b"host", b"evil.example/x?y")])
def a_host_that_is_none(ws: Any, peer: Peer, side: Side) -> Any:
    return ws.url


@script()
def reading_a_session_marks_it(ws: Any, peer: Peer, side: Side) -> Any:
    session = ws.scope["session"] = Session(a=1)
    return ws.session["a"], session.accessed


@script()
def url_for_a_route(ws: Any, peer: Peer, side: Side) -> Any:
    ws.scope["router"] = Router([WebSocketRoute("/rooms/{n:int}", print, name="room")])
    return ws.url_for("room", n=7)


@script()
def url_for_no_route(ws: Any, peer: Peer, side: Side) -> Any:
    ws.scope["router"] = Router()
    return ws.url_for("room", n=7)


@script()
def the_exceptions(ws: Any, peer: Peer, side: Side) -> Any:
    made = [cls(1008, reason) for cls in side[2:4] for reason in (None, "", "why")]
    return [(each.code, each.reason, isinstance(each, RuntimeError)) for each in made]
