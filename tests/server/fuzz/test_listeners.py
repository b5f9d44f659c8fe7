"""The campaign against listeners for seconds; `scripts/fuzz-listeners` sends a hundred thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pydantic
import pytest

from server.fuzz import listener_clients
from server.fuzz.listener_app import MAX_INVALID, Order, OrderModel, Room
from server.fuzz.listener_clients import TARGETS, Sender, Target, has_ref, is_error, pieces, refused
from server.fuzz.listener_messages import MAX_SIZE, order, spoken
from server.fuzz.outcomes import Finding
from telex import App, WebSocket
from telex.testing import LiveServer

ROOT = Path(__file__).parents[3]
MESSAGES = 2400
DEADLINE = 100.0
"""Seconds until all is over, on a busy machine; it takes less than ten."""


@pytest.mark.integration
@pytest.mark.timeout(DEADLINE + 10)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_every_frame_is_answered_and_nothing_is_left() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "server.fuzz.listener_campaign", str(MESSAGES)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("every input was answered, nothing is left\n")


# The messages


def test_what_is_not_spoiled_fits() -> None:
    for seed in range(50):
        dice = Random(seed).randrange
        made = msgspec.json.encode(order(dice, seed))
        assert msgspec.json.decode(made, type=Order).ref in (seed, f"r{seed}")
        assert pydantic.TypeAdapter(OrderModel).validate_json(made).ref in (seed, f"r{seed}")
        assert spoken(dice, seed)["type"] in ("say", "move", 7, "order", "raw")


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_number_always_makes_the_same_message(target: Target) -> None:
    assert [target.message(n) for n in range(20)] == [target.message(n) for n in range(20)]


def test_the_pieces_of_a_message_are_frames() -> None:
    counts = {len([*pieces(Random(seed), 1, b"hello")]) for seed in range(50)}
    assert counts == {1, 2, 4}


@pytest.mark.parametrize(
    ("opcode", "data", "codes"),
    [
        (1, b"", []),
        (1, "é".encode(), []),
        (1, b"\xff", [1007]),
        (2, b"\xff", []),
        (2, bytes(MAX_SIZE), []),
        (2, bytes(MAX_SIZE + 1), [1009]),
        (1, b"\xff" * (MAX_SIZE + 1), [1009, 1007]),
    ],
)
def test_the_client_knows_what_the_server_refuses(
    opcode: int, data: bytes, codes: list[int]
) -> None:
    assert refused(opcode, data) == codes


# What the client finds


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "error", "ref": None},
        {"type": "error", "ref": None, "errors": []},
        {"type": "error", "ref": True, "errors": [{"path": "$", "message": "x"}]},
        {"type": "error", "ref": 1, "errors": [{"path": "a", "message": "x"}]},
        {"type": "error", "ref": 1, "errors": [{"path": "$", "message": ""}]},
        {"type": "error", "ref": 1, "errors": [{"path": "$", "message": "x"}], "more": 1},
    ],
)
def test_another_error_message_is_none(answer: dict[str, Any]) -> None:
    assert not is_error(answer)


def test_an_error_message_is_one() -> None:
    problem = {"path": "$.items[0]", "message": "x"}
    assert all(
        is_error({"type": "error", "ref": ref, "errors": [problem]}) for ref in (None, 1, "a")
    )


def test_the_client_reads_by_what_a_message_wants_to_be_known() -> None:
    text = b'{"ref":1,"more":%s,"\xff":0}' % (b"1" * 5000)
    assert has_ref(text, 1, packed=False)
    assert not has_ref(text, "1", packed=False)
    packed = msgspec.msgpack.encode({"ref": "a"})
    assert has_ref(packed, "a", packed=True)
    assert not has_ref(packed, "b", packed=True)
    assert has_ref(b"\x82\xa1\xff\x00" + packed[1:], "a", packed=True)


class Plain(Target):
    """Messages that are in order."""

    def message(self, number: int) -> tuple[int, bytes]:
        return 1, b'{"ref":%d}' % number


def answering(*answers: str | int) -> App:
    """An application that answers the same to all messages, or closes with a code."""
    app = App()

    @app.websocket("/x")
    async def handler(ws: WebSocket) -> None:
        await ws.accept(subprotocol="json")
        async for _ in ws:
            for each in answers:
                await (ws.close(each) if isinstance(each, int) else ws.send_text(each))

    return app


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (
            ['{"type":"receipt","ref":-1}'],
            "input 0, .* answered with {'type': 'receipt', 'ref': -1}",
        ),
        (['{"type":"else","ref":null}'], "answered with {'type': 'else', 'ref': None}"),
        (['{"type":"receipt"}'], "answered with {'type': 'receipt'}"),
        (["{"], "JSONDecodeError"),
        ([1011], "answered with "),
        ([], "nothing was answered for 0.2 seconds"),
    ],
)
async def test_the_client_finds_what_is_not_documented(
    answers: list[str | int], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_clients, "PATIENCE", 0.2 if not answers else 10.0)
    with LiveServer(answering(*answers)) as server:
        assert server.url.port is not None
        with pytest.raises(Finding, match=found):
            await Sender(server.url.port, Plain("/x"), iter(range(20))).run()


def test_the_clients_know_when_a_view_closes() -> None:
    assert Room.max_invalid == MAX_INVALID
