"""How values become messages and messages become values: JSON, MessagePack, TYTX, or your own.

    app = App(codec=JSON(), codecs={"json": JSON(), "msgpack": MessagePack()})

A codec is chosen for an application or a route, or by the subprotocol that was agreed on. `str`
and `bytes` are no matter of codecs: they are text and binary messages as they are.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec

from telex import casts
from telex._json import decode_json, encode_json
from telex._models import (
    describe,
    is_model,
    model_json_reader,
    model_problems,
    model_reader,
    plain_model,
    plain_value,
    reader_of,
)
from telex._tytx import read_typed, require_tytx, write_typed
from telex.exceptions import WebSocketExpectError

Written = TypeVar("Written")

Decode = Callable[[str | bytes], Any]
"""Makes a value of the data of a message.

Raises `WebSocketExpectError` when the data does not fit, and nothing else about the data.
"""

EncodeHook = Callable[[Any], Any]
"""Gets a value of an unknown type; returns one of a type that is known, or raises TypeError.

NotImplementedError, which msgspec asks for, means the same.
"""

DecodeHook = Callable[[type, Any], Any]
"""Gets a type that the codec does not know, and a plain value; returns one of that type.

ValueError and TypeError say that the value does not fit; the client may be told why by the first.
"""

_TYPED: Final = (dt.datetime, dt.date, dt.time, Decimal)
"""What typed text can hold beside what JSON can."""

_SHOWN: Final = 200
"""Characters of a path or message in an error."""

_REMEMBERED: Final = 1024
"""Types whose decoders a codec keeps."""


class Codec(Protocol):
    """What an application can use in place of the codecs here. It does no I/O.

    One object serves all connections, in one thread.
    """

    def decoder(self, tp: Any, /) -> Decode:
        """Return what makes values of a type; called once for each handler, or often.

        Args:
            tp: A type as in an annotation. `typing.Any`: whatever the message holds.

        Raises:
            TypeError: The codec cannot make such values.
        """

    def encode(self, value: Any, /) -> str | bytes:
        """Return the message for a value: `str` is sent as text, `bytes` as binary.

        Raises:
            TypeError: A value that it cannot express.
            ValueError: The same, because of what is in it.
        """


class _Remembering(ABC):
    """Makes a decoder once for each type."""

    def __init__(self) -> None:
        self._decoders = functools.lru_cache(_REMEMBERED)(self._make_decoder)

    def decoder(self, tp: Any, /) -> Decode:
        """Return what makes values of a type, see `Codec`."""
        try:
            hash(tp)
        except TypeError:
            # `Annotated` with a list in it.
            return self._make_decoder(tp)
        return self._decoders(tp)

    @abstractmethod
    def _make_decoder(self, tp: Any) -> Decode: ...


class JSON(_Remembering):
    """JSON (RFC 8259), by msgspec and its rules; pydantic models by pydantic.

    Reads text and binary messages, writes text. `int`, `bool` and `dict` themselves are read as
    `telex.casts` says, and what has no type as by `receive_json`. NaN and infinities are written
    as `null`, lone surrogates as escapes.

    Args:
        enc_hook: For types of your own; `datetime`, `Decimal`, `UUID`, enums, dataclasses, attrs
            and the like need none.
        dec_hook: The same for reading.
        strict: Whether a string is no number. pydantic decides that by itself.
        binary: Whether to write binary messages.
    """

    def __init__(
        self,
        *,
        enc_hook: EncodeHook | None = None,
        dec_hook: DecodeHook | None = None,
        strict: bool = True,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self._enc_hook = _with_models(enc_hook, "json")
        self._write = msgspec.json.Encoder(enc_hook=self._enc_hook).encode
        self._dec_hook = dec_hook
        self._strict = strict
        self._binary = binary

    def encode(self, value: Any, /) -> str | bytes:
        """Return the JSON of a value, see `Codec`."""
        try:
            data = _written(self._write, value)
        except UnicodeEncodeError:
            # A lone surrogate, which `decode_json` reads; JSON has it as an escape only.
            return self._encode_escaped(value)
        return data if self._binary else data.decode()

    def _encode_escaped(self, value: Any) -> str | bytes:
        plain = functools.partial(msgspec.to_builtins, enc_hook=self._enc_hook, str_keys=True)
        text = _written(lambda value: encode_json(_finite(plain(value))), value)
        return text.encode() if self._binary else text

    def _make_decoder(self, tp: Any) -> Decode:
        if tp is int or tp is bool or tp is dict:
            return functools.partial(_cast, tp)
        if tp is Any:
            return _guarded(decode_json, tp)
        if reader_of(tp, own_types=self._dec_hook is not None) == "pydantic":
            return _guarded(model_json_reader(tp), tp)
        decoder = msgspec.json.Decoder(tp, dec_hook=self._dec_hook, strict=self._strict)
        return _guarded(decoder.decode, tp)


class MessagePack(_Remembering):
    """MessagePack, by msgspec and its rules; pydantic models by pydantic.

    Reads and writes binary messages.

    Args:
        enc_hook: For types of your own, as in `JSON`.
        dec_hook: The same for reading.
        strict: Whether a string is no number.
    """

    def __init__(
        self,
        *,
        enc_hook: EncodeHook | None = None,
        dec_hook: DecodeHook | None = None,
        strict: bool = True,
    ) -> None:
        super().__init__()
        self._write = msgspec.msgpack.Encoder(enc_hook=_with_models(enc_hook, "python")).encode
        self._dec_hook = dec_hook
        self._strict = strict

    def encode(self, value: Any, /) -> bytes:
        """Return the MessagePack of a value, see `Codec`."""
        return _written(self._write, value)

    def _make_decoder(self, tp: Any) -> Decode:
        if tp is not Any and reader_of(tp, own_types=self._dec_hook is not None) == "pydantic":
            read, validate = msgspec.msgpack.Decoder().decode, model_reader(tp)
            return _guarded(lambda data: validate(read(_binary(data))), tp)
        decode = msgspec.msgpack.Decoder(tp, dec_hook=self._dec_hook, strict=self._strict).decode
        return _guarded(lambda data: decode(_binary(data)), tp)


class TYTX(_Remembering):
    """Typed text by genro-tytx: JSON in which dates and decimals stay what they are.

    Reads text and binary messages, writes text. What TYTX itself loses is lost: tuples become
    lists, times become UTC with milliseconds.

    Raises:
        MissingDependency: genro-tytx is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        require_tytx()

    def encode(self, value: Any, /) -> str:
        """Return the typed text of a value, see `Codec`."""
        return _written(self._write, value)

    def _write(self, value: Any) -> str:
        plain = msgspec.to_builtins(
            value, builtin_types=_TYPED, enc_hook=_with_models(None, "python")
        )
        return write_typed(plain)

    def _make_decoder(self, tp: Any) -> Decode:
        if tp is Any:
            return _guarded(read_typed, tp)
        if reader_of(tp, own_types=False) == "pydantic":
            validate = model_reader(tp)
            return _guarded(lambda data: validate(read_typed(data)), tp)
        # Not told what typed text can hold: so a date in plain JSON is read as well.
        convert = functools.partial(msgspec.convert, type=tp)
        return _guarded(lambda data: convert(read_typed(data)), tp)


def reader(codec: Codec, tp: Any) -> Decode:
    """Return what makes values of a type out of messages: by the codec, or as they are.

    Raises:
        TypeError: Nothing can.
    """
    if tp is str or tp is bytes:
        return functools.partial(_cast, tp)
    return codec.decoder(tp)


def check_codecs(codec: object, codecs: object) -> None:
    """Make sure that what an application or a route was given are codecs; `None` is for none.

    Raises:
        TypeError: It is something else.
    """
    if codecs is not None and not isinstance(codecs, Mapping):
        raise TypeError(f"codecs must be a mapping of subprotocols to codecs, not {codecs!r}")
    for each in (codec, *(codecs or {}).values()):
        known = all(callable(getattr(each, name, None)) for name in ("decoder", "encode"))
        if each is not None and (isinstance(each, type) or not known):
            raise TypeError(f"a codec must be an object such as JSON(), not {each!r}")


def agreed(codecs: Mapping[str, Codec], offered: Iterable[str]) -> str | None:
    """Return the first subprotocol of those a client offers that has a codec."""
    return next((each for each in offered if each in codecs), None) if codecs else None


def _cast(tp: type, data: str | bytes) -> Any:
    return casts.cast(data, tp)


def _binary(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise WebSocketExpectError("expected MessagePack in a binary message, got text")
    return data


def _with_models(hook: EncodeHook | None, mode: Literal["json", "python"]) -> EncodeHook:
    def encode(value: Any) -> Any:
        if is_model(value):
            return plain_model(value, mode)
        return plain_value(value) if hook is None else hook(value)

    return encode


def _written(write: Callable[[Any], Written], value: Any) -> Written:
    try:
        return write(value)
    except NotImplementedError as error:
        raise TypeError(str(error) or "it cannot be sent as a message") from error
    except RecursionError:
        raise ValueError("nested too deeply, or contains itself") from None
    except OverflowError as error:
        raise ValueError(f"a number is too large: {error}") from None


def _finite(value: Any) -> Any:
    """Return plain data with `None` in place of NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return list(map(_finite, value)) if isinstance(value, list | tuple) else value


def _guarded(decode: Decode, tp: Any) -> Decode:
    """Return a decoder with our error in place of those of the libraries."""
    name = describe(tp)

    def guarded(data: str | bytes) -> Any:
        try:
            return decode(data)
        except WebSocketExpectError:
            raise
        except msgspec.ValidationError as error:
            problems, malformed = [_problem(_safe_text(error))], False
        except (msgspec.DecodeError, UnicodeError, json.JSONDecodeError) as error:
            problems, malformed = [{"path": "$", "message": str(error)}], True
        except RecursionError:
            problems, malformed = [{"path": "$", "message": "nested too deeply"}], True
        except ValueError as error:
            whole = [{"path": "$", "message": str(error)}]
            problems, malformed = model_problems(error) or (whole, False)
        shown = [{key: _clip(text) for key, text in each.items()} for each in problems]
        raise WebSocketExpectError.of(name, shown, malformed=malformed) from None

    return guarded


def _safe_text(error: msgspec.ValidationError) -> str:
    """Return what may be told: a hook says what is wrong by ValueError, not by mistake."""
    if not isinstance(error.__cause__, TypeError):
        return str(error)
    _, at, where = str(error).rpartition(" - at `")
    return f"not valid{at}{where}" if at else "not valid"


def _clip(text: str) -> str:
    """Return the beginning and the end: wrong words and unknown names come from the client."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 60]}...{text[-57:]}"


def _problem(text: str) -> dict[str, str]:
    """Take msgspec's text apart: what is wrong, and where."""
    message, _, where = text.rpartition(" - at `")
    if not message:
        return {"path": "$", "message": text}
    key, _, path = where.removesuffix("`").rpartition("` in `")
    return {"path": path, "message": f"{message} in a key" if key else message}
