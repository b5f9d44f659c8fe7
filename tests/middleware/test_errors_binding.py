"""What becomes of a request that does not give a handler's parameters: 422, or a close."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

import pytest
from starlette.responses import JSONResponse, Response

from clients import Overheard, connected, ending, rejection
from telex import App, BindingError, Cookie, Header, Path, Query, WebSocket, WebSocketDisconnect
from telex.testing import ConnectionRejected

SECRET = "the-password-is-1234"


async def takes_numbers(
    ws: WebSocket,
    page: Annotated[int, Query()],
    x_token: Annotated[int, Header()],
    session: Annotated[int, Cookie()],
    room: Annotated[int, Path()],
) -> None:
    await ws.accept()
    await ws.send_json([page, x_token, session, room])


def numbers(**options: Any) -> App:
    app = App(**options)
    app.websocket("/{room}")(takes_numbers)
    return app


def raising(exc: Exception, *, accept: bool, **options: Any) -> App:
    app = App(**options)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        if accept:
            await ws.accept()
        raise exc

    return app


def problem(**entries: Any) -> BindingError:
    return BindingError([{"in": "query", "name": "q", "message": "wrong", "value": "x", **entries}])


async def denied(app: App, url: str = "/", **options: Any) -> ConnectionRejected:
    overheard = Overheard(app)
    refused = await rejection(overheard, url, raise_app_exceptions=False, **options)
    assert overheard.types[0] == "http.response.start"
    return refused


@pytest.mark.row("K50")
async def test_values_that_fit_reach_the_handler() -> None:
    headers = {"x-token": "2"}
    async with connected(numbers(), "/4?page=1", headers=headers, cookies={"session": "3"}) as ws:
        assert await ws.receive_text() == "[1,2,3,4]"


async def test_what_is_missing_is_a_422_with_all_of_it_as_json(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    refused = await denied(numbers(), "/4")
    assert refused.status == 422
    assert refused.headers["content-type"] == "application/json"
    assert refused.body == (
        b'{"errors":['
        b'{"in":"query","name":"page","message":"required","value":null},'
        b'{"in":"header","name":"x-token","message":"required","value":null},'
        b'{"in":"cookie","name":"session","message":"required","value":null}]}'
    )
    assert int(refused.headers["content-length"]) == len(refused.body)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "denied with HTTP 422" in caplog.messages[0]


async def test_what_does_not_fit_is_repeated_unless_it_may_be_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    headers, cookies = {"x-token": SECRET}, {"session": SECRET}
    refused = await denied(numbers(), "/lobby?page=two", headers=headers, cookies=cookies)
    assert refused.status == 422
    errors = {each["in"]: each for each in json.loads(refused.body)["errors"]}
    assert {where: each["value"] for where, each in errors.items()} == {
        "query": "two",
        "path": "lobby",
        "header": None,
        "cookie": None,
    }
    assert SECRET.encode() not in refused.body
    assert SECRET not in caplog.text
    for where in ("header", "cookie"):
        assert errors[where]["message"]


async def test_debug_mode_repeats_no_secrets_either() -> None:
    headers, cookies = {"x-token": SECRET}, {"session": SECRET}
    app = numbers(debug=True)
    refused = await denied(app, "/4?page=1", headers=headers, cookies=cookies)
    assert (refused.status, SECRET.encode() in refused.body) == (422, False)


async def test_a_huge_value_is_cut() -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket, page: Annotated[int, Query()]) -> None: ...

    refused = await denied(app, "/?page=" + "x" * 50_000)
    [error] = json.loads(refused.body)["errors"]
    assert error["value"].startswith("xxx")
    assert len(refused.body) < 1000


async def test_without_the_denial_extension_it_is_a_close_with_the_names() -> None:
    app = numbers()
    refused = await rejection(app, "/x?page=y", scope={"extensions": {}})
    assert (refused.status, refused.body, refused.code) == (403, b"", 1008)
    peer = Overheard(app)
    await rejection(peer, "/x?page=y", scope={"extensions": {}})
    assert peer.types == ["close"]


async def test_after_accept_it_is_a_close_with_the_names() -> None:
    exc = BindingError(
        [
            {"in": "query", "name": "page", "message": "wrong", "value": SECRET},
            {"in": "query", "name": "page", "message": "wrong again", "value": SECRET},
            {"in": "cookie", "name": "session", "message": "required", "value": None},
        ]
    )
    assert await ending(raising(exc, accept=True)) == (1008, "invalid: query page, cookie session")


async def test_a_close_reason_is_cut_to_what_fits_into_a_frame() -> None:
    code, reason = await ending(raising(problem(name="é" * 500), accept=True))
    assert code == 1008
    assert reason.startswith("invalid: query éé")
    assert 100 < len(reason.encode()) <= 123


async def test_a_handler_that_was_accepted_by_a_hook_closes() -> None:
    class Accepting:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.accept()

    app = numbers(connection_middleware=[Accepting()])
    expected = "invalid: query page, header x-token, cookie session"
    assert await ending(app, "/4") == (1008, expected)


@pytest.mark.parametrize("accept", [False, True])
async def test_a_registered_handler_answers_in_its_own_way(accept: bool) -> None:
    got: list[BindingError] = []

    async def on_binding(ws: WebSocket, exc: BindingError) -> Response:
        got.append(exc)
        if accept:
            await ws.close(4422)
        return JSONResponse({"names": [each["name"] for each in exc.errors]}, 400)

    exc = problem()
    app = raising(exc, accept=accept, exception_handlers={BindingError: on_binding})
    if accept:
        assert await ending(app) == (4422, "")
    else:
        refused = await denied(app)
        assert (refused.status, refused.body) == (400, b'{"names":["q"]}')
    assert got == [exc]


async def test_a_registered_handler_gets_what_binding_finds() -> None:
    got: list[BindingError] = []

    async def on_binding(ws: WebSocket, exc: BindingError) -> None:
        got.append(exc)

    app = numbers(exception_handlers={BindingError: on_binding})
    # One that neither answers nor raises leaves the usual end of handled errors.
    assert (await denied(app, "/4?page=y")).status == 500
    [exc] = got
    assert [each["name"] for each in exc.errors] == ["page", "x-token", "session"]
    assert "query page: " in str(exc)


async def test_a_handler_for_every_error_does_not_get_it() -> None:
    def never(ws: WebSocket, exc: Exception) -> None:
        pytest.fail("a bad request is not an error of the application")

    refused = await denied(numbers(exception_handlers={Exception: never}), "/4")
    assert refused.status == 422


@pytest.mark.parametrize("accept", [False, True])
async def test_a_group_that_holds_one_counts_as_it(accept: bool) -> None:
    group = ExceptionGroup("", [WebSocketDisconnect(), ExceptionGroup("", [problem()])])
    if accept:
        assert await ending(raising(group, accept=True)) == (1008, "invalid: query q")
    else:
        refused = await denied(raising(group, accept=False))
        assert (refused.status, json.loads(refused.body)["errors"][0]["name"]) == (422, "q")


async def test_a_group_with_two_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    group = ExceptionGroup("", [problem(), problem()])
    assert (await denied(raising(group, accept=False))).status == 500
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ExceptionGroup]


async def test_the_handler_is_not_called_and_the_next_connection_is_fine() -> None:
    app = numbers()
    async with connected(app, "/4?page=1", headers={"x-token": "2"}, cookies={"session": "3"}):
        assert (await denied(app, "/4")).status == 422
    async with connected(app, "/4?page=1", headers={"x-token": "2"}, cookies={"session": "3"}) as w:
        assert await w.receive_text() == "[1,2,3,4]"
