"""Lilya's `lilya.types`: Telex's names for what ASGI passes around. No difference."""

from telex._types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ASGIApp", "Message", "Receive", "Scope", "Send"]
