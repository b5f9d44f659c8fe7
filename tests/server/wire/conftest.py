from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.wire.serving import BOTH, EVERYWHERE, OURS, Served, Servers, Venue

LOUD = {"asyncio", "telex.server"}
"""Loggers that get what should have been handled."""


def pytest_itemcollected(item: pytest.Item) -> None:
    # All of them start servers, though in threads; a server that hangs should not take long.
    item.add_marker(pytest.mark.integration)
    item.add_marker(pytest.mark.timeout(30))


@pytest.fixture(scope="module")
def of_this_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(lambda: tmp_path_factory.mktemp("wire"))
    yield servers
    servers.stop()


@pytest.fixture
def servers(of_this_module: Servers, caplog: pytest.LogCaptureFixture) -> Iterator[Servers]:
    """Starts servers; behind every test they must have forgotten its connections, and no exception
    may have escaped from ours.
    """
    yield of_this_module
    used = of_this_module.end_test()
    if all(server.venue.protocol == "telex" for server in used):
        escaped = [
            record
            for record in caplog.get_records("call")
            if record.name in LOUD and record.levelname in ("ERROR", "CRITICAL")
        ]
        assert [record.getMessage() for record in escaped] == []


@pytest.fixture
def server(servers: Servers) -> Served:
    """Ours, with uvicorn's own settings."""
    return servers.get(OURS)


@pytest.fixture(params=EVERYWHERE, ids=str)
def anywhere(request: pytest.FixtureRequest, servers: Servers) -> Served:
    """Ours, on each transport, event loop and HTTP parser."""
    return servers.get(request.param)


@pytest.fixture(params=BOTH, ids=lambda venue: venue.protocol)
def either(request: pytest.FixtureRequest, servers: Servers) -> Served:
    """Ours, and uvicorn's own: what both do in the same way."""
    venue: Venue = request.param
    return servers.get(venue)
