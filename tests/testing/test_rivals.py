"""The table of test clients is what they do, and Telex's never hang."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from testing import rivals
from testing.rival_clients import CLIENTS

TELEX = ("telex", "telex-sync")

MEASURING = 300.0
"""Seconds for the whole table of one client, twice, on a busy machine."""


async def measured(client: str, *options: str) -> dict[str, dict[str, str]]:
    """The outcomes of a client, measured by the script in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, rivals.__file__, client, *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    outcomes: dict[str, dict[str, str]] = json.loads(output)
    return outcomes


def minor(versions: dict[str, str]) -> dict[str, list[str]]:
    """Versions without what changes no behaviour."""
    return {package: version.split(".")[:2] for package, version in versions.items()}


@pytest.mark.integration
@pytest.mark.timeout(MEASURING)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_does_what_the_table_says(client: str) -> None:
    kept: dict[str, Any] = rivals.kept()[client]
    if minor(rivals.versions(client)) != minor(kept["versions"]):
        pytest.skip(f"measured with {kept['versions']}: measure again with `rivals.py --write`")
    found = await measured(client)
    if found != kept["endings"]:
        # What is slow on a busy machine is not what hangs.
        found = await measured(client, "--limit", "5")
    assert found == kept["endings"]


@pytest.mark.parametrize("client", TELEX)
def test_the_clients_of_telex_never_hang(client: str) -> None:
    endings = rivals.kept()[client]["endings"]
    assert list(endings) == list(rivals.ENDINGS)
    hanging = [
        (ending, application)
        for ending, outcomes in endings.items()
        for application, outcome in outcomes.items()
        if "hangs" in outcome
    ]
    assert hanging == []


@pytest.mark.parametrize("client", TELEX)
def test_the_clients_of_telex_leave_nothing_behind(client: str) -> None:
    outcomes = [each for of in rivals.kept()[client]["endings"].values() for each in of.values()]
    assert [each for each in outcomes if "goes on" in each] == []


def test_every_client_has_been_measured_with_every_ending() -> None:
    kept = rivals.kept()
    assert list(kept) == list(CLIENTS)
    for client, of in kept.items():
        assert list(of["endings"]) == list(rivals.ENDINGS)
        for outcomes in of["endings"].values():
            assert tuple(outcomes) == CLIENTS[client].applications


def test_the_table_has_a_row_for_every_ending_and_says_once_what_all_applications_share() -> None:
    head, _, *rows = rivals.table().splitlines()
    titles = [client.title for client in CLIENTS.values()]
    assert head == f"| What happens | {' | '.join(titles)} |"
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*rivals.ENDINGS.values()]
    closed = next(row for row in rows if "closes with 4001" in row)
    assert "<br>" not in closed
    assert closed.count("`WebSocketDisconnect(4001, 'bye')`") == len(titles)
