"""The page about slow clients: its examples run, and what it says is so."""

from __future__ import annotations

import asyncio

import pytest

import pages
from channel import FakeChannel, connecting_over, triple_over
from clients import connected
from documented import example
from opened import soon, turns
from telex import Outbox
from telex._settings import SETTINGS_KEY, Settings

TEXT = (pages.ROOT / "docs" / "slow-clients.md").read_text(encoding="utf-8")


ADDRESS = {"path": "/prices", "raw_path": b"/prices"}


def test_the_table_of_options_is_complete() -> None:
    defaults = {row[0]: row[1] for row in pages.table(TEXT, "Option")}
    assert defaults == {
        "`max_messages`": str(Outbox().max_messages),
        "`max_bytes`": f"{Outbox().max_bytes >> 20} MiB",
        "`policy`": f'`"{Outbox().policy}"`',
        "`close_code`": str(Outbox().close_code),
        "`timeout`": f"{Outbox().timeout:g} seconds",
    }


@pytest.mark.parametrize("row", pages.table(TEXT, "Policy"), ids=lambda row: row[0])
async def test_every_policy_returns_what_the_page_says(row: list[str]) -> None:
    outbox = Outbox(max_messages=1, policy=row[0].strip('`"'))  # type: ignore[arg-type]
    ws, channel = connecting_over("asgi", **{SETTINGS_KEY: Settings(outbox=outbox)})
    await soon(ws.accept())
    channel.block()
    assert ws.send_nowait("in the hands of the server")
    assert ws.send_nowait("fits")
    assert f"`{ws.send_nowait('does not')}`" == row[2]
    channel.unblock()
    await turns(30)


@pytest.mark.parametrize("row", pages.table(TEXT, "Policy"), ids=lambda row: row[0])
async def test_every_policy_waits_or_not_as_the_page_says(row: list[str]) -> None:
    outbox = Outbox(max_messages=1, policy=row[0].strip('`"'))  # type: ignore[arg-type]
    ws, channel = connecting_over("asgi", **{SETTINGS_KEY: Settings(outbox=outbox)})
    await soon(ws.accept())
    channel.block()
    assert ws.send_nowait("in the hands of the server")
    assert ws.send_nowait("fits")
    awaited = asyncio.create_task(ws.send_text("awaited"))
    await turns()
    assert row[3] == ("drops its message and returns at once" if awaited.done() else "waits")
    channel.unblock()
    await soon(awaited)
    assert ("awaited" in channel.data) is (row[3] == "waits")


async def test_a_viewer_that_does_not_keep_up_gets_the_latest_prices() -> None:
    module = example("broadcast")
    channel = FakeChannel()
    scope, receive, send = triple_over("frames", channel)
    task = asyncio.create_task(module.app({**scope, **ADDRESS}, receive, send))
    await turns()
    channel.block()
    for price in range(5):
        module.publish(str(price))
    await turns()
    channel.unblock()
    await turns()
    assert channel.data == ["3", "4"]
    channel.feed({"type": "websocket.disconnect", "code": 1000})
    await soon(task)
    assert not module.viewers


async def test_nothing_is_lost_when_the_sender_waits() -> None:
    async with connected(example("patient").app, "/export") as ws:
        assert [text async for text in ws] == [f"line {n}" for n in range(100)]
