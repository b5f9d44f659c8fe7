from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException as StarletteHTTPException

import telex
from clients import rejection
from telex.compat.lilya import exceptions
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.exceptions import HTTPException, NotAuthorized, PermissionDenied
from telex.compat.lilya.websockets import WebSocket
from telex.exceptions import ImproperlyConfigured


@pytest.mark.row("L50", "L51")
def test_the_errors_of_connections_are_those_of_telex() -> None:
    assert exceptions.WebSocketRuntimeError is telex.WebSocketRuntimeError
    assert exceptions.WebSocketException is telex.WebSocketException
    assert exceptions.ImproperlyConfigured is ImproperlyConfigured


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (HTTPException(), 500, "Internal Server Error"),
        (HTTPException("said"), 500, "said"),
        (HTTPException(status_code=404), 404, "Not Found"),
        (HTTPException("hidden", status_code=418, detail="tea"), 418, "tea"),
        (NotAuthorized(), 401, "You do not have authorization to perform this action."),
        (PermissionDenied(), 403, "You do not have permission to perform this action."),
        (PermissionDenied(detail="no"), 403, "no"),
        (PermissionDenied("hidden", status_code=404), 404, PermissionDenied.detail),
    ],
)
def test_an_http_error_has_a_status_and_a_text(
    error: HTTPException, status: int, detail: str
) -> None:
    assert isinstance(error, StarletteHTTPException)
    assert (error.status_code, error.detail) == (status, detail)


@pytest.mark.row("LX1")
async def test_an_http_error_is_the_answer_to_the_handshake() -> None:
    app = Lilya()

    @app.websocket("/")
    async def handler(websocket: WebSocket) -> None:
        raise NotAuthorized(headers={"www-authenticate": "Basic"})

    refused = await rejection(app)
    assert (refused.status, refused.text) == (401, NotAuthorized.detail)
    assert refused.headers["www-authenticate"] == "Basic"
