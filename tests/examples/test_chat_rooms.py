"""The chat's rooms: names, coming and going, what is passed on, the flood limit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from messages import MAX_TEXT, Say
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
def hub() -> Hub:
    """Empty rooms, in which it is always noon."""
    return Hub(clock=lambda: NOON)


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
