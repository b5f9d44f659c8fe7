"""An application with a page that logs in by cookie, and a WebSocket that says who is there."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from telex import App, WebSocket

FRIEND = "https://friend.example"


async def page(request: Request) -> HTMLResponse:
    response = HTMLResponse("<!doctype html><title>a page</title>")
    response.set_cookie("session", "ada", httponly=True)
    return response


async def who(ws: WebSocket) -> None:
    async with ws:
        await ws.send_text(ws.cookies.get("session", "nobody"))


def site(**options: object) -> App:
    made = App(http=Starlette(routes=[Route("/", page)]), **options)  # type: ignore[arg-type]
    made.websocket("/who")(who)
    return made


default = site()
with_list = site(allowed_origins=[FRIEND, "https://*.friend.example"])
