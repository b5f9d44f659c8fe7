"""`telex.websocket`: whose connection it stands for, where, and what it is without one."""

from __future__ import annotations

import asyncio
import copy
import doctest
import inspect
import pydoc
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

import telex
import telex.context
from opened import connecting, turns
from peer import D, T
from telex import App, WebSocket, websocket
from telex.context import current
from telex.testing import AsyncTestClient


@pytest.mark.row("K2", "K3", "K4", "T81")
async def test_a_handler_without_parameters_uses_the_stand_in() -> None:
    app = App()

    @app.router.websocket("/")
    async def echo() -> None:
        await websocket.accept()
        async for value in websocket.iter_json():
            await websocket.send_json({"echo": value})

    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        for sent, answer in [('{"a":1}', '{"echo":{"a":1}}'), ("2", '{"echo":2}')]:
            await ws.send_text(sent)
            assert await ws.receive_text() == answer


# --- every operation is passed on ---


@pytest.fixture
def inside() -> Any:
    """A connection that is being handled in the context of the test."""
    ws, _ = connecting(T("a"), D(1001), path="/here")
    token = current.set(ws)
    yield ws
    current.reset(token)


@pytest.mark.row("T81")
def test_inside_it_is_the_mapping(inside: WebSocket) -> None:
    assert websocket["path"] == "/here"
    assert "path" in websocket
    assert "other" not in websocket
    assert len(websocket) == len(inside.scope)
    assert list(websocket) == list(inside.scope)
    assert dict(websocket) == dict(inside.scope)
    websocket["extra"] = 1
    assert inside.scope["extra"] == 1
    del websocket["extra"]
    assert "extra" not in inside.scope
    with pytest.raises(KeyError):
        websocket["extra"]
    with pytest.raises(TypeError, match="reversible"):
        reversed(websocket)  # type: ignore[call-overload]


@pytest.mark.row("T81")
def test_inside_it_compares_hashes_and_looks_like_the_connection(inside: WebSocket) -> None:
    assert websocket == inside
    assert inside == websocket
    assert hash(websocket) == hash(inside)
    assert websocket in {inside}
    assert inside in {websocket}
    other, _ = connecting()
    assert websocket != other
    assert other != websocket
    assert websocket != dict(inside.scope)
    assert UserDict(inside.scope) != other
    assert bool(websocket) is True
    assert repr(websocket) == str(websocket) == f"{websocket}" == repr(inside)
    assert isinstance(websocket, WebSocket)
    assert {*dir(inside)} == {*dir(websocket)}


@pytest.mark.row("T81")
def test_a_set_of_connections_finds_them_by_the_stand_in(inside: WebSocket) -> None:
    connections = {inside}
    connections.discard(websocket)
    assert connections == set()


@pytest.mark.row("T81", "T94")
def test_inside_attributes_are_those_of_the_connection(inside: WebSocket) -> None:
    websocket.mark = 1  # type: ignore[attr-defined]
    assert inside.mark == 1  # type: ignore[attr-defined]
    assert vars(websocket) is vars(inside)
    del websocket.mark  # type: ignore[attr-defined]
    assert not hasattr(inside, "mark")
    assert websocket.state is inside.state
    assert websocket.url == inside.url
    with pytest.raises(AttributeError, match="mark"):
        _ = websocket.mark  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        websocket.close_code = 1  # type: ignore[misc]


@pytest.mark.row("T81")
async def test_inside_it_is_an_async_context_manager_and_iterable(inside: WebSocket) -> None:
    async with websocket as entered:
        assert entered is inside
        assert [message async for message in websocket] == ["a"]
    assert inside.close_code == 1001


OF_CLASSES_ONLY = {
    "__abstractmethods__",
    "__annotations__",
    "__class_getitem__",
    "__dict__",
    "__orig_bases__",
    "__parameters__",
    "__slotnames__",
    "__static_attributes__",
    "__firstlineno__",
    "__weakref__",
}


@pytest.mark.row("T81")
def test_no_special_method_of_the_connection_is_forgotten() -> None:
    special = {name for name in dir(WebSocket) if is_special(name)} - set(dir(object))
    assert special - OF_CLASSES_ONLY - vars(type(websocket)).keys() == set()


def is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


# --- outside ---


@pytest.mark.row("T81")
@pytest.mark.parametrize(
    "use",
    [
        lambda: websocket.path,
        lambda: websocket["path"],
        lambda: "path" in websocket,
        lambda: len(websocket),
        lambda: list(websocket),
        lambda: dict(websocket),
        lambda: aiter(websocket),
        lambda: websocket.accept(),
        lambda: websocket.__setitem__("path", "/"),
        lambda: websocket.__delitem__("path"),
        lambda: setattr(websocket, "mark", 1),
        lambda: delattr(websocket, "mark"),
    ],
)
def test_outside_a_connection_using_it_is_a_lookup_error(use: Callable[[], object]) -> None:
    with pytest.raises(LookupError, match="inside a WebSocket handler") as raised:
        use()
    assert "telex.websocket" in str(raised.value)


@pytest.mark.row("T81")
async def test_outside_a_connection_it_cannot_be_entered_or_called() -> None:
    with pytest.raises(LookupError):
        async with websocket:
            raise AssertionError("entered")
    with pytest.raises(LookupError):
        await websocket.send_text("x")


@pytest.mark.row("T81", "K2")
def test_outside_a_connection_tools_may_look_at_it() -> None:
    assert telex.websocket is websocket
    assert repr(websocket) == "<telex.websocket outside a connection>"
    assert bool(websocket) is False
    assert websocket == websocket
    assert websocket != connecting()[0]
    assert websocket != None  # noqa: E711 - the operator is the point
    assert isinstance(hash(websocket), int)
    assert not isinstance(websocket, WebSocket)
    assert not hasattr(websocket, "path")
    assert getattr(websocket, "path", "default") == "default"
    assert "accept" in dir(websocket)
    assert inspect.unwrap(websocket) is websocket
    assert inspect.getmodule(websocket) is telex.context
    assert not callable(websocket)
    assert not inspect.isawaitable(websocket)
    assert not inspect.isclass(websocket)
    assert inspect.getdoc(websocket)
    assert inspect.getmembers(websocket)
    assert "websocket" in pydoc.render_doc(telex.context)
    assert doctest.DocTestFinder().find(telex.context, "telex.context") is not None


@pytest.mark.row("T81")
def test_a_copy_of_it_is_a_stand_in_too(inside: WebSocket) -> None:
    for other in (copy.copy(websocket), copy.deepcopy(websocket)):
        assert other == inside
        assert other["path"] == "/here"


async def test_the_variable_itself_can_be_set_for_a_test() -> None:
    async def code_under_test() -> str:
        return websocket.path

    ws, _ = connecting(path="/mine")
    token = current.set(ws)
    assert await code_under_test() == "/mine"
    task = asyncio.create_task(code_under_test())
    current.reset(token)
    await turns()
    assert await task == "/mine"
    assert not websocket
