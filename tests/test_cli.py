"""The commands: what they hand on, and what they say when something is wrong."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
import uvicorn
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from child import SERVING, start
from telex import cli
from telex.server.run import run as serve

MAIN = """\
from telex.app import App

app = App()

@app.websocket("/echo")
async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)
"""
BARE_RUN = "\napp.run(port=1)\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a module `served_main` in it."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served_main.py").write_text(MAIN)
    (tmp_path / "served_broken.py").write_text("this is no Python")
    yield tmp_path
    for name in ("served_main", "served_broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """`telex.server.run.run` without its effect."""
    stub: Mock = create_autospec(serve)
    monkeypatch.setattr(cli, "serve", stub)
    return stub


def telex(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all it wrote."""
    result = CliRunner().invoke(cli.commands, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_version_is_shown() -> None:
    code, output = telex("--version")
    assert code == 0
    assert output.startswith(f"telex {version('telex')}, Python 3.")


@pytest.mark.usefixtures("project")
def test_run_hands_an_import_string_and_defaults_to_uvicorn(served: Mock) -> None:
    assert telex("run", "served_main")[0] == 0
    served.assert_called_once()
    assert served.call_args.args == ("served_main:app",)
    assert served.call_args.kwargs.items() >= {"host": "127.0.0.1", "port": 8000}.items()


def test_run_hands_on_what_was_given_under_uvicorns_names(project: Path, served: Mock) -> None:
    given: dict[str, Any] = {
        "host": "::1",
        "port": 0,
        "uds": "a.sock",
        "fd": 3,
        "workers": 2,
        "ws": "wsproto",
        "ws_max_size": 100,
        "ws_ping_interval": 1.5,
        "ws_ping_timeout": 2.5,
        "lifespan": "off",
        "log_level": "debug",
        "log_config": "log.json",
        "root_path": "/sub",
        "forwarded_allow_ips": "*",
        "ssl_keyfile": "key.pem",
        "ssl_certfile": "cert.pem",
        "ssl_keyfile_password": "secret",
        "limit_concurrency": 9,
        "timeout_graceful_shutdown": 7,
    }
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    flags = ["--no-access-log", "--no-proxy-headers", "--reload", "--factory"]
    where = ["--reload-dir=a", "--reload-dir=b", f"--app-dir={project}"]
    assert telex("run", "served_main:app", *options, *flags, *where)[0] == 0
    served.assert_called_once_with(
        "served_main:app",
        **given,
        access_log=False,
        proxy_headers=False,
        reload=True,
        factory=True,
        reload_dirs=["a", "b"],
    )


@pytest.mark.usefixtures("project")
def test_every_option_of_run_is_one_of_uvicorn(served: Mock) -> None:
    assert telex("run", "served_main")[0] == 0
    given = inspect.signature(cli.run).parameters.keys() - {"app", "app_dir"}
    renamed = {"reload_dir": "reload_dirs"}
    known = inspect.signature(uvicorn.run).parameters.keys()
    assert {renamed.get(name, name) for name in given} <= known


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("served_mian", "telex: there is no module 'served_mian' in"),
        ("served_main:ap", "telex: module 'served_main' has no attribute 'ap'; did you mean app?"),
        ("served_main:__name__", "telex: served_main:__name__ is a str, not an ASGI application"),
        ("served_main.py", "telex: 'served_main.py' is not an import string"),
    ],
)
@pytest.mark.parametrize("command", ["run", "routes"])
def test_a_wrong_import_string_is_explained_with_exit_code_2(
    served: Mock, command: str, target: str, sentence: str
) -> None:
    code, output = telex(command, target)
    assert (code, output[: len(sentence)]) == (2, sentence)
    served.assert_not_called()


@pytest.mark.usefixtures("project")
def test_reload_starts_with_a_module_that_is_broken_for_the_moment(served: Mock) -> None:
    assert telex("run", "served_broken", "--reload")[0] == 0
    served.assert_called_once()
    assert telex("run", "served_missing", "--reload")[0] == 2


@pytest.mark.usefixtures("project")
def test_what_a_module_raises_is_not_hidden(served: Mock) -> None:
    with pytest.raises(SyntaxError):
        telex("run", "served_broken")
    served.assert_not_called()


@pytest.mark.row("V14", "V15", "T95")
@pytest.mark.usefixtures("project")
def test_a_missing_websocket_library_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    monkeypatch.setitem(sys.modules, "wsproto", None)
    code, output = telex("run", "served_main")
    assert code == 1
    assert "pip install websockets" in output


@pytest.mark.usefixtures("project")
def test_routes_prints_a_table() -> None:
    code, output = telex("routes", "served_main")
    assert code == 0
    assert "/echo" in output
    assert "served_main.echo" in output


def test_routes_of_something_else_exit_with_2(project: Path) -> None:
    (project / "served_main.py").write_text("app = print")
    code, output = telex("routes", "served_main")
    assert (code, output) == (
        2,
        "telex: served_main:app is a builtin_function_or_method; only Telex routes can be listed\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ws://host", "-H", "nonsense"], "telex: 'nonsense' is not a header"),
        (["ftp://host"], "telex: ftp://host isn't a valid URI"),
    ],
)
def test_connect_refuses_malformed_arguments_with_exit_code_2(
    arguments: list[str], sentence: str
) -> None:
    code, output = telex("connect", *arguments)
    assert code == 2
    assert output.startswith(sentence)


def test_connect_names_the_extra_when_its_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "telex._cli_connect", raising=False)
    monkeypatch.delattr("telex._cli_connect", raising=False)
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    code, output = telex("connect", "ws://host")
    assert (code, output) == (
        1,
        (
            "telex: telex connect needs websockets, which is not installed: "
            "pip install 'telex[standard]'\n"
        ),
    )


@pytest.mark.integration
@pytest.mark.row("T89")
async def test_run_serves_a_file_that_also_runs_by_itself(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN + BARE_RUN)
    async with start("-X", "dev", "-m", "telex", "run", "main", "--port=0", cwd=tmp_path) as child:
        port = (await child.line(SERVING))[1]
        async with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"
        assert await child.interrupt() == 0
        assert child.output.count("Uvicorn running") == 1
        assert "Traceback" not in child.output


@pytest.mark.integration
async def test_a_wrong_import_string_shows_no_traceback(tmp_path: Path) -> None:
    async with start("-m", "telex", "run", "main", cwd=tmp_path) as child:
        assert await child.finish() == 2
        assert child.output == f"telex: there is no module 'main' in {tmp_path}\n"
