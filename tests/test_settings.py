"""Settings travel in the scope, and everything has a default."""

from __future__ import annotations

import dataclasses
from collections import UserDict

import pytest

from peer import make_scope
from telex._outbox import Outbox
from telex._settings import DEFAULTS, SETTINGS_KEY, Settings, settings_of


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
