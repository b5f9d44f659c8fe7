from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from integration.servers import KINDS, Kind, Server, Start, start, stop

APP = "integration.app:served"

DOCUMENTED = ["telex", "uvicorn websockets", "uvicorn websockets-sansio", "uvicorn wsproto"]
DOCUMENTED += ["hypercorn"]
"""The servers that run the examples of other frameworks' documents."""


@pytest.fixture(scope="session")
def start_once() -> Iterator[Start]:
    """Starts a server for a purpose at its first use; all are stopped at the end of the session."""
    running: dict[tuple[str, str], Server] = {}

    def get(kind: Kind, purpose: str, app: str = APP) -> Server:
        key = (kind.name, purpose)
        if key not in running:
            running[key] = server = start(kind, app)
            server.wait_until_it_answers()
        server = running[key]
        server.begin()
        return server

    yield get
    stop(*running.values())


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, start_once: Start) -> Server:
    """Each of the six servers, with the application under test."""
    return start_once(KINDS[request.param], "any test")


@pytest.fixture(params=KINDS)
def quiet_server(request: pytest.FixtureRequest, start_once: Start) -> Iterator[Server]:
    """The same, for tests in which nothing goes wrong on the server.

    Its processes are its own: Daphne reports an exception of the application up to a second after
    it was raised, when the next test may be running.
    """
    server = start_once(KINDS[request.param], "quiet tests")
    yield server
    assert_quiet(server)


@pytest.fixture(params=DOCUMENTED)
def documents(request: pytest.FixtureRequest, start_once: Start) -> Iterator[Server]:
    """Servers with the examples of other frameworks' documents, see `documents_app`."""
    served = "integration.documents_app:served"
    server = start_once(KINDS[request.param], "documents", served)
    yield server
    assert_quiet(server)


def assert_quiet(server: Server) -> None:
    """Make sure that nothing went wrong on a server in this test."""
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
                # It is gone with the session when the last test fails.
                with contextlib.suppress(FileNotFoundError):
                    report.sections.append((f"Output of {value}", value.new_output))
    return report
