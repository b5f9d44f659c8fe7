"""What routing reads from a scope and what it writes there.

`root_path` is where the application is mounted. Current servers include it in `path`, older ones
leave it out: it is taken off where `path` begins with it and then goes on with a slash or ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telex._types import Scope


def split_root(scope: Scope) -> tuple[str, str]:
    """Return `root_path` without a slash at its end, and what is left of `path`, maybe `""`."""
    root: str = (scope.get("root_path") or "").rstrip("/")
    path: str = scope["path"]
    if root and (path == root or path.startswith(f"{root}/")):
        return root, path[len(root) :]
    return root, path


def route_path(scope: Scope) -> str:
    """Return the path that patterns are matched with: decoded, below `root_path`, never `""`."""
    return split_root(scope)[1] or "/"


def enter(scope: Scope, route: object, endpoint: object, params: Mapping[str, Any]) -> None:
    """Note in the scope which route was taken. Parameters of outer mounts stay."""
    outer = scope.get("path_params")
    scope["path_params"] = {**outer, **params} if outer else dict(params)
    scope["endpoint"] = endpoint
    scope["route"] = route


def below(scope: Scope, prefix: str, params: Mapping[str, Any]) -> Scope:
    """Return the scope for an application mounted at a prefix, a copy.

    `path` stays the whole path, or becomes it where the server left `root_path` out.
    """
    root, rest = split_root(scope)
    return {
        **scope,
        "root_path": root + prefix,
        "path": root + rest,
        "path_params": {**(scope.get("path_params") or {}), **params},
    }
