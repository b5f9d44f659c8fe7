from __future__ import annotations

import pytest

from telex.compat.kui import wsgi


@pytest.mark.row("K1", "Z1")
def test_a_name_from_wsgi_is_an_import_error_that_names_server_sent_events() -> None:
    with pytest.raises(ImportError, match=r"no SocketRoute: WSGI .* Server-Sent Events"):
        from telex.compat.kui.wsgi import SocketRoute  # noqa: F401


def test_tools_may_look_at_the_module() -> None:
    assert not hasattr(wsgi, "__wrapped__")
    assert wsgi.__name__ == "telex.compat.kui.wsgi"
