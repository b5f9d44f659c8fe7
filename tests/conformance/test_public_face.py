"""What the connection object offers: Starlette's face, our own, and the words about it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
import starlette.websockets

from opened import connecting
from peer import B, D, T
from telex import WebSocket, WebSocketClose
from telex._iterator import MessageIterator
from telex.connection import Connection
from telex.frames import Frames

# --- what it offers ---

DIFFERENT = {
    "accept": "headers may also be a mapping, and text",
    "send_bytes": "other bytes-like objects are taken as well",
    "receive_json": "mode is one of two words for the type checker too",
    "send_json": "mode is one of two words for the type checker too",
    "iter_json": "takes a mode",
    "url_for": "keywords are called params",
    "iter_text": "returns a class of our own",
    "iter_bytes": "returns a class of our own",
}
"""Methods whose signatures differ from Starlette's, and how. Calls that fit theirs fit ours."""


def public(cls: type) -> dict[str, Any]:
    names = (name for name in dir(cls) if not name.startswith("_"))
    return {name: inspect.getattr_static(cls, name) for name in names}


def test_it_offers_every_public_name_of_starlettes_websocket() -> None:
    theirs = public(starlette.websockets.WebSocket)
    ours = public(WebSocket)
    assert [name for name in theirs if name not in ours] == []
    assert [
        name
        for name, member in theirs.items()
        if isinstance(member, property) != isinstance(ours[name], property)
    ] == []
    instance, _ = connecting()
    for name in ("scope", "client_state", "application_state"):
        assert hasattr(instance, name)


def test_calls_that_fit_starlettes_methods_fit_ours() -> None:
    different = set()
    for name, member in public(starlette.websockets.WebSocket).items():
        if isinstance(member, property):
            continue
        theirs, ours = inspect.signature(member), inspect.signature(getattr(WebSocket, name))
        if str(theirs) != str(ours):
            different.add(name)
        assert inspect.iscoroutinefunction(member) == inspect.iscoroutinefunction(
            getattr(WebSocket, name)
        )
        pairs = zip(theirs.parameters.values(), ours.parameters.values(), strict=False)
        for their, our in pairs:
            assert our.kind in (their.kind, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            assert our.name == their.name or their.kind is inspect.Parameter.VAR_KEYWORD
            assert our.default == their.default
        extra = list(ours.parameters.values())[len(theirs.parameters) :]
        assert all(parameter.default is not parameter.empty for parameter in extra)
    assert different == DIFFERENT.keys()


@pytest.mark.row("L1", "G9")
async def test_one_conversation_uses_both_sides() -> None:
    ws, peer = connecting(T("a"), B(b"b"), T("[1]"), T("c"), B(b"d"), T("2"), D(1001))
    await ws.accept()
    assert await ws.receive_text() == "a"
    assert await ws.receive_bytes() == b"b"
    assert await ws.receive_json() == [1]
    assert await anext(ws.iter_text()) == "c"
    assert await anext(ws.iter_bytes()) == b"d"
    assert await anext(ws.iter_json()) == 2
    await ws.send_text("x")
    await ws.send_bytes(b"y")
    await ws.send_json([3])
    assert [message async for message in ws] == []
    await ws.close()
    assert peer.data == ["x", b"y", "[3]"]
    assert peer.types == ["accept", "send", "send", "send"]


# --- what its documentation says ---

RAISE_NOTHING = {
    "is_disconnected",
    "wait_closed",
    "abort",
    *("get", "keys", "items", "values"),
}
SECTION = re.compile(r"^(Args|Returns|Raises.*|Yields|Attributes):$", re.MULTILINE)
ENTRY = re.compile(r"    (\*{0,2}[\w.]+): [A-Z0-9`\"].*|     +\S.*")


def documented() -> list[Any]:
    members = {}
    for cls in (Connection, Frames, WebSocket):
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                members[name] = pytest.param(cls, name, member, id=f"{cls.__name__}.{name}")
    return list(members.values())


@pytest.mark.parametrize(("cls", "name", "member"), documented())
def test_every_public_member_is_documented_in_the_google_form(
    cls: type, name: str, member: Any
) -> None:
    text = inspect.getdoc(member)
    assert text, f"{name} has no docstring"
    summary, _, rest = text.partition("\n")
    assert re.search(r"[.)]$", summary.partition(" See")[0].partition(" Before")[0]), summary
    assert rest == "" or rest.startswith("\n")
    if isinstance(member, property | type):
        return
    sections = SECTION.split(text)[1:]
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    for section in ("Args", "Raises"):
        for line in found.get(section, "").strip("\n").split("\n\n")[0].splitlines():
            assert ENTRY.fullmatch(line), line
    parameters = [
        parameter for parameter in inspect.signature(member).parameters if parameter != "self"
    ]
    if len(parameters) > 1:
        named = set(re.findall(r"^    \*{0,2}(\w+):", found.get("Args", ""), re.MULTILINE))
        assert named == set(parameters)
    raises = any(section.startswith("Raises") for section in found)
    assert raises != (name in RAISE_NOTHING), f"{name}: Raises"


def test_classes_say_what_they_are() -> None:
    for cls in (WebSocket, WebSocketClose, MessageIterator, Frames):
        assert inspect.getdoc(cls)
    assert "Raises:\n    ValueError:" in (inspect.getdoc(WebSocket) or "")
    assert "Raises:\n    ValueError:" in (inspect.getdoc(WebSocketClose) or "")


@pytest.mark.row("G7")
def test_typed_text_is_optional_the_package_does_without_its_library() -> None:
    code = "import sys; sys.modules['genro_tytx'] = None; import telex.websockets; telex.WebSocket"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=50)
