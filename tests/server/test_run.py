"""`run` starts uvicorn with the right options, or says what is wrong before a port is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import httpx
import pytest

from child import SERVING, start
from telex._types import Receive, Scope, Send
from telex.exceptions import MissingDependency
from telex.server import _serving
from telex.server import run as run_module
from telex.server.run import run

BARE_APP = """\
from telex.server.run import run

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})

"""
OURS = "telex.server:WebSocketProtocol"
QUIET = "lifespan='off', log_level='info'"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing is served in these tests")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """What `run` calls in the end, without its effect."""
    stub: Mock = create_autospec(_serving.serve)
    monkeypatch.setattr(_serving, "serve", stub)
    return stub


def options_of(served: Mock) -> dict[str, Any]:
    served.assert_called_once()
    options: dict[str, Any] = served.call_args.args[1]
    return options


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes packages look as if they were not installed."""

    def hide(*packages: str) -> None:
        for package in packages:
            monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_the_defaults_listen_on_the_loopback_interface_only(served: Mock) -> None:
    run("main:app")
    assert served.call_args.args[0] == "main:app"
    assert options_of(served) == {
        "host": "127.0.0.1",
        "port": 8000,
        "ws": OURS,
        "timeout_graceful_shutdown": 25,
    }


@pytest.mark.parametrize("seconds", [None, 7])
def test_the_time_to_stop_in_is_what_was_said(served: Mock, seconds: int | None) -> None:
    run("main:app", timeout_graceful_shutdown=seconds)
    assert options_of(served)["timeout_graceful_shutdown"] == seconds


def test_options_go_to_uvicorn_under_its_own_names(served: Mock) -> None:
    run("main:app", host="::1", port=0, reload=True, log_level="debug", ssl_certfile="cert.pem")
    assert options_of(served) == {
        "host": "::1",
        "port": 0,
        "reload": True,
        "log_level": "debug",
        "ssl_certfile": "cert.pem",
        "ws": OURS,
        "timeout_graceful_shutdown": 25,
    }


def test_an_application_object_is_served_in_one_process(
    served: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    run(app, reload=False, workers=None)
    assert options_of(served)["workers"] == 1


def test_an_unknown_option_is_refused_and_close_names_are_offered(served: Mock) -> None:
    with pytest.raises(TypeError, match=r"no option 'ssl_certfil'; did you mean ssl_certfile"):
        run("main:app", ssl_certfil="cert.pem")
    with pytest.raises(TypeError, match=r"no option 'zzz'$"):
        run("main:app", zzz=1)
    served.assert_not_called()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reload": True}, "reload needs"),
        ({"workers": 2}, "workers needs"),
        ({"reload": True, "workers": 2}, "reload and workers needs"),
    ],
)
def test_other_processes_need_an_import_string(
    served: Mock, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named} the application as an import string"):
        run(app, **options)
    served.assert_not_called()


def test_a_missing_uvicorn_is_named_with_the_command_that_installs_it(without: Any) -> None:
    without("uvicorn")
    with pytest.raises(MissingDependency, match=r"pip install 'telex\[standard\]'") as caught:
        run("main:app")
    assert caught.value.package == "uvicorn"


@pytest.mark.row("V14", "V15", "T95", "S22")
@pytest.mark.parametrize(
    ("ws", "missing"),
    [
        ("auto", ["websockets", "wsproto"]),
        ("websockets", ["websockets"]),
        ("websockets-sansio", ["websockets"]),
        ("wsproto", ["wsproto"]),
    ],
)
def test_a_missing_websocket_library_is_an_error_before_anything_listens(
    served: Mock, without: Any, ws: str, missing: list[str]
) -> None:
    without(*missing)
    with pytest.raises(MissingDependency) as caught:
        run("main:app", ws=ws)
    served.assert_not_called()
    assert str(caught.value) == (
        f"serving WebSockets with ws={ws!r} needs {' or '.join(missing)}, which is not installed: "
        f"pip install 'telex[standard]' (or: pip install {missing[0]})"
    )


def test_one_of_the_two_libraries_is_enough_for_auto(served: Mock, without: Any) -> None:
    without("websockets")
    run("main:app")
    assert options_of(served)["ws"] == "auto"


@pytest.mark.parametrize("library", ["picows", "websockets"])
def test_without_its_libraries_the_protocol_is_uvicorns(
    served: Mock, without: Any, library: str
) -> None:
    without(library)
    run("main:app")
    assert options_of(served)["ws"] == "auto"


def test_another_protocol_can_be_asked_for(served: Mock) -> None:
    run("main:app", ws="websockets-sansio")
    assert options_of(served)["ws"] == "websockets-sansio"


def test_our_protocol_without_picows_says_what_to_install() -> None:
    script = """
import sys
sys.modules["picows"] = None
import telex.server
try:
    telex.server.WebSocketProtocol
except ImportError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert printed.strip() == (
        "telex.server.WebSocketProtocol needs picows, which is not installed: "
        "pip install 'telex[standard]'"
    )


@pytest.mark.parametrize("ws", ["none", "my.protocols:Protocol", object])
def test_no_library_is_asked_for_by_ws_none_and_foreign_protocols(
    served: Mock, without: Any, ws: object
) -> None:
    without("websockets", "wsproto")
    run("main:app", ws=ws)
    served.assert_called_once()


@pytest.mark.row("T89")
async def test_a_call_under_a_running_event_loop_starts_nothing_and_warns(served: Mock) -> None:
    with pytest.warns(RuntimeWarning, match="while an event loop is running"):
        run(app)
    served.assert_not_called()


@pytest.mark.row("T89")
def test_a_call_while_its_module_is_imported_starts_nothing_and_warns(
    served: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_server.py").write_text(BARE_APP + "run(app)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(RuntimeWarning, match="while its module is being imported"):
        __import__("imported_server")
    served.assert_not_called()


@pytest.mark.integration
@pytest.mark.row("V13")
async def test_a_script_answers_on_its_port_and_sigint_stops_it_cleanly(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(BARE_APP + f"run(app, port=0, {QUIET})\n")
    async with start("-X", "dev", "main.py", cwd=tmp_path) as server:
        port = (await server.line(SERVING))[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "answered"
        assert await server.interrupt() == 0
        assert "Traceback" not in server.output


@pytest.mark.integration
@pytest.mark.row("T89")
async def test_uvicorn_may_import_a_script_with_a_bare_run(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(BARE_APP + "run(app, port=1)\n")
    async with start("-m", "uvicorn", "main:app", "--port=0", cwd=tmp_path) as server:
        port = (await server.line(SERVING))[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "answered"
        assert await server.interrupt() == 0
        assert server.output.count("no second server is started") == 1
        assert server.output.count("Uvicorn running") == 1


@pytest.mark.integration
@pytest.mark.row("T89")
async def test_workers_may_read_a_script_with_a_bare_run_again(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(BARE_APP + f"run('main:app', port=0, workers=2, {QUIET})\n")
    async with start("main.py", cwd=tmp_path) as server:
        await server.line("Started server process")
        await server.line("Started server process")
        assert await server.interrupt() == 0
        assert "in a worker process that only reads the script again" in server.output
        assert server.output.count("Uvicorn running") == 1


def test_the_class_of_the_server_is_at_the_door_too() -> None:
    assert run_module.Server is _serving.Server
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        _ = run_module.Sever
