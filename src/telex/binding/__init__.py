"""Filling the parameters of handlers: signature to plan, plan and connection to arguments."""

from telex.binding._messages import Call, MessageFunction
from telex.binding._plan import PAYLOAD_NAME, register_injectable
from telex.binding._resolve import bind, needing, needs_of
from telex.binding._signature import declared, describe, innermost

__all__ = [
    "PAYLOAD_NAME",
    "Call",
    "MessageFunction",
    "bind",
    "declared",
    "describe",
    "innermost",
    "needing",
    "needs_of",
    "register_injectable",
]
