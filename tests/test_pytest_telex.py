"""The pytest plugin, as projects have it that installed Telex: each test runs a pytest of its own.

The plugin is found by its entry point.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ("pytester",)

pytestmark = pytest.mark.integration

DEADLINE = 50.0
FUNCTION = "asyncio_default_fixture_loop_scope = function\n"

ECHO = """
async def echo(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
"""

LIFESPAN = """
journal = []

def app_named(name, fails=False):
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        journal.append(f"{name} starts")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        journal.append(f"{name} stops")
        if fails:
            await send({"type": "lifespan.shutdown.failed", "message": name})
            raise LookupError(f"{name} cannot stop")
        await send({"type": "lifespan.shutdown.complete"})
    return app
"""


@pytest.fixture(autouse=True)
def plugins_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading everything that is installed takes seconds; `-p telex` goes by the entry point."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(
    pytester: pytest.Pytester, ini: str = "", *, plugins: str = "telex asyncio", **files: str
) -> pytest.RunResult:
    """Run pytest in a process of its own, with warnings as errors."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(**files)
    loaded = [f"-p{name}" for name in plugins.split()]
    return pytester.runpytest_subprocess(*loaded, "-Werror", timeout=DEADLINE)


# What it costs who does not use it


def test_loading_the_plugin_imports_nothing_of_telex() -> None:
    code = "import sys, pytest_telex; print(*sys.modules, sep='\\n')"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    names = result.stdout.splitlines()
    assert "pytest_telex" in names
    assert [name for name in names if name.partition(".")[0] in ("telex", "uvicorn")] == []


def test_a_project_that_does_not_use_the_fixtures_does_not_import_telex(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    unused = """
import sys

def test_unused(request):
    assert request.config.pluginmanager.hasplugin("telex")
    assert "pytest_telex" in sys.modules
    assert "telex" not in sys.modules
"""
    run(pytester, FUNCTION, plugins="", test_unused=unused).assert_outcomes(passed=1)


# telex_client

EITHER_WAY = f"""
import pytest
{ECHO}

def test_synchronous(telex_client):
    with telex_client(echo) as client, client.websocket("/") as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "hello"

@pytest.mark.asyncio
async def test_asynchronous(telex_client):
    async with telex_client(echo) as client, client.websocket("/") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"

def test_several(telex_client):
    with telex_client(echo) as one, telex_client(echo, base_url="wss://example.org") as other:
        with one.websocket("/") as ws:
            assert ws.scope["scheme"] == "ws"
        with other.websocket("/") as ws:
            assert ws.scope["scheme"] == "wss"
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_clients_are_made_for_synchronous_and_for_asynchronous_tests(
    pytester: pytest.Pytester, mode: str
) -> None:
    result = run(pytester, f"{FUNCTION}asyncio_mode = {mode}", test_either_way=EITHER_WAY)
    result.assert_outcomes(passed=3)


def test_no_plugin_for_asynchronous_tests_is_needed(pytester: pytest.Pytester) -> None:
    synchronous = "markers = asyncio\naddopts = -k 'not asynchronous'"
    result = run(pytester, synchronous, plugins="telex", test_either_way=EITHER_WAY)
    result.assert_outcomes(passed=2, deselected=1)


def test_the_anyio_plugin_runs_asynchronous_tests_just_as_well(pytester: pytest.Pytester) -> None:
    with_anyio = EITHER_WAY.replace("mark.asyncio", "mark.anyio")
    backend = "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    result = run(pytester, plugins="telex anyio", test_either_way=with_anyio, conftest=backend)
    result.assert_outcomes(passed=3)


WAITING = f"""
import pytest
from telex.testing import DeadlinePassed
{ECHO}

def test_of_the_configuration(telex_client):
    with telex_client(echo) as client, client.websocket("/") as ws:
        with pytest.raises(DeadlinePassed, match=r"0\\.05"):
            ws.receive_text()

def test_of_the_test(telex_client):
    with telex_client(echo, timeout=0.07) as client, client.websocket("/") as ws:
        with pytest.raises(DeadlinePassed, match=r"0\\.07"):
            ws.receive_text()
"""


def test_the_timeout_is_that_of_the_configuration_unless_the_test_has_its_own(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, "telex_timeout = 0.05", plugins="telex", test_waiting=WAITING)
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("configured", "timeout"), [("", 5.0), ("telex_timeout = none", None), ("telex_timeout=2", 2.0)]
)
def test_the_timeout_is_a_number_of_seconds_or_none(
    pytester: pytest.Pytester, configured: str, timeout: float | None
) -> None:
    looking = f"""
from telex.testing import _blocking, _client

def test_timeout(telex_client, monkeypatch):
    made = []
    monkeypatch.setattr(_client, "Options", lambda **options: made.append(options["timeout"]))
    telex_client(None)
    assert set(made) == {{{timeout}}}
"""
    run(pytester, configured, plugins="telex", test_looking=looking).assert_outcomes(passed=1)


def test_a_timeout_that_is_neither_is_an_error_that_says_so(pytester: pytest.Pytester) -> None:
    result = run(pytester, "telex_timeout = soon", plugins="telex", test_waiting=WAITING)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines("*telex_timeout is a number of seconds or none, not 'soon'*")


# telex_server

SERVERS = f"""
import threading
import pytest
from websockets.asyncio.client import connect as async_connect
from websockets.sync.client import connect
{ECHO}
{LIFESPAN}

def test_synchronous(telex_server):
    url, other = telex_server(echo), telex_server(echo)
    assert (url.hostname, url != other) == ("127.0.0.1", True)
    for each in (url, other):
        with connect(each, proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(20) == "hello"

@pytest.mark.asyncio
async def test_asynchronous(telex_server):
    async with async_connect(telex_server(echo, ws="wsproto"), proxy=None) as ws:
        await ws.send("hello")
        assert await ws.recv() == "hello"

def test_lifespan(telex_server):
    telex_server(app_named("one"))
    telex_server(app_named("other"))
    assert journal == ["one starts", "other starts"]

def test_all_have_stopped():
    assert journal == ["one starts", "other starts", "other stops", "one stops"]
    assert not [t for t in threading.enumerate() if t.name.startswith("telex")]
"""


def test_servers_run_for_the_length_of_a_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, f"{FUNCTION}asyncio_mode = strict", test_servers=SERVERS)
    result.assert_outcomes(passed=4)


def test_a_server_that_does_not_stop_well_fails_its_test_and_stops_no_other_from_stopping(
    pytester: pytest.Pytester,
) -> None:
    failing = f"""{LIFESPAN}
def test_failing(telex_server):
    telex_server(app_named("one"))
    telex_server(app_named("other", fails=True))

def test_all_have_stopped():
    assert journal[2:] == ["other stops", "one stops"]
"""
    result = run(pytester, plugins="telex", test_failing=failing)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_failing*", "*other cannot stop"])


def test_a_server_that_cannot_start_fails_the_test_with_the_reason(
    pytester: pytest.Pytester,
) -> None:
    starting = """
async def broken(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no database"})

def test_starting(telex_server):
    telex_server(broken)
"""
    result = run(pytester, plugins="telex", test_starting=starting)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*the startup of the application failed: no database")
