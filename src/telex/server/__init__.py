"""The server side: starting one. Knows ASGI and nothing of the framework."""
