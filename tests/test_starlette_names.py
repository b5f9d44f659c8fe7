"""`telex.WebSocket` has every public name of Starlette's, with the same meaning.

`DELIBERATE` is the whole list of what is otherwise. Whatever can be compared is: what there is,
what it takes, and what comes of small scripts that are played on both. A test fails for what
differs and is not listed, and for what is listed and does not differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import fastapi
import pytest
import starlette.websockets

import telex
from peer import Peer, make_scope
from starlette_scripts import OURS, SCRIPTS, THEIRS, Side


class Otherwise(NamedTuple):
    """A difference that is meant.

    Attributes:
        names: What is compared, of the same kind.
        why: What Starlette does, what Telex does, and why.
    """

    names: tuple[str, ...]
    why: str


def _otherwise(*names: str, why: str) -> Otherwise:
    return Otherwise(names, why)


def _each(*names: list[str], when: str) -> list[str]:
    return [f"{name}: {when}" for some in names for name in some]


RECEIVE = ["receive", "receive_text", "receive_bytes", "receive_json"]
SEND = ["send", "send_text", "send_bytes", "send_json"]

DELIBERATE: Final = [
    _otherwise(
        "WebSocketDisconnected",
        why="Telex calls it WebSocketRuntimeError; both are RuntimeErrors. It is raised for every "
        "call that does not fit the state.",
    ),
    _otherwise(
        "WebSocketState",
        why="Telex's states are integers, so that they can be compared and sent. The numbers are "
        "the same.",
    ),
    _otherwise(
        "WebSocketState.RESPONSE",
        "half a denial response",
        why="Telex has no such state: while a denial response is sent the application's side is "
        "still CONNECTING, for it has neither accepted nor rejected.",
    ),
    _otherwise(
        "WebSocket.client_state",
        "WebSocket.application_state",
        "setting a state",
        why="Starlette's can be set. Telex's only say what was read and sent, which every face of "
        "the connection shares.",
    ),
    _otherwise(
        "WebSocket.scope",
        why="Starlette's can be set; Telex's state belongs to the scope it has.",
    ),
    _otherwise(
        "scope",
        why="Telex keeps its state under the key 'telex.link', so that several objects over one "
        "connection agree.",
    ),
    _otherwise(
        "WebSocket.iter_text",
        "WebSocket.iter_bytes",
        "WebSocket.iter_json",
        why="Starlette's are asynchronous generators. Telex's are plain iterators, which hold "
        "nothing: leaving a loop loses no message. iter_json takes a mode.",
    ),
    _otherwise(
        "WebSocketException()",
        why="Starlette's and FastAPI's need a code; Telex's has 1000 where there is none.",
    ),
    _otherwise(
        "url",
        why="Starlette puts the path in as it is, and a '?' in it begins a query. Telex's is "
        "percent-encoded; url.path is the same.",
    ),
    _otherwise(
        "headers: keys",
        why="Starlette repeats a name that came several times, Telex does not. items() are the "
        "same.",
    ),
    _otherwise(
        "query_params: one of several",
        "query_params: items",
        why="Of a name that is there several times Starlette gives the last value, Telex the "
        "first, and items() has all of them. getlist() and multi_items() are the same.",
    ),
    _otherwise(
        "headers: missing",
        "query_params: missing",
        "url: no Host",
        "cookies: none",
        why="Of a scope without these keys Starlette raises KeyError. To Telex there is nothing "
        "there.",
    ),
    _otherwise(
        "app: missing",
        "user: missing",
        "auth: missing",
        "session: missing",
        why="Starlette raises KeyError for app, AssertionError for the others. Telex raises "
        "ImproperlyConfigured for all, a RuntimeError and ValueError that names the middleware.",
    ),
    _otherwise(
        "reading a session marks it",
        why="Starlette notes that it was read, for the Vary header of an HTTP response. A "
        "connection has none.",
    ),
    _otherwise(
        "url for no route",
        why="Starlette's NoMatchFound is a plain Exception, Telex's a LookupError.",
    ),
    _otherwise(
        "setting an item",
        why="Starlette's mapping is read-only. Telex's writes to the scope.",
    ),
    _otherwise(
        "a scope of another type",
        why="Starlette asserts, which python -O leaves out. Telex raises ValueError.",
    ),
    _otherwise(
        "accept with headers in capitals",
        "accept with headers in a mapping",
        why="Starlette hands headers on as they are, a mapping too, which servers cannot read. "
        "Telex makes pairs in lower case of both and refuses what would break the response.",
    ),
    _otherwise(
        "accept with a subprotocol that was not offered",
        why="Starlette sends it, and clients end the connection. Telex raises ValueError.",
    ),
    _otherwise(
        "accept of a client that has given up",
        why="Starlette raises RuntimeError. To Telex that is a disconnect like any other.",
    ),
    _otherwise(
        "accept after close",
        why="Both raise RuntimeError; Starlette reads the connect first.",
    ),
    _otherwise(
        "a message before accept",
        why="Starlette returns it. Telex raises RuntimeError: servers send none, so the state is "
        "wrong.",
    ),
    _otherwise(
        "a denial response where there is none",
        why="Starlette raises RuntimeError and the client gets a 500. Telex rejects with 403.",
    ),
    _otherwise(
        "the application that closes",
        why="Starlette's WebSocketClose goes around the state, Telex's does not.",
    ),
    _otherwise(
        "receive_text: binary",
        "receive_bytes: text",
        "receive_json: another kind",
        "iter_text: binary",
        "receive_text: binary of Hypercorn",
        why="Starlette raises KeyError or returns None, as the server has it. Telex always raises "
        "WebSocketFrameError, a TypeError.",
    ),
    _otherwise(
        "receive_json: NaN",
        why="Starlette takes it. Telex takes JSON (RFC 8259), which has no NaN.",
    ),
    _otherwise(
        "receive_json: no UTF-8",
        "receive_json: too deep",
        why="Starlette lets UnicodeDecodeError and RecursionError through. Telex raises "
        "JSONDecodeError for all that cannot be read.",
    ),
    _otherwise(
        "receive_text: an end without a code",
        why="Starlette raises KeyError. To Telex the code is 1000.",
    ),
    _otherwise(
        "send_text: no text",
        "send_bytes: no bytes",
        "send_text: a lone surrogate",
        why="Starlette hands it to the server, where the connection breaks. Telex raises "
        "TypeError or ValueError and sends nothing.",
    ),
    _otherwise(
        "send_json: NaN",
        why="Starlette sends it, which browsers cannot read. Telex raises ValueError.",
    ),
    _otherwise(
        "send_json: a lone surrogate",
        why="Starlette hands on what has no UTF-8. Telex writes an escape, which means the same.",
    ),
    _otherwise(
        "send: a close",
        why="Starlette hands it on as it is. Telex adds the empty reason.",
    ),
    _otherwise(
        "close: a code that may not be sent",
        "close: a long reason",
        why="Starlette leaves both to the server. Telex raises ValueError for the code, and cuts "
        "the reason to the 123 bytes that fit.",
    ),
    _otherwise(
        "close: twice",
        "close: after close",
        "close: after the client has left",
        why="Starlette raises RuntimeError, or sends a close that servers do not take. In Telex "
        "close() does nothing when the connection is over.",
    ),
    _otherwise(
        "iter_text: after close",
        why="Starlette raises RuntimeError. In Telex the loop ends: we closed, nothing went wrong.",
    ),
    _otherwise(
        *_each(RECEIVE, SEND, ["accept", "iter_text"], when="after the client has left"),
        why="Starlette raises RuntimeError for what reads, and hands to the server what is sent. "
        "Telex raises WebSocketDisconnect with code and reason for both.",
    ),
    _otherwise(
        *_each(SEND, when="the server fails"),
        why="Both raise WebSocketDisconnect(1006). To Starlette our side is over then, to Telex "
        "the client's.",
    ),
    _otherwise(
        "close: the server fails",
        why="Starlette raises WebSocketDisconnect. In Telex close() has done what it was to do.",
    ),
]
DIFFERENCES: Final = {name: each.why for each in DELIBERATE for name in each.names}

# --- what there is, and what it takes ---

Comparison = Callable[[Side], Any]


def object_of(cls: Any) -> Any:
    """Return an object of one of the classes."""
    peer = Peer()
    if cls in (THEIRS.WebSocket, OURS.WebSocket):
        return cls(make_scope(), peer.receive, peer.send)
    return cls(1000)


def kind(thing: Any, name: str) -> str:
    """What a name of an object is."""
    if name not in dir(thing):
        return "missing"
    found = inspect.getattr_static(type(thing), name, None)
    if found is None:
        return "attribute"
    if isinstance(found, property):
        return "property"
    if inspect.isasyncgenfunction(found):
        return "asynchronous generator"
    return "coroutine" if inspect.iscoroutinefunction(found) else "method"


def parameters(function: Any) -> list[tuple[str, str, Any]]:
    """The parameters of a function: name, kind and default, in their order."""
    found = inspect.signature(function).parameters.values()
    return [
        ("**" if each.kind is each.VAR_KEYWORD else each.name, each.kind.description, each.default)
        for each in found
    ]


def constructor(cls: str) -> Comparison:
    """Compares what a class takes."""
    return lambda side: parameters(getattr(side, cls))


def attribute(cls: str, name: str) -> Comparison:
    """Compares a name of a class: what it is, and what it takes."""

    def look(side: Side) -> Any:
        thing = object_of(getattr(side, cls))
        what = kind(thing, name)
        called = what not in {"missing", "attribute", "property"}
        return what, parameters(getattr(thing, name)) if called else None

    return look


def state(name: str) -> Comparison:
    """Compares the value of a state."""
    return lambda side: getattr(side.WebSocketState.__members__.get(name), "value", "missing")


def classes() -> list[str]:
    """The classes that Starlette has for connections."""
    module = starlette.websockets
    return [
        name
        for name, each in vars(module).items()
        if inspect.isclass(each) and each.__module__ == module.__name__
    ]


def exists(name: str) -> Comparison:
    """Compares whether there is such a name."""
    return lambda side: hasattr(starlette.websockets if side is THEIRS else telex, name)


def comparisons() -> dict[str, Comparison]:
    """A comparison for each public name of Starlette's classes."""
    found: dict[str, Comparison] = {name: exists(name) for name in classes()}
    found["WebSocketState"] = lambda side: issubclass(side.WebSocketState, int)
    for cls in Side._fields[:-1]:
        found[f"{cls}()"] = constructor(cls)
        for name in dir(object_of(getattr(THEIRS, cls))):
            if not name.startswith("_") and name not in dir(Exception):
                found[f"{cls}.{name}"] = attribute(cls, name)
    for name in THEIRS.WebSocketState.__members__:
        found[f"WebSocketState.{name}"] = state(name)
    return found


# --- the comparison ---

COMPARISONS = comparisons()


def check(name: str, theirs: Any, ours: Any) -> None:
    if name in DIFFERENCES:
        assert theirs != ours, f"{name!r} is no difference any more: {theirs}"
    else:
        assert theirs == ours, f"{name!r} is not listed\nStarlette: {theirs}\nTelex:     {ours}"


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_name_is_the_same(name: str) -> None:
    compare = COMPARISONS[name]
    check(name, compare(THEIRS), compare(OURS))


@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_same_comes_of_a_script(name: str) -> None:
    play = SCRIPTS[name].play
    check(name, await play(THEIRS), await play(OURS))


def test_all_that_is_listed_is_compared_and_listed_once() -> None:
    assert len(DIFFERENCES) == sum(len(each.names) for each in DELIBERATE)
    assert DIFFERENCES.keys() - COMPARISONS.keys() - SCRIPTS.keys() == set()


def test_fastapi_has_the_same_classes() -> None:
    assert fastapi.WebSocket is THEIRS.WebSocket
    assert fastapi.WebSocketDisconnect is THEIRS.WebSocketDisconnect
    assert issubclass(fastapi.WebSocketException, THEIRS.WebSocketException)
    assert parameters(fastapi.WebSocketException) == parameters(THEIRS.WebSocketException)
