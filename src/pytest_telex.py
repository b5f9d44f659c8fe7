"""The fixtures `telex_client` and `telex_server`, and the option `telex_timeout`.

def test_the_echo(telex_client):
    with telex_client(app) as client, client.websocket("/echo") as ws: ...

pytest loads this file in every project where Telex is installed: Telex itself is imported by the
tests that use a fixture, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from telex._types import ASGIApp
    from telex._url import URL
    from telex.testing._blocking import EitherClient


class ClientFactory(Protocol):
    """What the fixture `telex_client` is."""

    def __call__(self, app: ASGIApp, **options: Any) -> EitherClient:
        """Return what `with` and `async with` make a client for an application."""


class ServerFactory(Protocol):
    """What the fixture `telex_server` is."""

    def __call__(self, app: ASGIApp, **options: Any) -> URL:
        """Start a server for an application and return its URL."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the option `telex_timeout`."""
    parser.addini(
        "telex_timeout",
        "seconds that a wait of telex_client may take unless the test says otherwise, or none",
        default="",
    )


@pytest.fixture
def telex_client(pytestconfig: pytest.Config) -> ClientFactory:
    """Make test clients: `async with` makes asynchronous ones, plain `with` synchronous ones.

    The options are those of `telex.testing.AsyncTestClient` and `TestClient`; the timeout is
    `telex_timeout` of pytest's configuration unless it is given.
    """
    from telex.testing._blocking import EitherClient

    defaults = _defaults(pytestconfig.getini("telex_timeout"))

    def make(app: ASGIApp, **options: Any) -> EitherClient:
        return EitherClient(app, **{**defaults, **options})

    return make


@pytest.fixture
def telex_server() -> Iterator[ServerFactory]:
    """Start real servers and return their URLs, `ws://127.0.0.1:` and a free port.

    The options are those of `telex.testing.LiveServer`. Every server stops after the test, the
    last one first; one that does not stop, or whose application fails to shut down, is an error.
    """
    from telex.testing._server import LiveServer

    with ExitStack() as servers:

        def start(app: ASGIApp, **options: Any) -> URL:
            return servers.enter_context(LiveServer(app, **options)).url

        yield start


def _defaults(timeout: str) -> dict[str, float | None]:
    """Return the options that the configuration gives every client."""
    if not timeout:
        return {}
    if timeout.lower() == "none":
        return {"timeout": None}
    try:
        return {"timeout": float(timeout)}
    except ValueError:
        raise pytest.UsageError(
            f"telex_timeout is a number of seconds or none, not {timeout!r}"
        ) from None
