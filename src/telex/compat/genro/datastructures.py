"""`genro_asgi.datastructures`: the same objects as Telex's."""

from telex._url import URL
from telex.datastructures import Address, Headers, QueryParams, State

__all__ = ["URL", "Address", "Headers", "QueryParams", "State"]
