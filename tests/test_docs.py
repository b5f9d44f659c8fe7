"""The pages in docs/: their examples run and do what the text says, their tables are the code's."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import types
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import TimestampSigner

import generated
import pages
import telex
from opened import soon, turns
from peer import B, D, Peer, T, make_scope, serve

DOCS = sorted((pages.ROOT / "docs").glob("*.md"))
RUNNABLE = {
    block.name: block.code
    for path in DOCS
    for block in pages.blocks(path.read_text(encoding="utf-8"))
    if block.name is not None
}


@functools.cache
def example(name: str) -> Any:
    """Run an example and return it as a module. Convertors are registered once a process."""
    made = types.ModuleType(name)
    exec(compile(RUNNABLE[name], f"docs:{name}", "exec"), made.__dict__)
    return made


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


def test_every_example_is_played_below() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in RUNNABLE if f'example("{name}")' not in source] == []


# index.md


async def test_the_tour_refuses_answers_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    app = example("tour").app
    peer = await serve(app, scope=make_scope("/rooms/tea", denial=True))
    assert (peer.sent[0]["status"], peer.sent[1]["body"]) == (401, b"a token is needed")
    scope = make_scope("/rooms/tea", query_string=b"token=let-me-in", subprotocols=["chat"])
    peer = await serve(app, T('"hello"'), T('"bye"'), scope=scope)
    assert peer.sent[0]["subprotocol"] == "chat"
    assert peer.data == ['{"room":"tea","got":"hello"}']
    assert peer.closes == [(1000, "bye")]
    assert capsys.readouterr().out == "over: server 1000\n"


# lifecycle.md


async def test_cleanups_run_before_the_handler_learns_of_the_end() -> None:
    module = example("order")
    await serve(module.app, T("hello"), D(1001), scope=make_scope("/function"))
    expected = ["hello", "cleanup", "the client left with 1001", "finally"]
    assert module.seen == expected
    text = (pages.ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    assert str(expected).replace("'", '"') in text


async def test_on_disconnect_comes_after_the_cleanups() -> None:
    module = example("view")
    scope = make_scope("/view", query_string=b"name=Ada")
    peer = await serve(module.app, T("hi"), D(1001), scope=scope)
    assert peer.data == ["hello Ada"]
    assert module.seen == ["hi", "cleanup", "on_disconnect(1001)"]


async def test_what_the_lifespan_yields_is_in_the_state_of_every_connection() -> None:
    app = example("lifespan").app
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.create_task(app(scope, events.get, answers.put))
    events.put_nowait({"type": "lifespan.startup"})
    assert (await soon(answers.get()))["type"] == "lifespan.startup.complete"
    peer = await serve(app, scope=make_scope("/", state=dict(scope["state"])))
    assert peer.data == ["good morning"]
    events.put_nowait({"type": "lifespan.shutdown"})
    await soon(task)


# concurrency.md


async def test_a_timeout_around_a_read_asks_again() -> None:
    peer = await serve(example("timeout").app, T(" Lima "), scope=make_scope("/quiz"))
    assert peer.data == ["capital of Peru?", "right"]


async def test_the_news_go_to_everybody() -> None:
    module = example("outbox")
    reader, writer = Peer(), Peer(T("extra"))
    tasks = [
        asyncio.create_task(module.app(make_scope("/news"), each.receive, each.send))
        for each in (reader, writer)
    ]
    await turns()
    assert reader.data == writer.data == ["extra"]
    for each in (reader, writer):
        each.feed(D())
    await soon(asyncio.gather(*tasks))
    assert module.everybody == set()


async def test_the_clock_ticks_while_it_is_listened_to() -> None:
    peer = Peer()
    task = asyncio.create_task(example("tasks").app(make_scope("/clock"), peer.receive, peer.send))
    await turns()
    peer.feed(T("faster"))
    await turns()
    peer.feed(D(1001))
    await soon(task)
    assert peer.data == ["tick 0", "tick 0"]
    assert not [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]


async def test_the_proxy_is_the_running_connection() -> None:
    scope = make_scope("/hello", query_string=b"name=Ada")
    peer = await serve(example("proxy").app, scope=scope)
    assert (peer.data, peer.closes) == (["hello Ada"], [(1000, "")])


async def test_a_thread_does_the_heavy_work() -> None:
    peer = await serve(example("threads").app, B(b"abc"), D(), scope=make_scope("/sha256"))
    assert peer.data == [hashlib.sha256(b"abc").hexdigest()]


# errors.md


async def test_after_bad_json_the_connection_goes_on() -> None:
    app = example("bad-json").app
    peer = await serve(app, T("{"), B(b"1"), T("[1]"), D(), scope=make_scope("/mirror"))
    error = '{"error":"send JSON in a text message"}'
    assert peer.data == [error, error, '{"got":[1]}']
    assert peer.closes == []


async def test_an_exception_handler_answers_before_and_after_accept() -> None:
    app = example("handlers").app
    peer = await serve(app, scope=make_scope("/documents/13", denial=True))
    assert (peer.sent[0]["status"], peer.sent[1]["body"][:8]) == (403, b'{"error"')
    peer = await serve(app, T("delete"), scope=make_scope("/documents/1"))
    assert peer.closes == [(4403, "you may not delete this")]


# routing.md


@pytest.mark.parametrize(
    ("path", "answer"), [("/rooms/tea", "tea"), ("/users/7/inbox", "7"), ("/users/x/inbox", None)]
)
async def test_registered_handlers_get_their_parameters(path: str, answer: str | None) -> None:
    peer = await serve(example("registering").app, D(), scope=make_scope(path))
    assert peer.data == ([] if answer is None else [answer])


async def test_a_convertor_of_ones_own_reads_and_writes() -> None:
    app = example("convertor").app
    peer = await serve(app, scope=make_scope("/paint/ff8000"))
    assert peer.data == ["[255,128,0]"]
    assert app.url_path_for("paint", colour=(255, 128, 0)) == "/paint/ff8000"


@pytest.mark.parametrize(("staff", "status"), [(b"yes", None), (b"no", 403)])
async def test_a_group_has_its_prefix_and_its_guard(staff: bytes, status: int | None) -> None:
    scope = make_scope("/admin/log", denial=True, headers=[(b"x-staff", staff)])
    peer = await serve(example("groups").app, scope=scope)
    if status is None:
        assert peer.data == ["nothing happened"]
    else:
        assert peer.sent[0]["status"] == status


@pytest.mark.parametrize(
    ("session", "answer"), [({"user": "Ada"}, "hello Ada"), ({}, None)], ids=["known", "unknown"]
)
async def test_the_session_of_starlette_is_there(
    session: dict[str, str], answer: str | None
) -> None:
    data = base64.b64encode(json.dumps(session).encode())
    cookie = b"session=" + TimestampSigner("change me").sign(data)
    scope = make_scope("/me", denial=True, headers=[(b"cookie", cookie)])
    peer = await serve(example("middleware").app, scope=scope)
    if answer is None:
        assert peer.sent[0]["status"] == 401
    else:
        assert peer.data == [answer]


async def test_urls_are_made_from_names() -> None:
    module = example("urls")
    assert module.path == "/shop/items/7"
    peer = await serve(module.app, scope=make_scope("/shop/items/7"))
    assert peer.data == ["ws://testserver/shop/items/8"]
