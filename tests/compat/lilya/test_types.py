from __future__ import annotations

import pytest

from telex import _types
from telex.compat.lilya import types


@pytest.mark.row("L2")
def test_the_names_are_those_of_telex() -> None:
    for name in ("ASGIApp", "Message", "Receive", "Scope", "Send"):
        assert getattr(types, name) is getattr(_types, name)
    assert sorted(types.__all__) == ["ASGIApp", "Message", "Receive", "Scope", "Send"]
