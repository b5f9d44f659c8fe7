from __future__ import annotations

import pytest

from telex.compat.genro.exceptions import WebSocketDisconnect, WebSocketException


@pytest.mark.row("GX4")
@pytest.mark.parametrize("error", [WebSocketDisconnect, WebSocketException])
def test_both_have_a_code_and_a_reason(
    error: type[WebSocketDisconnect | WebSocketException],
) -> None:
    assert (error().code, error().reason) == (1000, "")
    made = error(code=4000, reason="x")
    assert (made.code, made.reason) == (4000, "x")
    assert not isinstance(made, RuntimeError)
