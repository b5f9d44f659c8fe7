"""What a scope holds, made readable: headers, query parameters, cookies, addresses, state.

What a client sent never makes anything here raise: odd bytes come out as odd characters.
"""

from __future__ import annotations

import re
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, cast, overload
from urllib.parse import unquote

from multidict import CIMultiDict, MultiDict

from telex.exceptions import HeadersInput

T = TypeVar("T")


class Address(NamedTuple):
    """A network address; equal to the tuple `(host, port)`.

    Attributes:
        host: A host name or IP address, without brackets. The path of a Unix socket.
        port: The port, `None` when there is none.
    """

    host: str
    port: int | None

    @classmethod
    def from_asgi(cls, value: Any) -> Address | None:
        """Return the address in `scope["client"]` or `scope["server"]`, `None` when unknown.

        Servers disagree on the form: a tuple or a list, the port an `int`, `None` or, on Granian,
        a `str`.
        """
        if not value or value[0] is None:
            return None
        port = value[1] if len(value) > 1 else None
        if isinstance(port, str):
            port = int(port) if port.isascii() and port.isdigit() else None
        return cls(value[0], port)


class _Pairs(Mapping[str, str]):
    """A read-only mapping in which a name may occur several times.

    `[]` and `get` answer with the first value. `len`, `items` and `values` see every pair,
    `keys` and iteration each name once, so `dict()` of it has the first value of each.
    """

    __slots__ = ("_pairs",)

    _pairs: MultiDict[str]

    def __getitem__(self, name: str) -> str:
        return self._pairs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Pairs):
            return sorted(self.items()) == sorted(other.items())
        if isinstance(other, Mapping):
            return len(self) == len(other) and dict(self) == dict(other)
        return NotImplemented

    # Equal to a dict with the same pairs, which has no hash either.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.multi_items()!r})"

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str) -> str: ...
    @overload
    def get(self, name: str, /, default: T) -> str | T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the first value of a name, or `default`."""
        return self._pairs.get(name, default)

    def getlist(self, name: str) -> list[str]:
        """Return all values of a name in order, `[]` when there is none."""
        return self._pairs.getall(name, [])

    def getall(self, name: str) -> list[str]:
        """Return all values of a name in order; the same as `getlist`."""
        return self._pairs.getall(name, [])

    def keys(self) -> KeysView[str]:
        """Return each name once, in the order of first occurrence."""
        # multidict itself repeats names before 7.1 and does not after it.
        return dict.fromkeys(self._pairs).keys()

    def values(self) -> ValuesView[str]:
        """Return every value."""
        return self._pairs.values()

    def items(self) -> ItemsView[str, str]:
        """Return every pair of name and value."""
        return self._pairs.items()

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every pair of name and value as a list."""
        return list(self._pairs.items())


class Headers(_Pairs):
    """The HTTP headers of a connection: read-only, names in any case, repeated names kept.

    Values are decoded as latin-1, which every byte string is. Names are in lower case.

    Args:
        raw: Pairs of bytes as in `scope["headers"]`; `None` for no headers.
    """

    __slots__ = ()

    def __init__(self, raw: Iterable[Iterable[bytes]] | None = None) -> None:
        self._pairs = CIMultiDict(
            [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw or ()]
        )

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI pairs of bytes, names in lower case. A new list each time."""
        return [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in self._pairs.items()
        ]


class QueryParams(_Pairs):
    """The parameters in a query string: read-only, order and repeated names kept.

    Parsed as HTML forms are (URL Standard §5.1): `&` separates, `+` is a space, a name without
    `=` has the value `""`. Bytes that are no UTF-8 become U+FFFD.

    Args:
        query: The query string without `?`, as in `scope["query_string"]`.
    """

    __slots__ = ()

    def __init__(self, query: str | bytes = b"") -> None:
        text = query if isinstance(query, str) else query.decode("utf-8", "replace")
        self._pairs = MultiDict(
            [
                (_plain(name), _plain(value))
                for name, _, value in [field.partition("=") for field in text.split("&") if field]
            ]
        )


def _plain(text: str) -> str:
    """Return what a piece of a query stands for.

    `parse_qsl` does the same at more than twice the cost, which is the largest of a handshake that
    binds parameters: most pieces hold nothing to decode.
    """
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text) if "%" in text else text


class State(MutableMapping[str, Any]):
    """Anything an application wants to remember, by attribute (`state.user`) or by item.

    A live view: what is set here is in the mapping it was made from, and the reverse. An entry
    with the name of a method (`get`, `items`) is reached as an item only. Copying it copies the
    mapping.

    Args:
        mapping: Where the entries are, `None` for a new `dict`.
    """

    __slots__ = ("__mapping",)

    __mapping: MutableMapping[str, Any]

    def __init__(self, mapping: MutableMapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_State__mapping", {} if mapping is None else mapping)

    def __getitem__(self, key: str) -> Any:
        return self.__mapping[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.__mapping[key] = value

    def __delitem__(self, key: str) -> None:
        del self.__mapping[key]

    def __contains__(self, key: object) -> bool:
        return key in self.__mapping

    def __iter__(self) -> Iterator[str]:
        return iter(self.__mapping)

    def __len__(self) -> int:
        return len(self.__mapping)

    def __getattr__(self, name: str) -> Any:
        # copy and pickle ask for `__deepcopy__` and the like: data must not answer for them.
        if _is_special(name):
            _no_attribute(name)
        try:
            return self.__mapping[name]
        except KeyError:
            _no_attribute(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if _is_special(name):
            raise AttributeError(f"use state[{name!r}] for a name like this")
        self.__mapping[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self.__mapping[name]
        except KeyError:
            _no_attribute(name)

    def __copy__(self) -> State:
        return type(self)(dict(self.__mapping))

    def __reduce__(self) -> tuple[type[State], tuple[MutableMapping[str, Any]]]:
        return type(self), (self.__mapping,)

    def __repr__(self) -> str:
        return f"State({dict(self.__mapping)!r})"


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _no_attribute(name: str) -> NoReturn:
    raise AttributeError(f"state has no entry {name!r}") from None


_ESCAPE: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
_BLANKS: Final = " \t"


def parse_cookies(header_values: Iterable[str]) -> dict[str, str]:
    """Return the cookies in the values of all `Cookie` headers.

    As browsers do it, not as RFC 6265 §4.2.1 wishes: an odd cookie does not hide those after it,
    text without `=` is the value of the cookie named `""`, the last of several with one name
    counts. Quotes and backslash escapes are undone, `%` escapes are not.

    Args:
        header_values: The header values; HTTP/2 clients may send several.
    """
    cookies: dict[str, str] = {}
    for crumb in ";".join(header_values).split(";"):
        name, equals, value = crumb.partition("=")
        if not equals:
            name, value = "", crumb
        # Not strip(): in latin-1 text it would eat the last byte of UTF-8 such as "à".
        name, value = name.strip(_BLANKS), value.strip(_BLANKS)
        value = _unquote_cookie(value)
        if name or value:
            cookies[name] = value
    return cookies


def _unquote_cookie(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPE.sub(lambda m: chr(int(m[1], 8)) if m[1] else cast(str, m[2]), value[1:-1])


_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\r\n\0]")
_HANDSHAKE_NAMES: Final = frozenset(
    {"connection", "upgrade", "content-length", "transfer-encoding"}
)


def encode_headers(
    headers: HeadersInput | None, *, reserved: bool = False
) -> list[tuple[bytes, bytes]]:
    """Check response headers and return them as ASGI wants them: lower-case names, all bytes.

    Args:
        headers: A mapping, or pairs to repeat a name; `str` or `bytes`. `None` for none.
        reserved: Refuse the headers that belong to the handshake as well: `sec-websocket-*`,
            `connection`, `upgrade`, `content-length` and `transfer-encoding`. For `accept`.

    Returns:
        Pairs of name and value, in the order given, blanks around values removed.

    Raises:
        ValueError: A name is no token (RFC 9110 §5.6.2) or reserved, or a value has a CR, LF or
            NUL or a character outside latin-1. The text names the header.
        TypeError: It is not made of `str` and `bytes`.
    """
    if headers is None:
        return []
    if isinstance(headers, (str, bytes)):
        raise TypeError(f"headers must be a mapping or pairs, not {type(headers).__name__}")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [_encode_header(name, value, reserved=reserved) for name, value in pairs]


def _encode_header(name: str | bytes, value: str | bytes, *, reserved: bool) -> tuple[bytes, bytes]:
    shown = name.decode("latin-1") if isinstance(name, bytes) else name
    if not isinstance(shown, str) or not isinstance(value, (str, bytes)):
        raise TypeError(f"header {name!r}: name and value must be str or bytes")
    if not _TOKEN.fullmatch(shown):
        raise ValueError(f"{shown!r} is not a valid header name")
    lowered = shown.lower()
    if reserved and (lowered in _HANDSHAKE_NAMES or lowered.startswith("sec-websocket-")):
        raise ValueError(f"header {shown!r} belongs to the handshake and cannot be set")
    try:
        encoded = value.encode("latin-1") if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise ValueError(f"the value of header {shown!r} has characters outside latin-1") from None
    if _FORBIDDEN_IN_VALUE.search(encoded):
        raise ValueError(f"the value of header {shown!r} contains CR, LF or NUL")
    return lowered.encode("ascii"), encoded.strip(b" \t")
