"""The Autobahn cases that take no time; `make conformance` runs all 517. See docs/conformance.md.

Left out are 9.* (large messages) and most of 12.* and 13.* (a thousand compressed messages each).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

import pytest

from conformance.run_cases import PATHS, echo_server, run
from conformance.verdicts import Verdict, counts, told
from integration.servers import Server, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("kosoku") is None, reason="kosoku is not built for this platform"
    ),
]

COMPRESSED = ["12.1.4", *(f"13.{group}.4" for group in range(1, 8))]
"""One each of the ways to negotiate permessage-deflate, with messages of 1 KiB."""

FAST = [*(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)), *COMPRESSED]

SIZES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "10": 1, "12": 1, "13": 7}
"""How many cases a group has."""

DEADLINE = 50.0
"""Seconds in which all of them are through; three are enough on an idle machine."""

Found = Mapping[str, list[Verdict]]
"""Verdicts by group."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Our server with both echo applications."""
    with running(echo_server(), "conformance.echo:served") as server:
        yield server


@pytest.fixture(scope="module", params=PATHS)
def found(request: pytest.FixtureRequest, server: Server) -> Found:
    """What came out for an application; all cases run at the first use."""
    verdicts = run(server.url(PATHS[request.param]), FAST, DEADLINE)
    return {group: [each for each in verdicts if each.group == group] for group in SIZES}


@pytest.mark.parametrize("group", SIZES)
def test_the_server_passes_the_cases_of_a_group(found: Found, group: str) -> None:
    failed = [verdict for verdict in found[group] if not verdict.passes()]
    assert not failed, f"{counts(found[group])}\n{told(failed)}"
    assert len(found[group]) == SIZES[group]


def test_whatever_clients_do_the_server_raises_nothing(found: Found, server: Server) -> None:
    assert found
    assert server.running
    assert "Traceback" not in server.output


def test_a_server_without_compression_declines_it() -> None:
    with running(echo_server(compression=False), "conformance.echo:served") as server:
        verdicts = run(server.url(PATHS["asgi"]), COMPRESSED, DEADLINE)
    assert {verdict.word for verdict in verdicts} == {"UNIMPLEMENTED"}
    assert all(verdict.passes(compression=False) for verdict in verdicts)
    assert not any(verdict.passes(compression=True) for verdict in verdicts)


def test_what_a_server_gets_wrong_is_found() -> None:
    """Cases that uvicorn's own protocol fails, or passes but not strictly."""
    with running(echo_server("websockets-sansio"), "conformance.echo:served") as server:
        verdicts = run(server.url(PATHS["asgi"]), ["1.1.1", "6.4.1", "7.1.5"], DEADLINE)
    assert [verdict.word for verdict in verdicts] == ["OK", "NON-STRICT", "FAILED"]
    assert [verdict.passes() for verdict in verdicts] == [True, False, False]
    assert "expected  nothing; close 1000\n    came      nothing; close 1002" in str(verdicts[2])


def test_a_connection_that_is_only_dropped_is_found() -> None:
    """Autobahn calls it a good end; the back end on wsproto ends with every violation like that."""
    with running(echo_server("wsproto"), "conformance.echo:served") as server:
        (verdict,) = run(server.url(PATHS["asgi"]), ["3.1"], DEADLINE)
    assert (verdict.word, verdict.clean, verdict.passes()) == ("OK", False, False)


def test_a_server_that_is_not_there_fails() -> None:
    (verdict,) = run("ws://127.0.0.1:1/", ["1.1.1"], DEADLINE)
    assert (verdict.word, verdict.passes()) == ("FAILED", False)


def test_a_pattern_without_cases_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"^no case matches 8\.\*$"):
        run("ws://127.0.0.1:1/", ["8.*"], DEADLINE)
