from __future__ import annotations

import pytest

from peer import make_scope
from telex.routing._scope import below, enter, route_path, split_root


@pytest.mark.row("T58")
@pytest.mark.parametrize(
    ("root_path", "path", "root", "rest"),
    [
        ("", "/ws", "", "/ws"),
        ("/api", "/api/ws", "/api", "/ws"),
        ("/api", "/ws", "/api", "/ws"),
        ("/api", "/apixyz", "/api", "/apixyz"),
        ("/api", "/api", "/api", ""),
        ("/api", "/api/", "/api", "/"),
        ("/api/", "/api/ws", "/api", "/ws"),
        ("/", "/ws", "", "/ws"),
        ("/a b", "/a b/é", "/a b", "/é"),
        (None, "/ws", "", "/ws"),
    ],
)
def test_the_root_path_is_taken_off_where_the_path_has_it(
    root_path: str | None, path: str, root: str, rest: str
) -> None:
    scope = make_scope(path, root_path=root_path)
    assert split_root(scope) == (root, rest)
    assert route_path(scope) == (rest or "/")


@pytest.mark.row("T58")
def test_a_scope_without_root_path_is_served() -> None:
    assert route_path({"type": "websocket", "path": "/ws"}) == "/ws"


@pytest.mark.row("T58")
@pytest.mark.parametrize(
    ("root_path", "path", "child_root", "child_path"),
    [
        ("", "/ws/chat", "/ws", "/ws/chat"),
        ("", "/ws", "/ws", "/ws"),
        ("/api", "/api/ws/chat", "/api/ws", "/api/ws/chat"),
        ("/api", "/ws/chat", "/api/ws", "/api/ws/chat"),
    ],
)
def test_a_mounted_application_sees_the_whole_path_and_a_longer_root_path(
    root_path: str, path: str, child_root: str, child_path: str
) -> None:
    scope = make_scope(path, root_path=root_path)
    before = dict(scope)
    child = below(scope, "/ws", {"id": 7})
    assert (child["root_path"], child["path"]) == (child_root, child_path)
    assert child["path_params"] == {"id": 7}
    assert scope == before


def test_parameters_of_mounts_and_routes_come_together() -> None:
    child = below(below(make_scope("/1/2/3"), "/1", {"a": 1}), "/2", {"b": 2})
    enter(child, "route", "endpoint", {"c": 3})
    assert child["path_params"] == {"a": 1, "b": 2, "c": 3}
    assert (child["route"], child["endpoint"]) == ("route", "endpoint")
