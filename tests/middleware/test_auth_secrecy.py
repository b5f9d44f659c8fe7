"""The token is shown to nobody: no log, error, close reason, `repr`, or answer has it."""

import asyncio
import logging
import traceback
from typing import Annotated, Any

import pytest

from channel import PATHS, FakeChannel, triple_over
from clients import Overheard, connected, rejection
from opened import connecting, soon
from peer import T
from telex import App, Authenticate, Depends, WebSocket, WebSocketException
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
@pytest.mark.parametrize(
    "verify", [good, bad, forbidden, unknown, broken, broken_inside, broken_group]
)
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


@pytest.mark.parametrize("verify", [broken, broken_inside, broken_group])
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
