"""The servers that echo, by the names that the benchmarks give them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from _compile import compiled

OUR_SERVER: Final = "telex.server:WebSocketProtocol"

BASE: Final = "starlette-stock"
"""What others are compared with."""

OURS: Final = "telex-ours"


@dataclass(frozen=True)
class Peer:
    """One server with one application.

    Attributes:
        title: What tables call it.
        command: What follows `python`.
        needs: The modules without which it cannot run.
    """

    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...]


def on_uvicorn(
    title: str, app: str, *needs: str, ours: bool = False, deflate: bool = False
) -> Peer:
    """Return an application on uvicorn with uvloop and httptools.

    Args:
        title: What tables call it.
        app: The module in `apps/`.
        needs: Modules it needs, beside uvicorn.
        ours: Whether to take Telex's protocol class instead of uvicorn's default.
        deflate: Whether compression may be negotiated.
    """
    command = ["benchmarks/_serve.py", f"apps.{app}:app", "--loop", "uvloop"]
    command += ["--ws", OUR_SERVER if ours else "auto"]
    command += [] if deflate else ["--no-deflate"]
    return Peer(title, tuple(command), ("uvicorn", "uvloop", *needs, *(["picows"] if ours else [])))


def _alone(title: str, script: str, *arguments: str, needs: tuple[str, ...]) -> Peer:
    return Peer(title, (f"benchmarks/peers/{script}.py", *arguments), (*needs, "uvloop"))


def _echoes(*, deflate: bool) -> dict[str, Peer]:
    pairs = (("telex", "Telex"), ("starlette", "Starlette"))
    return {
        f"{name}-{'ours' if ours else 'stock'}": on_uvicorn(
            f"{title} on {'our server' if ours else 'stock uvicorn'}",
            f"echo_{name}",
            name,
            ours=ours,
            deflate=deflate,
        )
        for ours in (True, False)
        for name, title in pairs
    }


PLAIN: Final = {
    **_echoes(deflate=False),
    "fastapi": on_uvicorn("FastAPI on stock uvicorn", "echo_fastapi", "fastapi"),
    "litestar": on_uvicorn("Litestar on stock uvicorn", "echo_litestar", "litestar"),
    "lilya": on_uvicorn("Lilya on stock uvicorn", "echo_lilya", "lilya"),
    "kui": on_uvicorn("Kui on stock uvicorn", "echo_kui", "kui"),
    "telex-granian": _alone(
        "Telex on Granian", "granian_echo", "apps.echo_telex:app", needs=("granian",)
    ),
    "starlette-granian": _alone(
        "Starlette on Granian",
        "granian_echo",
        "apps.echo_starlette:app",
        needs=("granian", "starlette"),
    ),
    "aiohttp": _alone("aiohttp", "aiohttp_echo", needs=("aiohttp",)),
    "websockets": _alone("websockets", "websockets_echo", needs=("websockets",)),
    "socketify": Peer("socketify", ("benchmarks/peers/socketify_echo.py",), ("socketify",)),
    "picows": _alone("picows, callbacks only", "picows_echo", needs=("picows",)),
    "picows-uvloop": _alone(
        "picows, on uvloop's transport", "picows_echo", "uvloop", needs=("picows",)
    ),
    "picows-future": _alone(
        "picows, a future per message", "picows_echo", "uvloop", "future", needs=("picows",)
    ),
    "floor": on_uvicorn("the async floor on our server", "echo_floor", ours=True),
}
"""Servers without compression, in the order of the table; `c` comes after them."""

DEFLATE: Final = _echoes(deflate=True)
"""Servers with their default settings, under which compression is negotiated."""

LIMIT: Final = "c"

NAMES: Final = (*PLAIN, LIMIT)


@cache
def limit() -> Peer | None:
    """Return the echo in C, `None` where it cannot be compiled."""
    program = compiled("limit.c")
    return None if program is None else Peer("epoll loop in C", (str(program),), ())


@cache
def has_our_server() -> bool:
    """Say whether Telex's protocol class can be imported."""
    module, _, name = OUR_SERVER.partition(":")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def missing(peer: Peer) -> str | None:
    """Return why a server cannot run here, `None` if it can."""
    lacking = [module for module in peer.needs if find_spec(module) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if OUR_SERVER in peer.command and not has_our_server():
        return f"there is no {OUR_SERVER}"
    return None


def chosen(names: list[str], *, deflate: bool = False) -> tuple[dict[str, Peer], list[str]]:
    """Return the servers of those names that can run, and a line about each other one."""
    peers = dict(DEFLATE if deflate else PLAIN)
    left_out = []
    c = limit()
    if c is not None and not deflate:
        peers[LIMIT] = c
    elif LIMIT in names and not deflate:
        left_out.append(f"left out: {LIMIT}, there is no C compiler")
    running = {}
    for name, peer in peers.items():
        if name not in names:
            continue
        why = missing(peer)
        if why is None:
            running[name] = peer
        else:
            left_out.append(f"left out: {peer.title}, {why}")
    return running, left_out
