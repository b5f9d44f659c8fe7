from __future__ import annotations

import pytest

from telex.routing import Pattern, _pattern
from telex.routing._tree import Tree


def tree_of(*paths: str, mounts: tuple[str, ...] = ()) -> Tree[str]:
    tree = Tree[str]()
    for path in paths:
        tree.add(Pattern(path).segments, path)
    for prefix in mounts:
        tree.mount(Pattern(prefix).segments if prefix else (), f"{prefix} mount")
    return tree


TABLE = (
    "/users/me",
    "/users/{id}",
    "/users/{id:int}",
    "/users/u-{id}",
    "/users/n{id:int}",
    "/users/{rest:path}",
    "/users/{id}/x",
    "/users/{id:int}/y",
    "/users/me/{what}",
    "/users/{id}/{a}/z",
    "/{tail:any}",
    "/",
    "/slash/",
)


@pytest.mark.row("T69", "KX9")
@pytest.mark.parametrize("paths", [TABLE, tuple(reversed(TABLE))], ids=["in order", "reversed"])
@pytest.mark.parametrize(
    ("asked", "leaf", "values"),
    [
        ("/", "/", ()),
        ("/users/me", "/users/me", ()),
        ("/users/bob", "/users/{id}", ("bob",)),
        ("/users/7", "/users/{id:int}", (7,)),
        ("/users/u-7", "/users/u-{id}", ("7",)),
        ("/users/n7", "/users/n{id:int}", (7,)),
        ("/users/", "/users/{rest:path}", ("",)),
        ("/users/bob/q", "/users/{rest:path}", ("bob/q",)),
        ("/users/bob/x", "/users/{id}/x", ("bob",)),
        ("/users/7/x", "/users/{id}/x", ("7",)),
        ("/users/7/y", "/users/{id:int}/y", (7,)),
        ("/users/bob/y", "/users/{rest:path}", ("bob/y",)),
        ("/users/me/x", "/users/me/{what}", ("x",)),
        ("/users/me/q/z", "/users/{id}/{a}/z", ("me", "q")),
        ("/users/7/q/z", "/users/{id}/{a}/z", ("7", "q")),
        ("/users", "/{tail:any}", ("users",)),
        ("/slash/", "/slash/", ()),
        ("/slash", "/{tail:any}", ("slash",)),
    ],
)
def test_the_most_specific_path_wins_and_failed_branches_leave_nothing(
    paths: tuple[str, ...], asked: str, leaf: str, values: tuple[object, ...]
) -> None:
    found = tree_of(*paths).find(asked)
    assert found is not None
    assert (found.leaf, found.values, found.prefix) == (leaf, values, "")


@pytest.mark.row("T69")
@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        ("/{a:int}", "/{a:float}", "/7"),
        ("/{a:path}", "/{b:any}", "/x"),
        ("/a-{x}", "/{x}-b", "/a-b-b"),
    ],
)
def test_between_equals_the_first_added_wins(first: str, second: str, asked: str) -> None:
    for paths in ((first, second), (second, first)):
        found = tree_of(*paths).find(asked)
        assert found is not None
        assert found.leaf == paths[0]


@pytest.mark.row("T70")
@pytest.mark.parametrize(
    "asked", ["/nowhere", "/users/", "/users/7/y/", "", "*", "//", "/users//y"]
)
def test_nothing_is_found_where_nothing_is(asked: str) -> None:
    assert tree_of("/users", "/users/{id:int}/y").find(asked) is None


MOUNTED = tree_of(
    "/ws", "/ws/chat", "/ws/{id:int}", mounts=("/ws", "/ws/deep", "/r/{id}", "/n/{i:int}")
)


@pytest.mark.parametrize(
    ("asked", "leaf", "values", "prefix"),
    [
        ("/ws", "/ws", (), ""),
        ("/ws/", "/ws mount", (), "/ws"),
        ("/ws/chat", "/ws/chat", (), ""),
        ("/ws/chat/", "/ws mount", (), "/ws"),
        ("/ws/7", "/ws/{id:int}", (7,), ""),
        ("/ws/x", "/ws mount", (), "/ws"),
        ("/ws/7/x", "/ws mount", (), "/ws"),
        ("/ws/deep", "/ws/deep mount", (), "/ws/deep"),
        ("/ws/deep/x", "/ws/deep mount", (), "/ws/deep"),
        ("/ws/deepx", "/ws mount", (), "/ws"),
        ("/r/a b", "/r/{id} mount", ("a b",), "/r/a b"),
        ("/r/a/b/c", "/r/{id} mount", ("a",), "/r/a"),
        ("/n/007/x", "/n/{i:int} mount", (7,), "/n/007"),
    ],
)
def test_a_mount_takes_what_the_routes_below_it_leave(
    asked: str, leaf: str, values: tuple[object, ...], prefix: str
) -> None:
    found = MOUNTED.find(asked)
    assert found is not None
    assert (found.leaf, found.values, found.prefix) == (leaf, values, prefix)


@pytest.mark.parametrize("asked", ["/wsx", "/r", "/r/", "/n/x", "/"])
def test_a_mount_begins_and_ends_at_slashes(asked: str) -> None:
    assert MOUNTED.find(asked) is None


@pytest.mark.parametrize("asked", ["/", "/x", "/x/y", "", "*"])
def test_a_mount_at_the_root_takes_every_path(asked: str) -> None:
    found = tree_of("/ws", mounts=("",)).find(asked)
    assert found is not None
    assert (found.leaf, found.prefix) == (" mount", "")


def test_a_static_path_is_found_without_reading_any_segment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a segment was read")

    tree = tree_of("/{a}/b", "/a/{b:int}", "/a/b")
    monkeypatch.setattr(_pattern.Segment, "read", fail)
    found = tree.find("/a/b")
    assert found is not None
    assert found.leaf == "/a/b"
