"""The public names, pinned. A name that comes or goes belongs in the changelog."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from pkgutil import iter_modules

import telex

ROOT = Path(__file__).parent.parent

PUBLIC = {
    "Authenticate",
    "Connections",
    "Heartbeat",
    "App",
    "Router",
    "Routes",
    "SocketRoute",
    "SocketView",
    "Mount",
    "WebSocket",
    "WebSocketState",
    "WebSocketClose",
    "CloseCode",
    "on",
    "websocket",
    "URL",
    "Headers",
    "QueryParams",
    "Address",
    "State",
    "Stream",
    "StreamEvent",
    "WebSocketError",
    "WebSocketHandshakeError",
    "WebSocketDisconnect",
    "WebSocketRuntimeError",
    "WebSocketFrameError",
    "WebSocketExpectError",
    "WebSocketException",
    "BindingError",
    "Reject",
    "Query",
    "Path",
    "Header",
    "Cookie",
    "Depends",
    "Outbox",
    "NoMatchFound",
    "RoutingError",
    "ImproperlyConfigured",
    "Listener",
}


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(telex.__all__) == sorted(PUBLIC)
    assert len(set(telex.__all__)) == len(telex.__all__)


def test_every_public_name_is_there_and_documented() -> None:
    for name in telex.__all__:
        # The proxy is looked up on its class, so that no connection is asked for.
        thing = type(telex.websocket) if name == "websocket" else getattr(telex, name)
        assert inspect.getdoc(thing), name


def test_no_submodule_bears_the_name_of_an_exported_object() -> None:
    submodules = {module.name for module in iter_modules(telex.__path__)}
    assert submodules.isdisjoint(telex.__all__)


def test_nothing_else_public_is_left_lying_about() -> None:
    submodules = {module.name for module in iter_modules(telex.__path__)}
    others = {name for name in vars(telex) if not name.startswith("_")}
    assert others - submodules == set(telex.__all__)


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert telex.__version__ == project["version"]
    assert f"[{telex.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
