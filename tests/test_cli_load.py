"""Import strings find applications; every mistake in one gets a sentence of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from telex._cli_load import LoadError, check_module, complete, load, look_in

MODULE = """\
class App:
    async def __call__(self, scope, receive, send): ...

app = App()
chat = App()
text = "no application"
nothing = None
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with `served_app.py`, which is looked in."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    (tmp_path / "served_app.py").write_text(MODULE)
    package = tmp_path / "another_package"
    package.mkdir()
    (package / "__init__.py").write_text("from served_app import app\n")
    look_in(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("main", "main:app"),
        ("main:", "main:app"),
        ("main:chat", "main:chat"),
        ("a.b:c.d", "a.b:c.d"),
    ],
)
def test_a_module_alone_means_its_attribute_app(target: str, meant: str) -> None:
    assert complete(target) == meant


@pytest.mark.parametrize("target", ["main.py", "./main", "/srv/main", ":app", "", "../main.py"])
def test_a_file_is_not_an_import_string(target: str) -> None:
    with pytest.raises(LoadError, match=r"is not an import string; write module:name"):
        complete(target)


@pytest.mark.usefixtures("project")
def test_modules_packages_and_attributes_of_attributes_are_loaded() -> None:
    app = load("served_app:app")
    assert load("another_package:app") is app
    assert load("served_app:app.__call__") == app.__call__  # type: ignore[operator]


def test_a_missing_module_is_named_with_the_place_and_a_close_name(project: Path) -> None:
    for check in (load, check_module):
        with pytest.raises(LoadError) as caught:
            check("served_ap:app")
        assert str(caught.value) == (
            f"there is no module 'served_ap' in {project}; did you mean served_app?"
        )
    with pytest.raises(LoadError, match=r"no module 'another_package.missing' in"):
        load("another_package.missing:app")


@pytest.mark.usefixtures("project")
def test_checking_a_module_does_not_import_it() -> None:
    check_module("served_app:anything")
    check_module("sys:anything")
    assert "served_app" not in sys.modules


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("served_app:ap", "module 'served_app' has no attribute 'ap'; did you mean app?"),
        (
            "served_app:zzz",
            (
                "module 'served_app' has no attribute 'zzz'; "
                "there is served_app:app and served_app:chat"
            ),
        ),
        ("served_app:nothing", "module 'served_app' has no attribute 'nothing'"),
        ("served_app:app.zzz", "an App has no attribute 'zzz'"),
        ("served_app:text", "served_app:text is a str, not an ASGI application"),
    ],
)
def test_a_wrong_attribute_is_explained(target: str, sentence: str) -> None:
    with pytest.raises(LoadError) as caught:
        load(target)
    assert str(caught.value).startswith(sentence)


def test_what_the_module_itself_raises_passes_through(project: Path) -> None:
    (project / "served_broken.py").write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load("served_broken:app")
