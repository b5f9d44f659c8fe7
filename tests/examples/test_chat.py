"""The chat's server: its rooms alone, then the whole of it over scripted connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import main
import pytest
from main import app
from messages import MAX_FRAME, MAX_TEXT, Say
from rooms import (
    HISTORY,
    MAX_NAME,
    MAX_PEOPLE,
    Hub,
    Member,
    Refused,
    RoomFull,
    TokenBucket,
    clean_name,
    clean_text,
    is_room_name,
)

from peer import DEADLINE, B, D, Peer, T, make_scope

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Screen:
    """What one person sees: every message that was sent to it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def __call__(self, text: str) -> bool:
        self.messages.append(json.loads(text))
        return True

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Empty rooms for every test, in which it is always noon."""
    fresh = Hub(clock=lambda: NOON)
    monkeypatch.setattr(main, "hub", fresh)
    return fresh


def come_in(hub: Hub, name: str, *, room: str = "lobby", key: str = "") -> tuple[Member, Screen]:
    screen = Screen()
    return hub.join(room, name, key, screen), screen


# Names and rooms


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("Ada", "Ada"),
        ("  Ada \t Lovelace\n", "Ada Lovelace"),
        ("A\x00d\x1ba\u202e\u200b", "Ada"),
        ("e\u0301", "é"),
        ("\ud800", "Guest"),
        ("", "Guest"),
        ("n" * 100, "n" * MAX_NAME),
    ],
)
def test_a_name_becomes_one_visible_line_of_bounded_length(wanted: str, given: str) -> None:
    assert clean_name(wanted) == given


def test_a_taken_name_gets_a_number_whatever_its_case(hub: Hub) -> None:
    names = [come_in(hub, name)[0].name for name in ("Ada", "ada", "ADA", "Grace")]
    assert names == ["Ada", "ada 2", "ADA 3", "Grace"]


def test_a_long_taken_name_makes_room_for_its_number(hub: Hub) -> None:
    names = [come_in(hub, "n" * MAX_NAME)[0].name for _ in range(11)]
    assert len({name.casefold() for name in names}) == 11
    assert all(len(name) <= MAX_NAME for name in names)


def test_the_same_name_may_be_used_in_two_rooms(hub: Hub) -> None:
    assert come_in(hub, "Ada", room="coffee")[0].name == "Ada"
    assert come_in(hub, "Ada", room="music")[0].name == "Ada"


def test_a_name_is_free_again_after_its_owner_left(hub: Hub) -> None:
    ada, _ = come_in(hub, "Ada")
    hub.leave(ada)
    assert come_in(hub, "Ada")[0].name == "Ada"


@pytest.mark.parametrize("name", ["lobby", "a", "room-7", "9" * 24])
def test_plain_words_are_room_names(name: str) -> None:
    assert is_room_name(name)


@pytest.mark.parametrize("name", ["", "Lobby", "-a", "a b", "a/b", "ü", "a\n", "9" * 25])
def test_other_strings_are_no_room_names(name: str) -> None:
    assert not is_room_name(name)


# Coming, going, talking


def test_a_newcomer_is_welcomed_with_who_is_here_and_what_was_said(hub: Hub) -> None:
    ada, _ = come_in(hub, "Ada")
    ada.room.say(ada, Say(id="1", text="hello"))
    _, screen = come_in(hub, "Grace")
    assert screen.messages == [
        {
            "type": "welcome",
            "room": "lobby",
            "you": "Grace",
            "members": ["Ada", "Grace"],
            "history": [{"type": "message", "id": "1", "name": "Ada", "text": "hello",
                         "at": "2030-01-01T12:00:00Z"}],
            "rooms": [{"name": "lobby", "people": 2}],
        }
    ]  # fmt: skip


def test_the_others_see_who_joined_and_who_left(hub: Hub) -> None:
    _, screen = come_in(hub, "Ada")
    grace, _ = come_in(hub, "Grace")
    hub.leave(grace)
    assert [(m["type"], m.get("name")) for m in screen.messages[1:]] == [
        ("joined", "Grace"),
        ("left", "Grace"),
    ]


def test_what_is_said_reaches_everybody_in_the_room_and_nobody_else(hub: Hub) -> None:
    ada, ada_sees = come_in(hub, "Ada")
    _, grace_sees = come_in(hub, "Grace")
    _, lin_sees = come_in(hub, "Lin", room="coffee")
    ada.room.say(ada, Say(id="1", text="hello"))
    for screen in (ada_sees, grace_sees):
        assert [m["text"] for m in screen.of_type("message")] == ["hello"]
    assert lin_sees.of_type("message") == []


def test_a_message_sent_twice_is_said_once_and_confirmed_twice(hub: Hub) -> None:
    ada, ada_sees = come_in(hub, "Ada")
    _, grace_sees = come_in(hub, "Grace")
    for _ in range(2):
        ada.room.say(ada, Say(id="1", text="hello"))
    assert len(ada_sees.of_type("message")) == 2
    assert len(grace_sees.of_type("message")) == 1


def test_the_history_is_bounded(hub: Hub) -> None:
    ada, _ = come_in(hub, "Ada")
    for number in range(HISTORY + 10):
        ada.room.say(ada, Say(id=str(number), text="hello"))
    _, screen = come_in(hub, "Grace")
    assert [m["id"] for m in screen.messages[0]["history"]] == [
        str(number) for number in range(10, HISTORY + 10)
    ]


@pytest.mark.parametrize(
    ("identifier", "text"), [("1", ""), ("1", " \n"), ("1", "x" * (MAX_TEXT + 1)), ("", "hello")]
)
def test_an_empty_or_endless_message_is_refused(hub: Hub, identifier: str, text: str) -> None:
    ada, screen = come_in(hub, "Ada")
    with pytest.raises(Refused):
        ada.room.say(ada, Say(id=identifier, text=text))
    assert screen.of_type("message") == []


def test_control_characters_are_dropped_from_messages_and_lines_kept() -> None:
    assert clean_text(" a\x00\x1b\r\nb\tc ") == "a\nb\tc"


def test_the_same_page_takes_its_place_over_and_nobody_is_told(hub: Hub) -> None:
    _, ada_sees = come_in(hub, "Ada")
    before, _ = come_in(hub, "Grace", key="secret")
    after, grace_sees = come_in(hub, "Grace", key="secret")
    hub.leave(before)
    assert after.name == "Grace"
    assert hub.is_here(after)
    assert not hub.is_here(before)
    assert grace_sees.messages[0]["members"] == ["Ada", "Grace"]
    assert [m["type"] for m in ada_sees.messages] == ["welcome", "joined"]


def test_an_empty_key_takes_nobodys_place(hub: Hub) -> None:
    assert [come_in(hub, "Ada", key="")[0].name for _ in range(2)] == ["Ada", "Ada 2"]


def test_keys_are_shown_to_nobody(hub: Hub) -> None:
    _, ada_sees = come_in(hub, "Ada", key="first-secret")
    grace, grace_sees = come_in(hub, "Grace", key="second-secret")
    grace.room.say(grace, Say(id="1", text="hello"))
    assert "secret" not in json.dumps(ada_sees.messages + grace_sees.messages)


def test_a_full_room_lets_nobody_in_but_those_who_come_back(hub: Hub) -> None:
    for number in range(MAX_PEOPLE):
        come_in(hub, f"Guest {number}", key=str(number))
    with pytest.raises(RoomFull):
        come_in(hub, "Ada")
    assert come_in(hub, "Guest 7", key="7")[0].name == "Guest 7"


def test_a_room_is_forgotten_when_the_last_one_leaves(hub: Hub) -> None:
    people = [come_in(hub, name)[0] for name in ("Ada", "Grace")]
    for member in people:
        assert "lobby" in hub.rooms
        hub.leave(member)
    assert hub.rooms == {}


def test_the_busiest_rooms_come_first(hub: Hub) -> None:
    for room, name in (("coffee", "Lin"), ("music", "Ada"), ("music", "Grace"), ("art", "Ken")):
        come_in(hub, name, room=room)
    assert [(room.name, room.people) for room in hub.busiest(2)] == [("music", 2), ("art", 1)]


# Not too fast


def test_a_bucket_lets_a_burst_through_and_then_so_many_per_second() -> None:
    now = 0.0
    bucket = TokenBucket(lambda: now, burst=3, per_second=2)
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    wait = bucket.take()
    assert wait == 1.0
    now += wait
    assert bucket.take() == 0.0


def test_who_does_not_wait_has_to_wait_ever_longer() -> None:
    bucket = TokenBucket(lambda: 0.0, burst=1, per_second=2)
    waits = [bucket.take() for _ in range(4)]
    assert waits == sorted(waits)
    assert waits[-1] > waits[1]


# Over connections


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
async def connected(
    room: str = "lobby", *, app: Callable[..., Awaitable[None]] = app
) -> AsyncIterator[Client]:
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
        come_in(hub, f"Guest {number}")
    async with connected() as client:
        client.say(type="join", name="Ada")
        assert (await client.ends())[0] == 1013


async def test_a_room_that_cannot_be_is_closed_with_a_code_that_browsers_can_see(hub: Hub) -> None:
    async with connected("No Such Room") as client:
        assert (await client.ends())[0] == 4404


async def test_a_client_that_does_not_read_is_closed_and_stalls_nobody(hub: Hub) -> None:
    ada, ada_sees = come_in(hub, "Ada")
    async with connected() as stuck:
        stuck.say(type="join", name="Grace")
        await stuck.sees("welcome")
        stuck.reading.clear()
        limit = main.outbox.max_messages
        for number in range(limit + 2):
            ada.room.say(ada, Say(id=str(number), text="hello"))
        assert len(ada_sees.of_type("message")) == limit + 2
        stuck.reading.set()
        assert (await stuck.ends())[0] == 4008
    assert [m["name"] for m in ada_sees.of_type("left")] == ["Grace"]


# The pages


async def test_the_page_is_sent_with_a_strict_policy() -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.test") as client:
        for path in ("/", "/static/chat.js", "/static/style.css", "/static/icon.svg"):
            response = await client.get(path)
            assert response.status_code == 200, path
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'; connect-src 'self' ws: wss:;")
            assert "unsafe" not in policy
        assert (await client.get("/static/../main.py")).status_code == 404
