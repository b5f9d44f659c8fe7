"""`python -m telex` and the `telex` command start the same command line."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from child import start
from telex.__main__ import main


async def test_python_m_telex_is_the_command_line(tmp_path: Path) -> None:
    async with start("-m", "telex", "--help", cwd=tmp_path) as child:
        assert await child.finish() == 0
        assert all(name in child.output for name in ("run", "routes", "connect"))


def test_the_telex_command_is_the_same_function() -> None:
    (command,) = entry_points(group="console_scripts", name="telex")
    assert command.load() is main


def test_a_missing_typer_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "telex.cli", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == (
        "telex: the telex command needs typer, which is not installed: "
        "pip install 'telex[standard]'"
    )
