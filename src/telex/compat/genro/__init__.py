"""genro-asgi."""
