"""The transition tables, pair by pair: what is not written here is illegal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from telex._state import (
    APPLICATION,
    CLIENT,
    Phase,
    WebSocketState,
    advance_application,
    advance_client,
    combined_state,
    expected,
    public_state,
    refusal,
)
from telex.exceptions import WebSocketRuntimeError

C, O, X, D = Phase.CONNECTING, Phase.CONNECTED, Phase.DISCONNECTED, Phase.DENYING  # noqa: E741

CLIENT_EVENTS = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
APPLICATION_EVENTS = [
    "websocket.accept",
    "websocket.send",
    "websocket.close",
    "websocket.http.response.start",
    "websocket.http.response.body",
]
NONSENSE = ["", "None", "http.request", "websocket", "websocket.ping", "lifespan.startup"]
EVERYTHING = [*CLIENT_EVENTS, *APPLICATION_EVENTS, *NONSENSE]

LEGAL_CLIENT = {
    (C, "websocket.connect"): O,
    (C, "websocket.disconnect"): X,
    (O, "websocket.receive"): O,
    (O, "websocket.disconnect"): X,
}
LEGAL_APPLICATION = {
    (C, "websocket.accept"): O,
    (C, "websocket.close"): X,
    (C, "websocket.http.response.start"): D,
    (D, "websocket.http.response.body"): X,
    (O, "websocket.send"): O,
    (O, "websocket.close"): X,
}


def outcome(advance: Callable[..., Phase], *arguments: Any) -> Phase | None:
    """The next phase, or `None` when the event is refused."""
    try:
        return advance(*arguments)
    except WebSocketRuntimeError:
        return None


@pytest.mark.row("C67")
@pytest.mark.parametrize(("phase", "kind"), [*itertools.product(Phase, EVERYTHING)])
def test_the_client_may_do_exactly_what_the_table_says(phase: Phase, kind: str) -> None:
    assert outcome(advance_client, phase, kind) is LEGAL_CLIENT.get((phase, kind))


@pytest.mark.row("C67")
@pytest.mark.parametrize(("phase", "kind"), [*itertools.product(Phase, EVERYTHING)])
def test_the_application_may_do_exactly_what_the_table_says(phase: Phase, kind: str) -> None:
    assert outcome(advance_application, phase, {"type": kind}) is LEGAL_APPLICATION.get(
        (phase, kind)
    )


def test_a_denial_goes_on_as_long_as_more_body_is_announced() -> None:
    body = {"type": "websocket.http.response.body", "body": b"x"}
    assert advance_application(D, {**body, "more_body": True}) is D
    assert advance_application(D, {**body, "more_body": False}) is X
    assert advance_application(D, body) is X


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 1}])
def test_a_message_without_a_type_is_refused(message: dict[str, Any]) -> None:
    for phase in Phase:
        assert outcome(advance_application, phase, message) is None


@pytest.mark.parametrize("table", [CLIENT, APPLICATION])
def test_nothing_is_legal_after_the_end(table: dict[tuple[Phase, str], Phase]) -> None:
    assert all(phase is not X for phase, _ in table)
    assert expected(table, X) == "nothing"


@pytest.mark.parametrize("table", [CLIENT, APPLICATION])
def test_every_phase_leads_to_the_end(table: dict[tuple[Phase, str], Phase]) -> None:
    ends = {X, D}
    assert all(
        any(after in ends for (at, _), after in table.items() if at is phase)
        for phase in {phase for phase, _ in table} - {D}
    )


@pytest.mark.parametrize(
    ("phase", "kind", "text"),
    [
        (
            C,
            "websocket.receive",
            (
                "expected 'websocket.connect' or 'websocket.disconnect' from the server, "
                "got 'websocket.receive'"
            ),
        ),
        (
            O,
            "websocket.connect",
            (
                "expected 'websocket.receive' or 'websocket.disconnect' from the server, "
                "got 'websocket.connect'"
            ),
        ),
        (X, "websocket.receive", "expected nothing from the server, got 'websocket.receive'"),
    ],
)
def test_a_wrong_event_of_the_server_is_named_with_what_was_expected(
    phase: Phase, kind: str, text: str
) -> None:
    with pytest.raises(WebSocketRuntimeError) as caught:
        advance_client(phase, kind)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("phase", "kind", "text"),
    [
        (
            C,
            "websocket.send",
            (
                "cannot send 'websocket.send': the connection is not accepted yet; expected "
                "'websocket.accept' or 'websocket.close' or 'websocket.http.response.start'"
            ),
        ),
        (
            O,
            "websocket.accept",
            (
                "cannot send 'websocket.accept': the connection is open; expected "
                "'websocket.send' or 'websocket.close'"
            ),
        ),
        (
            X,
            "websocket.close",
            "cannot send 'websocket.close': the connection is closed; expected nothing",
        ),
        (
            D,
            "websocket.accept",
            (
                "cannot send 'websocket.accept': a denial response is being sent; expected "
                "'websocket.http.response.body'"
            ),
        ),
    ],
)
def test_a_wrong_event_of_ours_is_named_with_the_state_and_what_was_expected(
    phase: Phase, kind: str, text: str
) -> None:
    with pytest.raises(WebSocketRuntimeError) as caught:
        advance_application(phase, {"type": kind})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        (C, "cannot ping: the connection is not accepted yet"),
        (O, "cannot ping: the connection is open"),
        (X, "cannot ping: the connection is closed"),
        (D, "cannot ping: a denial response is being sent"),
    ],
)
def test_a_refusal_names_the_call_and_the_state(phase: Phase, text: str) -> None:
    assert str(refusal(phase, "ping")) == text


@pytest.mark.row("G74", "G75")
def test_the_public_states_are_the_integers_0_1_2() -> None:
    assert [(state.name, int(state)) for state in WebSocketState] == [
        ("CONNECTING", 0),
        ("CONNECTED", 1),
        ("DISCONNECTED", 2),
    ]


def test_a_handshake_that_is_being_denied_is_still_connecting() -> None:
    assert [public_state(phase) for phase in (C, O, X, D)] == [
        WebSocketState.CONNECTING,
        WebSocketState.CONNECTED,
        WebSocketState.DISCONNECTED,
        WebSocketState.CONNECTING,
    ]
    assert all(type(public_state(phase)) is WebSocketState for phase in Phase)


@pytest.mark.parametrize(("client", "application"), [*itertools.product(Phase, Phase)])
def test_a_connection_is_over_when_either_side_is_and_open_once_accepted(
    client: Phase, application: Phase
) -> None:
    state = combined_state(client, application)
    if X in (client, application):
        assert state is WebSocketState.DISCONNECTED
    else:
        assert state is public_state(application)
