"""Settings travel in the scope, and everything has a default."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import UserDict
from types import FrameType
from typing import Any

import pytest

from peer import make_scope
from telex._limits import Heartbeat
from telex._outbox import Outbox
from telex._settings import (
    DEFAULTS,
    SETTINGS_KEY,
    Overrides,
    Settings,
    limit_settings,
    settings_of,
)
from telex._slots import Slots
from telex._types import Scope
from telex.codecs import JSON, MessagePack


def test_a_scope_without_an_application_has_the_defaults() -> None:
    assert settings_of(make_scope()) is DEFAULTS
    assert settings_of(UserDict(make_scope())) is DEFAULTS


def test_an_application_leaves_its_settings_in_the_scope() -> None:
    settings = Settings(debug=True, disconnect_grace=None, outbox=Outbox(max_messages=1))
    assert settings_of({**make_scope(), SETTINGS_KEY: settings}) is settings


@pytest.mark.parametrize("stranger", [None, {}, {"debug": True}, "debug"])
def test_what_is_no_settings_is_not_taken_for_one(stranger: object) -> None:
    assert settings_of({**make_scope(), SETTINGS_KEY: stranger}) is DEFAULTS


def test_the_defaults_are_safe_and_cannot_be_changed() -> None:
    assert not DEFAULTS.debug
    assert DEFAULTS.disconnect_grace == 5.0
    assert (DEFAULTS.outbox.max_messages, DEFAULTS.outbox.max_bytes) == (1024, 1024 * 1024)
    assert DEFAULTS.outbox.policy == "block"
    assert not DEFAULTS.exception_handlers
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULTS.debug = True  # type: ignore[misc]


def scope_of(settings: Settings) -> Scope:
    return {**make_scope(), SETTINGS_KEY: settings}


def test_what_a_route_decides_replaces_what_its_application_does() -> None:
    codec = MessagePack()
    scope = scope_of(Settings(debug=True))
    Overrides(codec=codec, codecs=None).enter(scope)
    assert settings_of(scope) == Settings(debug=True, codec=codec, codecs={})


def test_a_route_without_an_application_changes_the_defaults() -> None:
    scope, codecs = make_scope(), {"json": JSON()}
    Overrides(codecs=codecs).enter(scope)
    assert settings_of(scope).codecs is codecs
    assert settings_of(scope).codec is DEFAULTS.codec
    assert not DEFAULTS.codecs


def test_none_leaves_it_to_the_application_and_nothing_at_all_is_false() -> None:
    assert not Overrides()
    assert not Overrides(codec=None)
    # An empty mapping is a decision.
    assert Overrides(codecs={})


def test_the_settings_of_one_application_are_made_once() -> None:
    overrides, settings = Overrides(codec=JSON()), Settings()
    first, second = scope_of(settings), scope_of(settings)
    overrides.enter(first)
    overrides.enter(second)
    assert settings_of(first) is settings_of(second)


def test_two_applications_that_share_a_route_keep_their_own() -> None:
    overrides = Overrides(codec=JSON())
    for debug in (True, False, True):
        scope = scope_of(Settings(debug=debug))
        overrides.enter(scope)
        assert settings_of(scope).debug is debug


def test_a_route_inside_of_another_one_decides_last() -> None:
    inner, outer = MessagePack(), JSON()
    scope = scope_of(Settings())
    Overrides(codec=outer, debug=True).enter(scope)
    Overrides(codec=inner).enter(scope)
    assert (settings_of(scope).codec, settings_of(scope).debug) == (inner, True)


def test_an_application_in_another_thread_does_not_change_the_settings_of_this_one() -> None:
    overrides = Overrides(codec=MessagePack())
    ours, theirs = scope_of(Settings(debug=True)), scope_of(Settings())

    def interrupted(frame: FrameType, event: str, arg: object) -> Any:
        # Before every line the other thread has its turn.
        if event == "line":
            sys.settrace(None)
            overrides.enter(theirs)
            sys.settrace(interrupted)
        return interrupted if frame.f_code is Overrides.enter.__code__ else None

    before = sys.gettrace()
    sys.settrace(interrupted)
    try:
        overrides.enter(ours)
    finally:
        sys.settrace(before)
    assert settings_of(ours).debug
    assert not settings_of(theirs).debug


# Limits


def test_limits_are_settings() -> None:
    outbox = Outbox(max_messages=3)
    changes = limit_settings({"max_age": 5, "outbox": outbox, "heartbeat": (2, 1)})
    assert changes == {"max_age": 5, "outbox": outbox, "heartbeat": Heartbeat(2, 1)}
    settings = Settings(**changes)
    assert (settings.max_age, settings.idle_timeout) == (5, math.inf)


def test_counts_of_connections_are_slots() -> None:
    changes = limit_settings({"max_connections": 1, "client_key": str})
    assert changes.keys() == {"slots", "client_key"}
    assert len(changes["slots"]) == 1
    assert limit_settings({"max_connections": math.inf}) == {}


def test_the_default_limits_are_those_that_hurt_nobody() -> None:
    limited = {"max_message_size": 16 * 1024 * 1024, "handshake_timeout": 30.0}
    for name in ("max_messages_per_second", "idle_timeout", "max_age", *limited):
        assert getattr(DEFAULTS, name) == limited.get(name, math.inf)
    assert (DEFAULTS.heartbeat, DEFAULTS.slots) == (None, ())


def test_the_slots_of_a_route_are_besides_those_of_its_application() -> None:
    base = Settings(**limit_settings({"max_connections": 5, "max_age": 7}))
    overrides = Overrides(**limit_settings({"max_connections": 1, "max_age": math.inf}))
    scope = scope_of(base)
    overrides.enter(scope)
    inside = settings_of(scope)
    assert inside.slots[:1] == base.slots
    assert len(inside.slots) == 2
    assert inside.max_age == math.inf
    assert Overrides(**limit_settings({"max_connections": 1}))


def test_the_slots_of_a_route_are_the_same_in_every_connection() -> None:
    overrides = Overrides(**limit_settings({"max_connections": 1}))
    found: set[Slots] = set()
    for _ in range(3):
        scope = make_scope()
        overrides.enter(scope)
        found.update(settings_of(scope).slots)
    assert len(found) == 1
