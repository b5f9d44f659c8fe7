"""The chat's server over scripted connections, and its pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import main
import pytest
from main import app
from messages import MAX_FRAME, MAX_TEXT, Say
from rooms import MAX_PEOPLE, Hub

from peer import DEADLINE, B, D, Peer, T, make_scope


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Empty rooms for every test."""
    fresh = Hub()
    monkeypatch.setattr(main, "hub", fresh)
    return fresh


class Client(Peer):
    """A scripted client of the chat."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()
        self.reading.set()
        self._news = asyncio.Event()
        self._seen = 0

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        await super().send(message)
        self._news.set()

    def say(self, **message: Any) -> None:
        self.feed(T(json.dumps(message)))

    async def sees(self, kind: str) -> dict[str, Any]:
        """Wait for the next chat message of that type; those before it are skipped."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for text in self.data[self._seen :]:
                    self._seen += 1
                    message: dict[str, Any] = json.loads(text)
                    if message["type"] == kind:
                        return message
                self._news.clear()
                await self._news.wait()

    async def ends(self) -> tuple[int, str]:
        """Wait for the close."""
        async with asyncio.timeout(DEADLINE):
            while not self.closes:
                self._news.clear()
                await self._news.wait()
        return self.closes[0]


@asynccontextmanager
async def connected(room: str = "lobby") -> AsyncIterator[Client]:
    """A client whose connection runs beside the test and ends with the block."""
    client = Client()
    running = asyncio.ensure_future(app(make_scope(f"/ws/{room}"), client.receive, client.send))
    try:
        yield client
    finally:
        client.feed(D(1001))
        async with asyncio.timeout(DEADLINE):
            await running


async def test_two_clients_talk_to_each_other(hub: Hub) -> None:
    async with connected() as ada, connected() as grace:
        ada.say(type="join", name="Ada", key="a")
        assert (await ada.sees("welcome"))["you"] == "Ada"
        grace.say(type="join", name="Grace", key="g")
        assert (await grace.sees("welcome"))["members"] == ["Ada", "Grace"]
        assert (await ada.sees("joined"))["name"] == "Grace"
        grace.say(type="say", id="1", text="hello")
        for client in (ada, grace):
            said = await client.sees("message")
            assert (said["name"], said["text"], said["id"]) == ("Grace", "hello", "1")
    assert hub.rooms == {}


async def test_a_client_that_leaves_is_seen_leaving(hub: Hub) -> None:
    async with connected() as ada:
        ada.say(type="join", name="Ada")
        async with connected() as grace:
            grace.say(type="join", name="Grace")
            await grace.sees("welcome")
        assert (await ada.sees("left"))["name"] == "Grace"


async def test_a_page_that_reconnects_gets_its_name_again(hub: Hub) -> None:
    async with connected() as stale, connected() as fresh:
        stale.say(type="join", name="Ada", key="secret")
        await stale.sees("welcome")
        fresh.say(type="join", name="Ada", key="secret")
        assert (await fresh.sees("welcome"))["you"] == "Ada"
        stale.say(type="say", id="1", text="am I here?")
        assert (await stale.ends())[0] == main.TAKEN_OVER


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
    async with connected() as client:
        client.feed(T(junk) if isinstance(junk, str) else B(junk))
        assert (await client.sees("error"))["text"]
        client.say(type="join", name="Ada")
        assert (await client.sees("welcome"))["you"] == "Ada"
        assert client.closes == []


async def test_talking_before_joining_and_joining_twice_are_errors(hub: Hub) -> None:
    async with connected() as client:
        client.say(type="say", id="1", text="hello")
        assert (await client.sees("error"))["id"] == "1"
        client.say(type="join", name="Ada")
        await client.sees("welcome")
        client.say(type="join", name="Grace")
        await client.sees("error")
        assert [member.name for member in hub.rooms["lobby"].members.values()] == ["Ada"]


async def test_a_refused_message_is_answered_with_its_id(hub: Hub) -> None:
    async with connected() as client:
        client.say(type="join", name="Ada")
        client.say(type="say", id="7", text="x" * (MAX_TEXT + 1))
        assert (await client.sees("error"))["id"] == "7"


async def test_a_ping_is_answered_with_the_rooms(hub: Hub) -> None:
    async with connected() as client:
        client.say(type="join", name="Ada")
        client.say(type="ping")
        assert (await client.sees("pong"))["rooms"] == [{"name": "lobby", "people": 1}]


async def test_who_is_too_fast_is_asked_to_wait_and_a_flood_is_cut_off(hub: Hub) -> None:
    async with connected() as client:
        client.say(type="join", name="Ada")
        for number in range(200):
            client.say(type="say", id=str(number), text="hello")
        slow_down = await client.sees("slow_down")
        assert slow_down["id"]
        assert slow_down["retry_in"] > 0
        assert await client.ends() == (1008, "too many messages")


async def test_a_message_beyond_the_frame_limit_closes_with_1009(hub: Hub) -> None:
    async with connected() as client:
        client.feed(T("x" * (MAX_FRAME + 1)))
        assert (await client.ends())[0] == 1009


async def test_who_gives_no_name_in_time_is_closed_with_3008(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "JOIN_DEADLINE", 0.01)
    async with connected() as client:
        assert (await client.ends())[0] == 3008


async def test_who_gave_a_name_may_be_silent_for_longer(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "JOIN_DEADLINE", 0.05)
    async with connected() as quiet, connected() as late:
        quiet.say(type="join", name="Ada")
        await quiet.sees("welcome")
        assert (await late.ends())[0] == 3008
        quiet.say(type="ping")
        await quiet.sees("pong")


async def test_a_full_room_closes_with_1013(hub: Hub) -> None:
    for number in range(MAX_PEOPLE):
        hub.join("lobby", f"Guest {number}", "", str)
    async with connected() as client:
        client.say(type="join", name="Ada")
        assert (await client.ends())[0] == 1013


async def test_a_room_that_cannot_be_is_closed_with_a_code_that_browsers_can_see(hub: Hub) -> None:
    async with connected("No Such Room") as client:
        assert (await client.ends())[0] == 4404


async def test_a_client_that_does_not_read_is_closed_and_stalls_nobody(hub: Hub) -> None:
    ada_sees: list[str] = []
    ada = hub.join("lobby", "Ada", "", ada_sees.append)
    async with connected() as stuck:
        stuck.say(type="join", name="Grace")
        await stuck.sees("welcome")
        stuck.reading.clear()
        limit = main.outbox.max_messages
        for number in range(limit + 2):
            ada.room.say(ada, Say(id=str(number), text="hello"))
        assert sum('"type":"message"' in text for text in ada_sees) == limit + 2
        stuck.reading.set()
        assert (await stuck.ends())[0] == 4008
    assert json.loads(ada_sees[-1])["type"] == "left"


# The pages


async def test_the_page_is_sent_with_a_strict_policy() -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.test") as client:
        for path in (
            "/",
            "/static/chat.js",
            "/static/style.css",
            "/static/theme.css",
            "/static/icon.svg",
        ):
            response = await client.get(path)
            assert response.status_code == 200, path
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'; connect-src 'self' ws: wss:;")
            assert "unsafe" not in policy
        assert (await client.get("/static/../main.py")).status_code == 404
