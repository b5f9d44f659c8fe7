from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from integration.servers import KINDS, Kind, Server, start, stop

APP = "integration.app:served"


@pytest.fixture(scope="session")
def start_once() -> Iterator[Callable[[Kind], Server]]:
    """Starts a server at its first use; all are stopped at the end of the session."""
    running: dict[str, Server] = {}

    def get(kind: Kind) -> Server:
        if kind.name not in running:
            running[kind.name] = server = start(kind, APP)
            server.wait_until_it_answers()
        return running[kind.name]

    yield get
    stop(*running.values())


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, start_once: Callable[[Kind], Server]) -> Server:
    """Each of the six servers, with the application under test."""
    server = start_once(KINDS[request.param])
    server.begin()
    return server


@pytest.fixture
def quiet_server(server: Server) -> Iterator[Server]:
    """The same, for tests in which nothing goes wrong on the server."""
    yield server
    assert "Traceback" not in server.new_output
    assert "never awaited" not in server.new_output
    assert "never retrieved" not in server.new_output


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the server printed when a test fails."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append((f"Output of {value}", value.new_output))
    return report
