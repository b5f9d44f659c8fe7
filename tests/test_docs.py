"""The pages in docs/: their examples run and do what the text says, their tables are the code's.

Those about handler parameters, dependencies and origins are in `test_docs_handlers.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from itsdangerous import TimestampSigner
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import generated
import pages
import telex
from clients import connected, rejection
from documented import DOCS, RUNNABLE, example, shown
from telex.testing import AsyncTestClient

# The pages


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert pages.broken_links(path) == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_page_has_one_title_and_says_nothing_of_the_machine_it_was_written_on(
    path: Path,
) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert str(pages.ROOT) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("file", "name"),
    [(file, name) for file, sections in generated.SECTIONS.items() for name in sections],
)
def test_a_generated_section_is_up_to_date(file: str, name: str) -> None:
    text = (pages.ROOT / file).read_text(encoding="utf-8")
    hint = "run `python tests/generated.py`"
    assert pages.generated(text, name).strip() == generated.SECTIONS[file][name](), hint


def test_every_public_name_is_in_the_index() -> None:
    text = (pages.ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    errors = [name for name in telex.__all__ if name.startswith("WebSocket")]
    missing = [name for name in telex.__all__ if f"`{name}`" not in text and name not in errors]
    assert missing == []


def test_every_public_attribute_of_a_connection_is_in_the_index() -> None:
    text = (pages.ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names = {name for name in dir(telex.WebSocket) if not name.startswith("_")}
    of_mappings = {"keys", "items", "values", "get"}
    same_as_url_for = {"url_path_for", "path_for"}
    assert sorted(n for n in names - of_mappings - same_as_url_for if f"`{n}`" not in text) == []


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_example_runs(name: str) -> None:
    assert isinstance(example(name).app, telex.App)


def test_every_example_is_played() -> None:
    tests = Path(__file__).parent.glob("test_docs*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert [name for name in RUNNABLE if f'example("{name}")' not in source] == []


# index.md


async def test_the_tour_refuses_answers_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    app = example("tour").app
    refused = await rejection(app, "/rooms/tea")
    assert (refused.status, refused.body) == (401, b"a token is needed")
    async with connected(app, "/rooms/tea?token=let-me-in", subprotocols=["chat"]) as ws:
        assert ws.accepted_subprotocol == "chat"
        await ws.send_text('"hello"')
        assert await ws.receive_text() == '{"room":"tea","got":"hello"}'
        await ws.send_text('"bye"')
        assert (await ws.expect_close(1000)).reason == "bye"
    assert capsys.readouterr().out == "over: server 1000\n"


# lifecycle.md


async def test_cleanups_run_before_the_handler_learns_of_the_end() -> None:
    module = example("order")
    async with connected(module.app, "/function") as ws:
        await ws.send_text("hello")
        await ws.close(1001)
    expected = ["hello", "cleanup", "the client left with 1001", "finally"]
    assert module.seen == expected
    text = (pages.ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    assert str(expected).replace("'", '"') in text


async def test_on_disconnect_comes_after_the_cleanups() -> None:
    module = example("view")
    async with connected(module.app, "/view?name=Ada") as ws:
        await ws.send_text("hi")
        assert await ws.receive_text() == "hello Ada"
        await ws.expect_nothing(0)
        await ws.close(1001)
    assert module.seen == ["hi", "cleanup", "on_disconnect(1001)"]


async def test_what_the_lifespan_yields_is_in_the_state_of_every_connection() -> None:
    async with AsyncTestClient(example("lifespan").app) as client:
        for _ in range(2):
            async with client.websocket("/") as ws:
                assert [text async for text in ws] == ["good morning"]


# concurrency.md


async def test_a_timeout_around_a_read_asks_again() -> None:
    async with connected(example("timeout").app, "/quiz") as ws:
        await ws.send_text(" Lima ")
        assert [text async for text in ws] == ["capital of Peru?", "right"]


async def test_the_news_go_to_everybody() -> None:
    module = example("outbox")
    async with connected(module.app, "/news") as reader, connected(module.app, "/news") as writer:
        await writer.send_text("extra")
        for each in (reader, writer):
            assert await each.receive_text() == "extra"
            await each.expect_nothing(0)
    assert module.everybody == set()


async def test_the_clock_ticks_while_it_is_listened_to() -> None:
    async with connected(example("tasks").app, "/clock") as ws:
        assert await ws.receive_text() == "tick 0"
        await ws.send_text("faster")
        assert await ws.receive_text() == "tick 0"
        await ws.expect_nothing(0)
        await ws.close(1001)
    # Leaving the block fails if a task goes on.


async def test_the_proxy_is_the_running_connection() -> None:
    async with connected(example("proxy").app, "/hello?name=Ada") as ws:
        assert await ws.receive_text() == "hello Ada"
        assert (await ws.expect_close(1000)).reason == ""


async def test_a_thread_does_the_heavy_work() -> None:
    async with connected(example("threads").app, "/sha256") as ws:
        await ws.send_bytes(b"abc")
        assert await ws.receive_text() == hashlib.sha256(b"abc").hexdigest()
        await ws.expect_nothing(0)


# errors.md


async def test_after_bad_json_the_connection_goes_on() -> None:
    async with connected(example("bad-json").app, "/mirror") as ws:
        for bad in ("{", b"1"):
            await ws.send_value(bad)
            assert await ws.receive_text() == '{"error":"send JSON in a text message"}'
        await ws.send_text("[1]")
        assert await ws.receive_text() == '{"got":[1]}'
        await ws.expect_nothing(0)


async def test_an_exception_handler_answers_before_and_after_accept() -> None:
    app = example("handlers").app
    refused = await rejection(app, "/documents/13")
    assert (refused.status, refused.json()) == (403, {"error": "document 13 is not yours"})
    async with connected(app, "/documents/1") as ws:
        await ws.send_text("delete")
        assert (await ws.expect_close(4403)).reason == "you may not delete this"


# routing.md


async def test_registered_handlers_get_their_parameters() -> None:
    app = example("registering").app
    async with connected(app, "/rooms/tea") as ws:
        assert [text async for text in ws] == ["tea"]
    async with connected(app, "/users/7/inbox") as ws:
        assert await ws.receive_text() == "7"
        await ws.expect_nothing(0)


async def test_a_parameter_of_another_type_is_not_found() -> None:
    assert (await rejection(example("registering").app, "/users/x/inbox")).status == 404


async def test_a_convertor_of_ones_own_reads_and_writes() -> None:
    app = example("convertor").app
    async with connected(app, "/paint/ff8000") as ws:
        assert [text async for text in ws] == ["[255,128,0]"]
    assert app.url_path_for("paint", colour=(255, 128, 0)) == "/paint/ff8000"


async def test_a_group_has_its_prefix_and_its_guard() -> None:
    app = example("groups").app
    async with connected(app, "/admin/log", headers={"x-staff": "yes"}) as ws:
        assert [text async for text in ws] == ["nothing happened"]
    assert (await rejection(app, "/admin/log", headers={"x-staff": "no"})).status == 403


async def test_urls_are_made_from_names() -> None:
    module = example("urls")
    assert module.path == "/shop/items/7"
    async with connected(module.app, module.path) as ws:
        assert [text async for text in ws] == ["ws://testserver/shop/items/8"]


# middleware.md


def signed(session: dict[str, str]) -> dict[str, str]:
    """The cookie that holds a session."""
    data = base64.b64encode(json.dumps(session).encode())
    return {"session": TimestampSigner("change me").sign(data).decode()}


async def test_the_session_of_starlette_is_there() -> None:
    app = example("middleware").app
    async with connected(app, "/me", cookies=signed({"user": "Ada"})) as ws:
        assert [text async for text in ws] == ["hello Ada"]
    assert (await rejection(app, "/me", cookies=signed({}))).status == 401


@pytest.mark.parametrize(("staff", "status"), [("yes", 422), ("no", 422), ("false", 403)])
async def test_only_staff_gets_through(staff: str, status: int) -> None:
    app = example("socket-middleware").app
    refused = await rejection(app, "/log/2024-02-29", headers={"x-staff": staff})
    assert refused.status == status


async def test_staff_reads_the_log() -> None:
    app = example("socket-middleware").app
    async with connected(app, "/log/2024-02-29", headers={"x-staff": "true"}) as ws:
        assert [text async for text in ws] == ["nothing happened on 2024-02-29"]
    assert (await rejection(app, "/log/2024-02-29")).status == 403
    assert (await rejection(app, "/log/2023-02-29")).status == 404


async def test_a_connection_middleware_counts_and_closes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = example("connection-middleware")
    async with connected(module.app, "/echo") as ws:
        for text in "abc":
            await ws.send_text(text)
        assert [text async for text in ws] == ["a", "b"]
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.reason) == (1008, "too many messages")
    assert (await rejection(module.app, "/nowhere")).status == 404
    assert module.limit.received == 3
    assert capsys.readouterr().out == "/echo ended with 1008\n/nowhere ended with 1008\n"


def test_the_warning_about_http_only_middleware_is_as_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telex.App(middleware=[Middleware(CORSMiddleware)])
    [line] = caplog.messages
    assert line in shown("middleware.md", "text")
