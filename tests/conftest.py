"""What holds for every test: it carries known statements, nothing is left running behind it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

import rows
from telex.routing._convertors import _CONVERTORS

TURNS = 20
"""Turns of the event loop in which what is ending may come to its end."""

hypothesis.settings.register_profile("telex", deadline=None)
hypothesis.settings.load_profile("telex")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row",
        action="append",
        default=[],
        metavar="ID",
        help="only tests that carry this statement of tests/specification (K7, or K7,K8)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "leaves_tasks: the test leaves tasks behind and knows that it does"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rows.check(items)
    ids = rows.asked_for(config.getoption("row"))
    if ids:
        items[:], others = rows.divide(items, ids)
        config.hook.pytest_deselected(items=others)


def pytest_collection_finish() -> None:
    # Thousands of tests are half a million objects: no collection, and no test that counts objects,
    # need look at them. What a test makes comes later and is seen.
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    # Not an autouse fixture: being asynchronous, it would start a loop for every other test too.
    if isinstance(item, pytest.Function) and pytest_asyncio.is_async_test(item):
        item.fixturenames.insert(0, "nothing_survives")


@pytest.fixture
async def nothing_survives(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test behind which a task goes on, unless it is marked with `leaves_tasks`."""
    before = asyncio.all_tasks()
    yield
    for _ in range(TURNS):
        if not survivors(before):
            return
        await asyncio.sleep(0)
    if request.node.get_closest_marker("leaves_tasks") is None:
        names = sorted(f"{task.get_name()}: {task.get_coro()}" for task in survivors(before))
        pytest.fail("tasks survive this test:\n" + "\n".join(names))


def survivors(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that a test has left behind."""
    current = asyncio.current_task()
    return {
        task
        for task in asyncio.all_tasks() - before
        if task is not current and not _belongs_to_an_open_connection(task)
    }


def _belongs_to_an_open_connection(task: asyncio.Task[Any]) -> bool:
    """Whether it is the reader of a connection that nobody has ended, on no server.

    The class alone, outside an application, ends nothing that its user has not ended.
    """
    if task.get_name() != "telex reader":
        return False
    frame = getattr(task.get_coro(), "cr_frame", None)
    source = None if frame is None else frame.f_locals.get("self")
    return source is not None and not source._progress.over


@pytest.fixture(autouse=True)
def convertors_of_a_test_go_with_it() -> Iterator[None]:
    """The registry is one for the process; what a test adds must not meet the next one."""
    known = dict(_CONVERTORS)
    yield
    _CONVERTORS.clear()
    _CONVERTORS.update(known)
