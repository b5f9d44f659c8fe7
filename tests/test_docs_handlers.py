"""The pages about handler parameters, dependencies and origins: what they say is so.

Without `from __future__ import annotations`, as handlers here depend on functions inside of tests.
"""

import asyncio
import importlib
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

import pages
import telex
from clients import connected, ending, rejection
from documented import example, shown
from telex import Cookie, Depends, Header, Query
from telex._types import ASGIApp, Receive, Scope, Send

# binding.md


ROOMS = "/rooms/7?sort=old&tag=a&tag=b"


async def test_parameters_are_filled_as_the_page_says() -> None:
    app = example("binding").app
    async with connected(app, ROOMS, cookies={"session": "s"}) as ws:
        assert [text async for text in ws] == ['[7,50,"old",["a","b"]]']
    text = (pages.ROOT / "docs" / "binding.md").read_text(encoding="utf-8")
    assert ROOMS in text
    assert '[7,50,"old",["a","b"]]' in text


async def test_what_does_not_fit_is_answered_with_the_body_on_the_page() -> None:
    refused = await rejection(example("binding").app, "/rooms/tea?limit=500&sort=up")
    [body] = shown("binding.md", "json")
    assert (refused.status, refused.json()) == (422, json.loads(body))
    assert refused.headers["content-type"] == "application/json"


async def test_a_server_without_denials_answers_403() -> None:
    app = example("binding").app
    refused = await rejection(app, "/rooms/tea", scope={"extensions": {}})
    assert (refused.status, refused.body) == (403, b"")


async def test_after_accept_what_does_not_fit_is_a_close() -> None:
    def accepted(endpoint: Any) -> Any:
        async def wrapper(ws: telex.WebSocket) -> None:
            await ws.accept()
            await endpoint()

        return wrapper

    app = telex.App(socket_middlewares=[accepted])
    app.websocket("/rooms/{room}")(example("binding").enter)
    end = await ending(app, "/rooms/tea", raise_app_exceptions=False)
    assert end == (1008, "invalid: path room, cookie session")
    text = (pages.ROOT / "docs" / "binding.md").read_text(encoding="utf-8")
    assert f"`{end[1]}`" in text


async def test_a_header_or_cookie_is_never_repeated() -> None:
    app = telex.App()

    @app.websocket("/")
    async def handler(
        ws: telex.WebSocket, n: Annotated[int, Cookie()], key: Annotated[int, Header()]
    ) -> None: ...

    refused = await rejection(app, "/", cookies={"n": "secret"}, headers={"key": "secret"})
    assert [(each["message"], each["value"]) for each in refused.json()["errors"]] == [
        ("not a valid int", None),
        ("not a valid int", None),
    ]


async def test_the_whole_query_is_one_value() -> None:
    app = example("filters").app
    async with connected(app, "/search?q=tea&tag=a&tag=b&other=1") as ws:
        await ws.send_text("go")
        assert await ws.receive_text() == '{"q":"tea","limit":20,"tag":["a","b"]}'
    refused = await rejection(app, "/search?limit=0")
    assert [each["name"] for each in refused.json()["errors"]] == ["q", "limit"]


async def test_a_binding_error_can_be_answered_in_another_form() -> None:
    refused = await rejection(example("binding-error").app, "/?start=one")
    text = (pages.ROOT / "docs" / "binding.md").read_text(encoding="utf-8")
    assert (refused.status, f"``{refused.text} ``" in text) == (400, True)


@pytest.mark.parametrize(
    ("hint", "query", "value"),
    [
        (str, "", ""),
        (int, "5", 5),
        (float, "1e3", 1000.0),
        (bool, "TRUE", True),
        (bool, "0", False),
        (bool, "on", None),
        (bool, "", None),
        (datetime, "2024-02-29T12:30:00Z", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        (datetime, "2024-02-29T12:30:00%2B00:00", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        (datetime, "2024-02-29T12:30:00+00:00", None),
        (datetime, "0", datetime(1970, 1, 1, tzinfo=UTC)),
        (timedelta, "PT1H", timedelta(hours=1)),
        (timedelta, "60", timedelta(minutes=1)),
        (Decimal, "1.5", Decimal("1.5")),
        (bytes, "aGk%3D", b"hi"),
        (int | str, "1", "1"),
        (str | None, "null", "null"),
        (int, "1&x=2", 1),
        (list[int], "1&x=2", [1, 2]),
        (dict[str, int], "1&y=2", {"x": 1, "y": 2}),
    ],
)
async def test_text_becomes_what_the_table_says(hint: Any, query: str, value: object) -> None:
    got: list[object] = []
    app = telex.App()

    async def handler(ws: telex.WebSocket, x: Any) -> None:
        got.append(x)
        await ws.accept()

    handler.__annotations__["x"] = Annotated[hint, Query()]
    app.websocket("/")(handler)
    if value is None:
        assert (await rejection(app, f"/?x={query}")).status == 422
    else:
        assert await ending(app, f"/?x={query}") == (1000, "")
        assert got == [value]


async def test_null_is_none_and_optional_is_no_default() -> None:
    app = telex.App()

    @app.websocket("/")
    async def handler(ws: telex.WebSocket, x: Annotated[int | None, Query()]) -> None:
        async with ws:
            await ws.send_json(x)

    async with connected(app, "/?x=null") as ws:
        assert [text async for text in ws] == ["null"]
    assert (await rejection(app, "/")).status == 422


async def test_the_default_of_the_whole_query_counts_when_no_field_is_given() -> None:
    app = telex.App()
    filters = example("filters").Filters

    async def handler(ws: telex.WebSocket, x: Any) -> None:
        async with ws:
            await ws.send_json(x)

    handler.__annotations__["x"] = Annotated[filters | None, Query(None)]
    app.websocket("/")(handler)
    async with connected(app, "/?other=1") as ws:
        assert [text async for text in ws] == ["null"]
    assert (await rejection(app, "/?limit=3")).status == 422


def test_a_signature_that_cannot_be_served_is_refused_with_the_text_on_the_page() -> None:
    async def plain(limit: int) -> None: ...
    async def no_text(x: Annotated[complex, Query()]) -> None: ...
    async def unknown(x: "Annotated[Nowhere, Query()]") -> None: ...  # type: ignore[name-defined] # noqa: F821
    async def misplaced(x: int = Query()) -> None: ...  # type: ignore[assignment]
    async def two(x: Annotated[int, Query(), Header()]) -> None: ...
    async def twice(x: Annotated[int, Query(1)] = 2) -> None: ...

    text = (pages.ROOT / "docs" / "binding.md").read_text(encoding="utf-8")
    for handler, part in [
        (plain, "parameter 'limit' is none of the path '/chat'; annotate it with "),
        (no_text, "parameter 'x': complex cannot be read from text"),
        (unknown, "parameter 'x': its type cannot be told: name 'Nowhere' is not defined"),
        (misplaced, "parameter 'x': Query() is no default; annotate it: Annotated[..., Query()]"),
        (two, " has 2 markers, "),
        (twice, "it has two defaults, "),
    ]:
        with pytest.raises(TypeError, match=re.escape(part)):
            telex.App().websocket("/chat")(handler)
        assert part in text


# dependencies.md


async def test_a_dependency_lets_in_or_refuses_and_is_closed() -> None:
    module = example("dependencies")
    async with connected(module.app, "/me", cookies={"session": "s3cret"}) as ws:
        await ws.send_text("hi")
        assert await ws.receive_text() == "Ada: hi"
        assert module.seen == ["opened"]
    assert module.seen == ["opened", "closed"]
    refused = await rejection(module.app, "/me")
    assert (refused.status, refused.body) == (401, b"log in first")
    assert module.seen == ["opened", "closed", "opened", "closed"]


async def test_a_dependency_for_the_handshake_is_closed_after_accept() -> None:
    module = example("handshake-scope")
    async with connected(module.app, "/?room=7") as ws:
        assert [text async for text in ws] == ["welcome to the kitchen"]
    assert module.seen == ["opened", "closed", "accepted"]
    text = (pages.ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert str(module.seen).replace("'", '"') in text


async def test_a_transaction_is_kept_dropped_or_told_to_the_client() -> None:
    module = example("transaction")
    async with connected(module.app, "/notes") as ws:
        await ws.send_text("milk")
        await ws.send_text("end")
        assert (await ws.expect_close(1000)).reason == ""
    assert module.saved == ["milk"]
    async with connected(module.app, "/notes") as ws:
        await ws.send_text("bread")
        await ws.close(1001)
    async with connected(module.app, "/notes", raise_app_exceptions=False) as ws:
        await ws.send_text("")
        await ws.send_text("end")
        await ws.expect_close(1011)
    assert module.saved == ["milk"]


class Ends:
    """An application with a handler, and what its two dependencies found at their `yield`."""

    def __init__(self, handler: Any, **options: Any) -> None:
        self.app = telex.App(**options)
        self.found: list[str] = []

        async def outer() -> AsyncIterator[None]:
            try:
                yield
                self.found.append("outer goes on")
            except BaseException as exc:
                self.found.append(f"outer: {type(exc).__name__}")
                raise

        async def inner(outer: Annotated[None, Depends(outer)]) -> AsyncIterator[None]:
            try:
                yield
                self.found.append("inner goes on")
            except BaseException as exc:
                # Swallowed, which does not make it go away.
                self.found.append(f"inner: {type(exc).__name__}")

        @self.app.websocket("/")
        async def endpoint(ws: telex.WebSocket, inner: Annotated[None, Depends(inner)]) -> None:
            await handler(ws)


async def _loops(ws: telex.WebSocket) -> None:
    await ws.accept()
    async for _ in ws:
        pass


async def _reads(ws: telex.WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


async def _waits(ws: telex.WebSocket) -> None:
    await ws.accept()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("handler", "found"),
    [(_loops, "goes on"), (_reads, "WebSocketDisconnect"), (_waits, "CancelledError")],
)
async def test_what_dependencies_find_when_the_client_leaves(handler: Any, found: str) -> None:
    ends = Ends(handler, disconnect_grace=0.01)
    async with connected(ends.app) as ws:
        await ws.close(1001)
    sign = " " if found == "goes on" else ": "
    assert ends.found == [f"inner{sign}{found}", f"outer{sign}{found}"]


async def _rejects(ws: telex.WebSocket) -> None:
    await ws.reject(401)


async def _raises_reject(ws: telex.WebSocket) -> None:
    raise telex.Reject(401)


async def _fails(ws: telex.WebSocket) -> None:
    raise LookupError


@pytest.mark.parametrize(
    ("handler", "status", "found"),
    [
        (_rejects, 401, ["inner goes on", "outer goes on"]),
        (_raises_reject, 401, ["inner: Reject", "outer: Reject"]),
        (_fails, 500, ["inner: LookupError", "outer: LookupError"]),
    ],
)
async def test_what_dependencies_find_when_nobody_is_let_in(
    handler: Any, status: int, found: list[str]
) -> None:
    ends = Ends(handler)
    refused = await rejection(ends.app, raise_app_exceptions=False)
    assert (refused.status, ends.found) == (status, found)


async def test_a_view_is_told_of_the_end_when_its_dependencies_are_closed() -> None:
    seen: list[str] = []

    def opened() -> Iterator[None]:
        yield
        seen.append("closed")

    class View(telex.SocketView):
        def __init__(self, nothing: Annotated[None, Depends(opened)]) -> None: ...

        async def on_disconnect(self, close_code: int) -> None:
            seen.append("on_disconnect")

    app = telex.App()
    app.websocket("/")(View)
    async with connected(app) as ws:
        await ws.close()
    assert seen == ["on_disconnect", "closed"]


async def _block(ws: telex.WebSocket) -> None:
    async with ws:
        pass


async def _open(ws: telex.WebSocket) -> None:
    await ws.accept()


@pytest.mark.parametrize(("handler", "code"), [(_block, 1000), (_open, 1011)])
async def test_a_failing_clean_up_is_seen_by_the_client_unless_the_handler_has_closed(
    handler: Any, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Iterator[None]:
        yield
        raise OSError("commit")

    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket, nothing: Annotated[None, Depends(fails)]) -> None:
        await handler(ws)

    assert await ending(app, raise_app_exceptions=False) == (code, "")
    assert [r.name for r in caplog.records if r.levelno == logging.ERROR] == ["telex"]


async def test_a_clean_up_that_takes_too_long_is_cancelled_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = importlib.import_module("telex.binding._dependencies")
    assert module.CLEANUP_TIMEOUT == 10
    monkeypatch.setattr(module, "CLEANUP_TIMEOUT", 0.05)
    seen: list[str] = []

    async def first() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("first")

    async def slow(first: Annotated[None, Depends(first)]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.Event().wait()

    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket, nothing: Annotated[None, Depends(slow)]) -> None:
        await ws.accept()

    assert await ending(app, raise_app_exceptions=False) == (1011, "")
    assert seen == ["first"]
    text = (pages.ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert caplog.messages[0].replace("0.05 s", "10 s") in text


@pytest.mark.parametrize(
    ("cancelled", "code", "found"),
    [(False, 1000, "TimeoutError"), (True, 1012, "CancelledError")],
)
async def test_a_timeout_in_the_clean_up_works_but_for_cancellations(
    cancelled: bool, code: int, found: str
) -> None:
    seen: list[str] = []
    closing = asyncio.Event()
    tasks: list[asyncio.Task[Any] | None] = []

    async def resource() -> AsyncIterator[None]:
        yield
        closing.set()
        try:
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()
        except BaseException as exc:
            seen.append(type(exc).__name__)

    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket, nothing: Annotated[None, Depends(resource)]) -> None:
        tasks.append(asyncio.current_task())
        await ws.accept()

    async with connected(app) as ws:
        await closing.wait()
        [task] = tasks
        if cancelled and task is not None:
            task.cancel()
        await ws.expect_close(code)
    assert seen == [found]


async def test_a_cancellation_waits_for_the_clean_up() -> None:
    seen: list[str] = []
    closing, go_on = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[Any] | None] = []

    async def resource() -> AsyncIterator[None]:
        yield
        closing.set()
        await go_on.wait()
        seen.append("closed")

    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket, nothing: Annotated[None, Depends(resource)]) -> None:
        tasks.append(asyncio.current_task())
        await ws.accept()

    async with connected(app) as ws:
        await closing.wait()
        [task] = tasks
        assert task is not None
        task.cancel()
        await ws.expect_nothing(0)
        go_on.set()
        await ws.expect_close(1012)
        assert seen == ["closed"]


async def test_a_replacement_may_depend_on_what_it_replaces() -> None:
    def number() -> int:
        return 1

    def hundreds(number: Annotated[int, Depends(number)], plus: Annotated[int, Query()]) -> int:
        return number * 100 + plus

    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket, number: Annotated[int, Depends(number)]) -> None:
        async with ws:
            await ws.send_json(number)

    app.dependency_overrides[number] = hundreds
    async with connected(app, "/?plus=5") as ws:
        assert [text async for text in ws] == ["105"]


def test_a_dependency_that_cannot_work_is_refused_with_the_text_on_the_page() -> None:
    def plain() -> Iterator[None]:
        yield

    def outer(x: Annotated[None, Depends(plain, scope="handshake")]) -> None: ...
    async def asynchronous() -> None: ...
    def itself(x: Any) -> None: ...

    itself.__annotations__["x"] = Annotated[None, Depends(itself)]
    text = (pages.ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for marker, default, part in [
        (Depends(plain), None, "a dependency has no default"),
        (Depends(itself), ..., "it depends on itself: "),
        (Depends(outer), ..., "with scope='connection' outlives one with scope='handshake'"),
        (Depends(plain, scope="message"), ..., "scope='message' is for listeners, which are "),
        (Depends(asynchronous, thread=True), ..., " is asynchronous and cannot run in a thread"),
    ]:

        async def handler(x: Any) -> None: ...

        handler.__annotations__["x"] = Annotated[None, marker]
        if default is not ...:
            handler.__defaults__ = (default,)
        with pytest.raises(TypeError, match=re.escape(part)):
            telex.App().websocket("/")(handler)
        assert part in text


# middleware.md


class Noted:
    """ASGI middleware that notes when it runs."""

    def __init__(self, app: ASGIApp, seen: list[str], name: str) -> None:
        self.app, self.seen, self.name = app, seen, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.seen.append(self.name)
        await self.app(scope, receive, send)


def noted(seen: list[str], name: str) -> Any:
    """A socket middleware that notes when it runs and when it ends."""

    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> None:
            seen.append(name)
            await endpoint()
            seen.append(f"behind {name}")

        return wrapper

    return middleware


async def test_middleware_runs_in_the_order_on_the_page() -> None:
    seen: list[str] = []

    class Hooks:
        async def on_handshake(self, ws: telex.WebSocket) -> None:
            seen.append(f"on_handshake {dict(ws.path_params)}")

    def opened() -> Iterator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    async def handler(ws: telex.WebSocket, nothing: Annotated[None, Depends(opened)]) -> None:
        seen.append("handler")
        await ws.accept()

    asgi = [Middleware(Noted, seen, f"asgi {number}") for number in (1, 2, 3)]
    names = ["of the application", "of the group", "first of the route", "second of the route"]
    sockets = [noted(seen, name) for name in names]
    route = telex.SocketRoute("/{id}", handler, middlewares=sockets[2:], middleware=asgi[2:])
    app = telex.App(
        [telex.Routes(route, socket_middlewares=sockets[1:2])],
        middleware=asgi[:2],
        connection_middleware=[Hooks()],
        socket_middlewares=sockets[:1],
    )
    assert await ending(app, "/1") == (1000, "")
    assert seen == [
        *("asgi 1", "asgi 2", "on_handshake {}", "asgi 3", *names),
        *("opened", "handler", "closed", *(f"behind {name}" for name in reversed(names))),
    ]


# origin.md


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://testserver", True),
        ("http://testserver:80", True),
        ("https://testserver", False),
        ("http://testserver:8000", False),
        ("https://example.com", True),
        ("https://example.com:443", True),
        ("https://a.b.example.com", True),
        ("http://a.example.com", False),
        ("https://example.com.evil.test", False),
        ("null", False),
    ],
)
async def test_the_origins_of_the_list_are_let_in(origin: str, welcome: bool) -> None:
    app = example("allowed-origins").app
    if welcome:
        async with connected(app, headers={"origin": origin}) as ws:
            assert [text async for text in ws] == ["hello"]
    else:
        refused = await rejection(app, headers={"origin": origin})
        assert (refused.status, refused.text) == (403, "origin not allowed")


@pytest.mark.parametrize(
    ("allowed", "origin", "cookies", "welcome"),
    [
        (None, "https://evil.test", {}, True),
        (None, "https://evil.test", {"a": "b"}, False),
        (None, "http://testserver", {"a": "b"}, True),
        (None, None, {"a": "b"}, True),
        ([], "https://evil.test", {}, False),
        ([], None, {}, True),
        (["null"], "null", {"a": "b"}, True),
        (["*"], "https://evil.test", {"a": "b"}, True),
    ],
)
async def test_who_is_let_in_is_in_the_table(
    allowed: list[str] | None, origin: str | None, cookies: dict[str, str], welcome: bool
) -> None:
    app = telex.App(allowed_origins=allowed)
    app.websocket("/")(example("allowed-origins").hello)
    headers = {} if origin is None else {"origin": origin}
    if welcome:
        async with connected(app, headers=headers, cookies=cookies) as ws:
            assert [text async for text in ws] == ["hello"]
    else:
        assert (await rejection(app, headers=headers, cookies=cookies)).status == 403


async def test_a_refused_origin_is_logged_as_on_the_page(caplog: pytest.LogCaptureFixture) -> None:
    await rejection(example("allowed-origins").app, headers={"origin": "https://evil.test"})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0] in shown("origin.md", "text")[0]


async def test_the_scheme_is_the_one_that_the_server_reports() -> None:
    app = example("allowed-origins").app
    headers = {"origin": "https://testserver"}
    assert (await rejection(app, headers=headers)).status == 403
    async with connected(app, headers=headers, scope={"scheme": "wss"}) as ws:
        assert [text async for text in ws] == ["hello"]


async def test_the_host_is_checked_by_starlettes_middleware() -> None:
    app = telex.App(middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["example.com"])])
    app.websocket("/")(example("allowed-origins").hello)
    assert (await rejection(app)).status == 400
    async with connected(app, headers={"host": "example.com"}) as ws:
        assert [text async for text in ws] == ["hello"]
