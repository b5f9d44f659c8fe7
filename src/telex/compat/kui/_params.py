"""What Kui's handlers declare their parameters with, where Telex has it otherwise.

- `Depends(function, cache=False)`: Telex calls it `use_cache`.
- `Body()`: a WebSocket handshake is a GET without a body. Kui finds that out when a client comes,
  here it is the `TypeError` of whoever writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from telex import params


def Depends(call: Callable[..., Any], *, cache: bool = True) -> params.Depends:
    """Return the marker for a parameter that a function makes; see `telex.params.Depends`.

    Args:
        call: What makes it: a function, a generator function, asynchronous or not.
        cache: Whether one call per connection is enough for everybody who depends on it.

    Raises:
        TypeError: It cannot be called.
    """
    return params.Depends(call, use_cache=cache)


def Body(*_: object, **__: object) -> NoReturn:
    """Refuse: there is no body.

    Raises:
        TypeError: Always.
    """
    raise TypeError(
        "a WebSocket handshake has no body for Body(): take the value from Query() or Header(), "
        "or from the first message"
    )
