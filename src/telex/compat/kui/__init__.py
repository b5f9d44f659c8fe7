"""Kui: see `telex.compat.kui.asgi`."""
