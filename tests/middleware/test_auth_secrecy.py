"""The token is shown to nobody: no log, error, close reason, `repr`, or answer has it."""

import asyncio
import functools
import json
import logging
import traceback
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from starlette.exceptions import HTTPException

from channel import PATHS, FakeChannel, triple_over
from clients import Overheard, connected, rejection
from opened import connecting, soon
from peer import T
from telex import App, Authenticate, Depends, Reject, WebSocket, WebSocketException
from telex._types import ASGIApp

TOKEN = "s3cret-'0123\\456789-s3cret"
"""With characters that a `repr` writes in another way."""

PLACES: dict[str, dict[str, Any]] = {
    "header": {"headers": {"authorization": f"Bearer {TOKEN}"}},
    "query": {"url": "/?token=" + TOKEN.replace("\\", "%5C").replace("'", "%27")},
    "cookie": {"headers": {"cookie": f"session={TOKEN}"}},
    "subprotocol": {"headers": {"sec-websocket-protocol": "bearer, " + TOKEN}},
    "first_message": {},
}
SHOWN = ("s3cret", "0123", "456789")


def shows(text: str) -> bool:
    return any(part in text for part in SHOWN)


def served(verify: Any) -> App:
    """An application that looks at its connection in all the ways that end up in logs."""
    authenticate = Authenticate(
        header=True,
        query="token",
        cookie="session",
        subprotocol="bearer",
        first_message=True,
        verify=verify,
    )
    app = App(debug=True)

    @app.websocket("/")
    async def handler(ws: WebSocket, user: Annotated[str, Depends(authenticate)]) -> None:
        async with ws:
            looked_at = [repr(ws), repr(authenticate), repr(ws.subprotocols), repr(ws.labels)]
            looked_at += [repr(asyncio.current_task()), str(ws.accepted_subprotocol)]
            assert not any(map(shows, looked_at)), looked_at
            await ws.send_text("in")

    return app


def good(token: str) -> str:
    assert token == TOKEN
    return "Ada"


def bad(token: str) -> None:
    assert token == TOKEN


def forbidden(token: str) -> None:
    raise PermissionError(token)


def unknown(token: str) -> Any:
    users: dict[str, str] = {}
    return users[token]


def broken(token: str) -> Any:
    raise OSError(5, f"no answer for {token}")


def broken_inside(token: str) -> Any:
    try:
        raise ValueError(token)
    except ValueError as error:
        raise RuntimeError("it went wrong") from error


def broken_group(token: str) -> Any:
    raise ExceptionGroup("several", [TypeError(repr(token)), OSError("x")])


def rejects_with_body(token: str) -> Any:
    raise Reject(418, f"no tea for {token}")


def rejects_with_bytes(token: str) -> Any:
    raise Reject(418, json.dumps({"got": token}).encode())


def rejects_with_header(token: str) -> Any:
    raise ExceptionGroup("one", [Reject(418, "no tea", {"x-got": token})])


def closes_with_reason(token: str) -> Any:
    raise WebSocketException(4000, token)


def http_error(token: str) -> Any:
    raise HTTPException(418, token, {"x-got": token})


TELLING = [
    broken,
    broken_inside,
    broken_group,
    rejects_with_body,
    rejects_with_bytes,
    rejects_with_header,
    closes_with_reason,
    http_error,
]


async def play(app: ASGIApp, place: str) -> str:
    """Connect, and return everything the client is told."""
    options = {"url": "/", **PLACES[place]}
    try:
        async with connected(app, **options, raise_app_exceptions=False) as ws:
            if place == "first_message":
                await ws.send_text(TOKEN)
            heard = [str(data) async for data in ws]
            record = await ws.expect_close()
            heard += [record.reason, str(ws.response_headers), str(ws.accepted_subprotocol)]
            return " ".join(heard)
    except Exception as refused:
        return f"{refused} {getattr(refused, 'headers', '')} {getattr(refused, 'text', '')}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verify", [good, bad, forbidden, unknown, *TELLING])
async def test_nothing_that_is_logged_or_answered_has_the_token(
    caplog: pytest.LogCaptureFixture, place: str, verify: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    app = Overheard(served(verify))
    heard = await play(app, place)
    assert heard
    assert not shows(heard), heard
    # Were there nothing, nothing would be shown.
    assert any(record.name == "telex.connection" for record in caplog.records)
    for record in caplog.records:
        text = logging.Formatter().format(record)
        # The test kit itself is no part of it.
        assert not shows(text), text


@pytest.mark.parametrize("verify", TELLING)
async def test_an_error_of_verify_goes_on_without_the_token(verify: Any) -> None:
    ws, _ = connecting(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
    with pytest.raises(RuntimeError) as caught:
        await Authenticate(header=True, verify=verify)(ws)
    error = caught.value
    assert not shows("".join(traceback.format_exception(error)))
    assert error.__cause__ is error.__context__ is None
    # One can still see where it comes from.
    assert verify.__name__ in "".join(traceback.format_tb(error.__traceback__))


async def test_an_error_without_the_token_stays_as_it_is() -> None:
    original = OSError("the database is down")

    def down(token: str) -> Any:
        raise original

    ws, _ = connecting(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
    with pytest.raises(OSError, match="the database is down") as caught:
        await Authenticate(header=True, verify=down)(ws)
    assert caught.value is original


@pytest.mark.parametrize("option", ["expires_at", "user_id"])
async def test_what_is_asked_of_the_user_may_not_tell_the_token_either(option: str) -> None:
    ws, _ = connecting(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
    options: dict[str, Any] = {option: broken}
    with pytest.raises(RuntimeError, match=f"{option} raised OSError") as caught:
        await Authenticate(header=True, verify=lambda token: token, **options)(ws)
    assert not shows("".join(traceback.format_exception(caught.value)))


async def test_an_answer_without_the_token_is_given() -> None:
    def slower(token: str) -> Any:
        raise Reject(429, "slower", {"retry-after": "5"})

    refused = await rejection(served(slower), **PLACES["header"])
    assert (refused.status, refused.text) == (429, "slower")


def test_the_repr_shows_no_key() -> None:
    def check(token: str, key: str) -> None:
        pass

    for verify in (functools.partial(check, key=TOKEN), Keyed(TOKEN)):
        assert not shows(repr(Authenticate(header=True, verify=verify)))
    assert "check" in repr(Authenticate(header=True, verify=check))


@dataclass
class Keyed:
    key: str

    def __call__(self, token: str) -> None:
        pass


async def test_a_path_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")
    ws, _ = connecting(path="/" + "a" * 5000 + "\n")
    with pytest.raises(Reject):
        await Authenticate(header=True, verify=good)(ws)
    [line] = [r.getMessage() for r in caplog.records if r.name == "telex"]
    assert len(line) < 500
    assert "\n" not in line


@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_first_message_is_in_no_exception(path: str) -> None:
    channel = FakeChannel(T(f'{{"token": "{TOKEN[:-9]}'))
    ws = WebSocket(*triple_over(path, channel))
    with pytest.raises(WebSocketException) as caught:
        await soon(Authenticate(first_message=True, verify=good)(ws))
    assert caught.value.__context__ is None
    assert not shows(repr(caught.value))
    await ws.close()


async def test_a_refused_refresh_does_not_tell_the_token() -> None:
    ws, _ = connecting(query_string=b"token=x")
    authenticate = Authenticate(query="token", verify=lambda token: "Ada" if token == "x" else None)
    await authenticate(ws)
    await ws.accept()
    with pytest.raises(WebSocketException) as caught:
        await authenticate.refresh(ws, TOKEN)
    assert not shows("".join(traceback.format_exception(caught.value)))
    await ws.close()


async def test_why_somebody_is_not_let_in_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")
    for verify, why in ((bad, "the token is refused"), (unknown, "verify raised KeyError")):
        caplog.clear()
        await rejection(served(verify), **PLACES["header"])
        [line] = [r.getMessage() for r in caplog.records if r.name == "telex"]
        assert line.endswith(f"is not let in at '/': {why}")
