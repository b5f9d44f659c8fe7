"""The chat's server and its pages, in this process."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import main
import pytest
from main import app
from messages import MAX_FRAME, MAX_TEXT, Say
from rooms import MAX_PEOPLE, Hub

import telex
from clients import connected
from telex.testing import AsyncTestClient, AsyncTestSession


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Empty rooms for every test."""
    fresh = Hub()
    monkeypatch.setattr(main, "hub", fresh)
    return fresh


def visit(room: str = "lobby") -> AbstractAsyncContextManager[AsyncTestSession]:
    """Come to a room."""
    return connected(app, f"/ws/{room}")


async def say(ws: AsyncTestSession, kind: str, **fields: str) -> None:
    """Send a message of the chat."""
    await ws.send_json({"type": kind, **fields})


async def sees(ws: AsyncTestSession, kind: str) -> dict[str, Any]:
    """Wait for the next message of that type; those before it are skipped."""
    while (message := await ws.receive_json())["type"] != kind:
        pass
    found: dict[str, Any] = message
    return found


async def ends(ws: AsyncTestSession) -> tuple[int, str]:
    """Wait for the close; the messages before it are skipped."""
    async for _ in ws:
        pass
    record = await ws.expect_close()
    return record.code, record.reason


async def test_two_clients_talk_to_each_other(hub: Hub) -> None:
    async with visit() as ada, visit() as grace:
        await say(ada, "join", name="Ada", key="a")
        assert (await sees(ada, "welcome"))["you"] == "Ada"
        await say(grace, "join", name="Grace", key="g")
        assert (await sees(grace, "welcome"))["members"] == ["Ada", "Grace"]
        assert (await sees(ada, "joined"))["name"] == "Grace"
        await say(grace, "say", id="1", text="hello")
        for client in (ada, grace):
            said = await sees(client, "message")
            assert (said["name"], said["text"], said["id"]) == ("Grace", "hello", "1")
    assert hub.rooms == {}


async def test_a_client_that_leaves_is_seen_leaving(hub: Hub) -> None:
    async with visit() as ada:
        await say(ada, "join", name="Ada")
        async with visit() as grace:
            await say(grace, "join", name="Grace")
            await sees(grace, "welcome")
        assert (await sees(ada, "left"))["name"] == "Grace"


async def test_a_page_that_reconnects_gets_its_name_again(hub: Hub) -> None:
    async with visit() as stale, visit() as fresh:
        await say(stale, "join", name="Ada", key="secret")
        await sees(stale, "welcome")
        await say(fresh, "join", name="Ada", key="secret")
        assert (await sees(fresh, "welcome"))["you"] == "Ada"
        await say(stale, "say", id="1", text="am I here?")
        assert (await ends(stale))[0] == main.TAKEN_OVER


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "not json",
        "null",
        "[]",
        "{}",
        '{"type": "fly"}',
        '{"type": ["say"]}',
        '{"type": "say"}',
        '{"type": "say", "id": 1, "text": "a"}',
        '{"type": "say", "id": "1", "text": "\\ud800"}',
        '{"type": "join", "name": null}',
        "[" * (MAX_FRAME - 1),
        '{"type": "ping", "x": ' + "[" * 10_000,
        b"\xff\x00",
    ],
    ids=range(14),
)
async def test_junk_is_answered_with_an_error_and_the_connection_stays(
    hub: Hub, junk: str | bytes
) -> None:
    async with visit() as client:
        await client.send_value(junk)
        assert (await sees(client, "error"))["text"]
        await say(client, "join", name="Ada")
        assert (await sees(client, "welcome"))["you"] == "Ada"
        assert client.closed is None


async def test_talking_before_joining_and_joining_twice_are_errors(hub: Hub) -> None:
    async with visit() as client:
        await say(client, "say", id="1", text="hello")
        assert (await sees(client, "error"))["id"] == "1"
        await say(client, "join", name="Ada")
        await sees(client, "welcome")
        await say(client, "join", name="Grace")
        await sees(client, "error")
        assert [member.name for member in hub.rooms["lobby"].members.values()] == ["Ada"]


async def test_a_refused_message_is_answered_with_its_id(hub: Hub) -> None:
    async with visit() as client:
        await say(client, "join", name="Ada")
        await say(client, "say", id="7", text="x" * (MAX_TEXT + 1))
        assert (await sees(client, "error"))["id"] == "7"


async def test_a_ping_is_answered_with_the_rooms(hub: Hub) -> None:
    async with visit() as client:
        await say(client, "join", name="Ada")
        await say(client, "ping")
        assert (await sees(client, "pong"))["rooms"] == [{"name": "lobby", "people": 1}]


async def test_who_is_too_fast_is_asked_to_wait_and_a_flood_is_cut_off(hub: Hub) -> None:
    async with visit() as client:
        await say(client, "join", name="Ada")
        with suppress(telex.WebSocketDisconnect):
            for number in range(200):
                await say(client, "say", id=str(number), text="hello")
        slow_down = await sees(client, "slow_down")
        assert slow_down["id"]
        assert slow_down["retry_in"] > 0
        assert await ends(client) == (1008, "too many messages")


async def test_a_message_beyond_the_frame_limit_closes_with_1009(hub: Hub) -> None:
    async with visit() as client:
        await client.send_text("x" * (MAX_FRAME + 1))
        assert (await ends(client))[0] == 1009


async def test_who_gives_no_name_in_time_is_closed_with_3008(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "JOIN_DEADLINE", 0.01)
    async with visit() as client:
        assert (await ends(client))[0] == 3008


async def test_who_gave_a_name_may_be_silent_for_longer(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "JOIN_DEADLINE", 0.05)
    async with visit() as quiet, visit() as late:
        await say(quiet, "join", name="Ada")
        await sees(quiet, "welcome")
        assert (await ends(late))[0] == 3008
        await say(quiet, "ping")
        await sees(quiet, "pong")


async def test_a_full_room_closes_with_1013(hub: Hub) -> None:
    for number in range(MAX_PEOPLE):
        hub.join("lobby", f"Guest {number}", "", str)
    async with visit() as client:
        await say(client, "join", name="Ada")
        assert (await ends(client))[0] == 1013


async def test_a_room_that_cannot_be_is_closed_with_a_code_that_browsers_can_see(hub: Hub) -> None:
    async with visit("No Such Room") as client:
        assert (await ends(client))[0] == 4404


async def test_a_client_that_does_not_read_is_closed_and_stalls_nobody(hub: Hub) -> None:
    ada_sees: list[str] = []
    ada = hub.join("lobby", "Ada", "", ada_sees.append)
    async with visit() as stuck:
        await say(stuck, "join", name="Grace")
        await sees(stuck, "welcome")
        stuck.pause_reading(buffer=0)
        limit = main.outbox.max_messages
        for number in range(limit + 2):
            ada.room.say(ada, Say(id=str(number), text="hello"))
        assert sum('"type":"message"' in text for text in ada_sees) == limit + 2
        stuck.resume_reading()
        assert (await ends(stuck))[0] == 4008
    assert json.loads(ada_sees[-1])["type"] == "left"


# The pages


async def test_the_page_is_sent_with_a_strict_policy() -> None:
    async with AsyncTestClient(app) as client:
        for path in (
            "/",
            "/static/chat.js",
            "/static/style.css",
            "/static/theme.css",
            "/static/icon.svg",
        ):
            response = await client.http.get(path)
            assert response.status_code == 200, path
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'; connect-src 'self' ws: wss:;")
            assert "unsafe" not in policy
        assert (await client.http.get("/static/../main.py")).status_code == 404
