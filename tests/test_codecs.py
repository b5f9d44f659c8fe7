"""Codecs alone: every kind of type, read and written. The types are in `shapes.py`."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapes import (
    ID,
    INVALID,
    MOMENT,
    UNREADABLE,
    UNSENDABLE,
    VALID,
    Aliased,
    Box,
    Cat,
    Color,
    Colour,
    Couple,
    Dog,
    Guest,
    Level,
    Mark,
    Network,
    Node,
    Page,
    Point,
    Renamed,
    Room,
    Strict,
    Table,
    Tagged,
    User,
    label,
)
from telex import App, SocketRoute, WebSocket
from telex.codecs import JSON, TYTX, Codec, MessagePack, agreed, reader
from telex.exceptions import WebSocketExpectError

CODECS: list[Codec] = [JSON(), MessagePack(), TYTX()]
TEXTUAL: list[Codec] = [JSON(), TYTX()]

every_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
textual = pytest.mark.parametrize("codec", TEXTUAL, ids=lambda codec: type(codec).__name__)


def wire(codec: Codec, plain: Any) -> bytes:
    """What a client writes, by another library where there is one."""
    if isinstance(codec, MessagePack):
        return msgspec.msgpack.encode(plain)
    return json.dumps(plain).encode()


def unwired(codec: Codec, message: str | bytes) -> Any:
    """What a client reads."""
    if isinstance(codec, MessagePack):
        assert isinstance(message, bytes)
        return msgspec.msgpack.decode(message)
    return json.loads(message)


def refused(codec: Codec, tp: Any, data: str | bytes) -> WebSocketExpectError:
    """Return the error for data that does not fit."""
    with pytest.raises(WebSocketExpectError) as caught:
        reader(codec, tp)(data)
    assert caught.value.errors
    assert all(each["message"] for each in caught.value.errors)
    return caught.value


# --- reading ---


@pytest.mark.row("C25", "C26", "C27", "V47", "VX10")
@every_codec
@pytest.mark.parametrize(("tp", "plain", "value"), VALID)
def test_a_message_becomes_a_value_of_the_type(
    codec: Codec, tp: Any, plain: Any, value: Any
) -> None:
    read = reader(codec, tp)(wire(codec, plain))
    assert read == value
    assert type(read) is type(value)


@textual
@pytest.mark.parametrize(("tp", "plain", "value"), VALID)
def test_text_is_read_like_binary(codec: Codec, tp: Any, plain: Any, value: Any) -> None:
    assert reader(codec, tp)(wire(codec, plain).decode()) == value


@every_codec
@pytest.mark.parametrize(("tp", "plain", "path"), INVALID)
def test_what_does_not_fit_is_refused_with_its_path(
    codec: Codec, tp: Any, plain: Any, path: str
) -> None:
    error = refused(codec, tp, wire(codec, plain))
    assert [each["path"] for each in error.errors] == [path]
    assert str(error).startswith("expected ")
    assert path in str(error)
    assert not error.malformed


@textual
@pytest.mark.parametrize(("tp", "plain", "path"), INVALID)
def test_text_that_does_not_fit_is_refused_like_binary(
    codec: Codec, tp: Any, plain: Any, path: str
) -> None:
    assert refused(codec, tp, wire(codec, plain).decode()).errors[0]["path"] == path


@pytest.mark.row("C25", "C26", "C27", "T27", "T28", "T31", "VX10")
@pytest.mark.parametrize(
    ("tp", "data"),
    [
        (int, "٣"),
        (int, "4_2"),
        (int, "1.0"),
        (int, "true"),
        (bool, "²"),
        (bool, "null"),
        (dict, "[1]"),
        (dict, "5"),
        (dict, "null"),
    ],
)
def test_json_reads_the_plain_types_by_the_rules_of_casts(tp: type, data: str) -> None:
    refused(JSON(), tp, data)
    refused(JSON(), tp, data.encode())


@pytest.mark.row("C25", "C26", "VX10")
def test_json_takes_what_casts_take() -> None:
    assert reader(JSON(), int)(" 007 ") == 7
    assert reader(JSON(), bool)("00") is False
    assert reader(JSON(), bool)(b"True") is True


@pytest.mark.row("C28")
@every_codec
def test_str_and_bytes_are_the_message_as_it_is(codec: Codec) -> None:
    assert reader(codec, str)('"a"') == '"a"'
    assert reader(codec, str)("é".encode()) == "é"
    assert reader(codec, bytes)("é") == "é".encode()
    assert reader(codec, bytes)(b"\xff") == b"\xff"
    assert refused(codec, str, b"\xff").malformed
    assert refused(codec, bytes, "\ud800").malformed


def test_all_errors_of_a_model_are_told_at_once() -> None:
    error = refused(JSON(), User, '{"born": "x", "friends": [{}]}')
    assert [each["path"] for each in error.errors] == ["$.name", "$.born", "$.friends[0].name"]
    assert str(error).startswith("expected User: $.name: ")


LONG = "x" * 100_000


@every_codec
@pytest.mark.parametrize(
    ("tp", "plain"),
    [
        (Color, LONG),
        (Cat | Dog, {"type": LONG}),
        (Tagged, {"kind": LONG}),
        (dict[str, Guest], {LONG: 1}),
        (list[Guest], [{}] * 10_000),
        (Strict, {LONG: 1}),
    ],
)
def test_an_error_repeats_a_little_of_what_the_client_wrote(
    codec: Codec, tp: Any, plain: Any
) -> None:
    error = refused(codec, tp, wire(codec, plain))
    assert len(str(error)) < 600
    assert all(len(text) <= 200 for each in error.errors for text in each.values())


# --- data that cannot be read at all ---

TYPES: list[Any] = [
    Any,
    float,
    list,
    list[Decimal],
    dict[str, Any],
    Point,
    Node,
    Cat | Dog,
    dt.datetime,
    User,
    list[User],
    User | Guest,
    Tagged,
    Room,
]

NO_JSON: list[str | bytes] = ["", " ", "nul", "{", '{"a":1', '{"a":1,}', "\ufeff{}", b"\xff"]
UNTYPED: list[Any] = [Any, dict, dict[str, Any]]


@textual
@pytest.mark.parametrize("tp", [*UNTYPED, Mark, User])
@pytest.mark.parametrize("data", NO_JSON, ids=lambda data: repr(data[:15]))
def test_what_is_no_json_is_malformed(codec: Codec, tp: Any, data: str | bytes) -> None:
    error = refused(codec, tp, data)
    assert error.malformed
    assert [each["path"] for each in error.errors] == ["$"]


@textual
@pytest.mark.parametrize(
    ("tp", "data"),
    [
        *((tp, '{"a":' * 100_000) for tp in UNTYPED),
        (list, "[" * 100_000),
        (Node, '{"name":"a","children":[' * 100_000),
        (User, '{"name":"a","friends":[' * 100_000),
        *((tp, '{"a":NaN}') for tp in UNTYPED),
        (Point, '{"x":1}x'),
        (float, "NaN"),
    ],
)
def test_json_goes_so_deep_and_no_further(codec: Codec, tp: Any, data: str | bytes) -> None:
    assert refused(codec, tp, data).malformed


NO_MESSAGE_PACK = [
    b"",
    b"\xc1",
    b"\x01\x01",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\x91" * 100_000,
    b"\x81\xa1a" * 100_000,
]


@pytest.mark.parametrize("data", NO_MESSAGE_PACK, ids=lambda data: repr(data[:10]))
def test_what_is_no_message_pack_is_malformed(data: bytes) -> None:
    assert refused(MessagePack(), Any, data).malformed
    assert refused(MessagePack(), User, data).malformed


@pytest.mark.parametrize("tp", TYPES)
def test_text_is_no_message_pack(tp: Any) -> None:
    error = refused(MessagePack(), tp, "{}")
    assert str(error) == "expected MessagePack in a binary message, got text"


HOSTILE = [
    "\ud800",
    '"\ud800"',
    '{"x":"\ud800"}',
    r'"\ud800"',
    r'{"name":"\ud800"}',
    "9" * 5000,
    "[" + "9" * 5000 + "]",
    '{"x":' + "9" * 5000 + "}",
    '{"x":1e400}',
    '{"name":"a","born":1e300}',
    '{"name":"a","born":99999999999999999999}',
    '"99999-01-01T00:00:00Z"',
    "1e999999999999999999999",
    '["1e99999999999999999999"]',
    '{"a":"x::N"}::JS',
    '"sNaN::N"::JS',
    "NaN::N",
    "2025-13-01::D",
    "9" * 5000 + "::L",
]


@textual
@pytest.mark.parametrize("tp", [*TYPES, int, bool, dict, str, bytes])
@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: ascii(data[:20]))
def test_hostile_text_is_read_or_refused(codec: Codec, tp: Any, data: str) -> None:
    with contextlib.suppress(WebSocketExpectError):
        reader(codec, tp)(data)


@every_codec
@given(
    data=st.binary() | st.text() | st.text('{}[]",:1e-.xname\\u ::JSN'), tp=st.sampled_from(TYPES)
)
def test_whatever_comes_is_read_or_refused(codec: Codec, data: str | bytes, tp: Any) -> None:
    with contextlib.suppress(WebSocketExpectError):
        reader(codec, tp)(data)


@every_codec
@given(data=st.data())
def test_a_damaged_message_is_read_or_refused(codec: Codec, data: st.DataObject) -> None:
    tp, plain, _ = data.draw(st.sampled_from(VALID))
    whole = bytearray(wire(codec, plain))
    at = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["cut", "change", "insert"]))
    if how == "cut":
        del whole[at:]
    elif how == "change":
        whole[at] = data.draw(st.integers(0, 255))
    else:
        whole[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    with contextlib.suppress(WebSocketExpectError):
        reader(codec, tp)(bytes(whole))


# --- which types ---


@pytest.mark.row("C29", "V47", "T29")
@every_codec
@pytest.mark.parametrize("tp", UNREADABLE, ids=label)
def test_a_type_that_cannot_be_read_is_a_type_error_before_any_data(codec: Codec, tp: Any) -> None:
    with pytest.raises(TypeError, match="cannot read messages as") as caught:
        reader(codec, tp)
    assert not isinstance(caught.value, WebSocketExpectError)
    assert "\n" not in str(caught.value)


@every_codec
@pytest.mark.parametrize("tp", [Point, list[Point], Any, User | Guest, Page[Point]])
def test_a_decoder_is_built_once_for_each_type(codec: Codec, tp: Any) -> None:
    assert codec.decoder(tp) is codec.decoder(tp)
    assert codec.decoder(tp) is not codec.decoder(dt.date)


@every_codec
def test_types_that_cannot_be_hashed_are_read_as_well(codec: Codec) -> None:
    unhashable: Any = Annotated[int, ["a", "list"]]
    assert codec.decoder(unhashable)(wire(codec, 5)) == 5


def test_decoders_of_one_codec_are_not_those_of_another() -> None:
    assert JSON().decoder(Point) is not JSON().decoder(Point)


# --- writing ---

WRITTEN: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (1, 1),
    (1.5, 1.5),
    ([1, (2, 3)], [1, [2, 3]]),
    ({"é": "é"}, {"é": "é"}),
    ({1}, [1]),
    (Point(1), {"x": 1, "y": 0.0}),
    (Page([Point(1)]), {"items": [{"x": 1, "y": 0.0}]}),
    (Renamed("a"), {"firstName": "a"}),
    (Dog("a"), {"type": "dog", "name": "a"}),
    (Node("a", [Node("b")]), {"name": "a", "children": [{"name": "b", "children": []}]}),
    (Couple(1, "a"), [1, "a"]),
    (Box(1), {"width": 1}),
    (Color.RED, "red"),
    (Level.HIGH, 2),
    (ID, str(ID)),
    (dt.timedelta(seconds=90), "PT90S"),
    (User(name="a"), {"name": "a", "born": None, "friends": []}),
    ([Guest(seat=1)], [{"seat": 1}]),
    (Aliased.model_validate({"1st": 1}), {"1st": 1}),
    (
        Network.model_validate({"address": "0.0.0.1"}),
        {"address": "0.0.0.1", "home": "/"},
    ),
    (Room(1, Guest(seat=2)), {"number": 1, "guest": {"seat": 2}}),
    (Table([Guest(seat=2)]), {"guests": [{"seat": 2}]}),
]


@pytest.mark.row("T27")
@every_codec
@pytest.mark.parametrize(("value", "plain"), WRITTEN)
def test_a_value_is_written_so_that_any_client_can_read_it(
    codec: Codec, value: Any, plain: Any
) -> None:
    assert unwired(codec, codec.encode(value)) == plain


@every_codec
@pytest.mark.parametrize(("tp", "value"), [(tp, value) for tp, _, value in VALID])
def test_what_is_written_can_be_read_again(codec: Codec, tp: Any, value: Any) -> None:
    assert codec.decoder(tp)(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MOMENT, '"2025-01-02T03:04:05Z"'),
        (dt.date(2025, 1, 2), '"2025-01-02"'),
        (Decimal("1.50"), '"1.50"'),
        (b"abc", '"YWJj"'),
        (True, "true"),
        (math.nan, "null"),
        (-math.inf, "null"),
        (10**40, "1" + "0" * 40),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
    ],
)
def test_json_is_written_compactly(value: Any, text: str) -> None:
    assert JSON().encode(value) == text
    assert JSON(binary=True).encode(value) == text.encode()


@pytest.mark.parametrize("value", [MOMENT, dt.date(2025, 1, 2), Decimal("1.50"), dt.time(1, 2)])
@every_codec
def test_dates_and_decimals_need_no_hook(codec: Codec, value: Any) -> None:
    assert codec.decoder(type(value))(codec.encode(value)) == value
    listed: Any = list.__class_getitem__(type(value))
    assert codec.decoder(listed)(codec.encode([value])) == [value]


def test_message_pack_keeps_what_json_has_no_word_for() -> None:
    codec = MessagePack()
    for value in (b"\xff", math.inf, MOMENT, {1: "a"}):
        assert msgspec.msgpack.decode(codec.encode(value)) == value
    assert math.isnan(codec.decoder(float)(codec.encode(math.nan)))


@pytest.mark.row("GX7", "T92")
@pytest.mark.parametrize(
    ("value", "text", "read"),
    [
        ({"a": Decimal("1.50")}, '{"a":"1.50::N"}::JS', {"a": Decimal("1.50")}),
        (MOMENT, "2025-01-02T03:04:05.000Z::DHZ", MOMENT),
        (User(name="a", born=dt.date(2025, 1, 2)), None, None),
        (Point(1), '{"x":1,"y":0.0}', {"x": 1, "y": 0.0}),
    ],
)
def test_tytx_writes_typed_text(value: Any, text: str | None, read: Any) -> None:
    written = TYTX().encode(value)
    if text is not None:
        assert written == text
        assert TYTX().decoder(Any)(written) == read
    assert TYTX().decoder(type(value))(written) == value


@pytest.mark.row("C29", "T29")
@every_codec
@pytest.mark.parametrize("value", UNSENDABLE, ids=label)
def test_a_value_of_an_unknown_type_is_a_type_error(codec: Codec, value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent as a message"):
        codec.encode(value)


@pytest.mark.parametrize("key", [(1, 2), (b"a",), None])
def test_a_key_that_json_does_not_have_is_a_type_error(key: Any) -> None:
    with pytest.raises(TypeError):
        JSON().encode({key: 1})


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def circular_model() -> User:
    user = User(name="a")
    user.friends.append(user)
    return user


@every_codec
@pytest.mark.parametrize("make", [circular, circular_model, lambda: 10**5000])
def test_a_value_that_cannot_be_expressed_is_a_value_error(codec: Codec, make: Any) -> None:
    with pytest.raises(ValueError):
        codec.encode(make())


def test_message_pack_has_no_lone_surrogates() -> None:
    for value in ({"a": "\ud800"}, {"\ud800": 1}, [Dog("\ud800")]):
        with pytest.raises(ValueError, match="surrogates"):
            MessagePack().encode(value)


def test_message_pack_has_no_integers_beyond_64_bits() -> None:
    codec = MessagePack()
    for value in (-(2**63), 2**64 - 1):
        assert codec.decoder(int)(codec.encode(value)) == value
    for value in (-(2**63) - 1, 2**64):
        with pytest.raises(ValueError, match="a number is too large"):
            codec.encode([value])


# --- round trips ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | floats | texts
plain_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


class Order(msgspec.Struct):
    id: int
    title: str
    price: Decimal
    weight: float
    placed: dt.datetime
    paid: bool | None
    extra: dict[str, Any]
    animals: list[Cat | Dog]
    parts: list[Order] = []


orders = st.builds(
    Order,
    id=integers,
    title=texts,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    weight=floats,
    placed=st.datetimes(timezones=st.just(dt.UTC)),
    paid=st.none() | st.booleans(),
    extra=st.dictionaries(texts, plain_values, max_size=3),
    animals=st.lists(st.builds(Cat, lives=integers) | st.builds(Dog, name=texts), max_size=3),
    parts=st.just([]),
)
nested_orders = st.builds(
    lambda order, parts: msgspec.structs.replace(order, parts=parts),
    orders,
    st.lists(orders, max_size=2),
)


@pytest.mark.parametrize("codec", [JSON(), JSON(binary=True), MessagePack()])
@given(value=plain_values)
def test_plain_values_reach_the_client_and_come_back(codec: Codec, value: Any) -> None:
    assert unwired(codec, codec.encode(value)) == value
    assert codec.decoder(Any)(wire(codec, value)) == value
    if isinstance(codec, JSON):
        assert codec.decoder(Any)(wire(codec, value).decode()) == value


@pytest.mark.parametrize("codec", [JSON(), JSON(binary=True), MessagePack()])
@given(order=nested_orders)
def test_nested_structs_survive_a_round_trip(codec: Codec, order: Order) -> None:
    sent = codec.encode(order)
    assert unwired(codec, sent)["title"] == order.title
    assert codec.decoder(Order)(sent) == order
    assert codec.decoder(list[Order])(codec.encode([order])) == [order]


@given(order=nested_orders)
def test_json_is_read_from_text_and_binary_alike(order: Order) -> None:
    text = JSON().encode(order)
    assert isinstance(text, str)
    assert JSON().decoder(Order)(text) == JSON().decoder(Order)(text.encode()) == order


users = st.recursive(
    st.builds(User, name=texts, born=st.none() | st.dates(), friends=st.just([])),
    lambda inner: st.builds(User, name=texts, friends=st.lists(inner, max_size=3)),
    max_leaves=5,
)


@every_codec
@given(user=users)
def test_models_survive_a_round_trip(codec: Codec, user: User) -> None:
    if isinstance(codec, TYTX) and "::" in repr(user):
        return
    assert codec.decoder(User)(codec.encode(user)) == user


# --- types of one's own ---


def from_colour(value: Any) -> Any:
    if isinstance(value, Colour):
        return f"#{value.name}"
    raise NotImplementedError(f"no way to send {type(value).__name__}")


def to_colour(tp: type, plain: Any) -> Any:
    assert tp is Colour
    if not isinstance(plain, str):
        raise TypeError("a colour is a string")
    if not plain.startswith("#"):
        raise ValueError("a colour begins with #")
    return Colour(plain[1:])


HOOKED: list[Codec] = [
    JSON(enc_hook=from_colour, dec_hook=to_colour),
    MessagePack(enc_hook=from_colour, dec_hook=to_colour),
]
hooked = pytest.mark.parametrize("codec", HOOKED, ids=lambda codec: type(codec).__name__)


@hooked
def test_hooks_teach_a_codec_types_of_ones_own(codec: Codec) -> None:
    sent = codec.encode({"colour": Colour("red")})
    assert unwired(codec, sent) == {"colour": "#red"}
    assert codec.decoder(dict[str, Colour])(sent) == {"colour": Colour("red")}
    assert codec.decoder(Colour)(codec.encode(Colour("red"))) == Colour("red")


@hooked
def test_a_value_that_a_hook_refuses_does_not_fit(codec: Codec) -> None:
    error = refused(codec, list[Colour], wire(codec, ["#a", "b"]))
    assert error.errors == [{"path": "$[1]", "message": "a colour begins with #"}]
    assert refused(codec, Colour, wire(codec, 1)).errors[0]["message"] == "not valid"


@pytest.mark.row("C29")
@hooked
def test_a_value_that_a_hook_does_not_know_is_a_type_error(codec: Codec) -> None:
    with pytest.raises(TypeError, match="no way to send object"):
        codec.encode(object())


def test_a_hook_without_a_word_is_a_type_error_as_well() -> None:
    def refuse(value: Any) -> Any:
        raise NotImplementedError

    with pytest.raises(TypeError, match="cannot be sent"):
        JSON(enc_hook=refuse).encode(object())


@hooked
def test_hooks_do_not_stand_in_the_way_of_models(codec: Codec) -> None:
    user = User(name="a", born=dt.date(2025, 1, 2))
    assert codec.decoder(User)(codec.encode(user)) == user
    assert codec.decoder(User | Guest)(codec.encode(Guest(seat=1))) == Guest(seat=1)
    assert codec.decoder(Tagged)(wire(codec, {"kind": "of"})).kind == "of"
    with pytest.raises(TypeError, match="custom type"):
        codec.decoder(User | Colour)


@pytest.mark.parametrize("codec", [JSON(strict=False), MessagePack(strict=False)])
def test_without_strictness_strings_may_be_numbers(codec: Codec) -> None:
    assert codec.decoder(list[float])(wire(codec, ["1.5"])) == [1.5]
    refused(codec, list[float], wire(codec, ["x"]))


# --- choosing ---


@pytest.mark.parametrize(
    ("codecs", "offered", "chosen"),
    [
        ({}, ["json"], None),
        ({"json": JSON()}, [], None),
        ({"json": JSON()}, ["a", "b"], None),
        ({"json": JSON(), "msgpack": MessagePack()}, ["a", "msgpack", "json"], "msgpack"),
    ],
)
def test_the_first_subprotocol_offered_that_has_a_codec_is_agreed_on(
    codecs: dict[str, Codec], offered: list[str], chosen: str | None
) -> None:
    assert agreed(codecs, offered) == chosen


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"codecs": [JSON()]}, "codecs must be a mapping of subprotocols to codecs, not \\["),
        ({"codecs": {"json": JSON}}, "a codec must be an object such as JSON"),
        ({"codecs": {"json": "json"}}, "not 'json'"),
        ({"codec": "json"}, "not 'json'"),
        ({"codec": MessagePack}, "not <class"),
        ({"codec": object()}, "a codec must be"),
    ],
)
@pytest.mark.parametrize("where", ["application", "route"])
def test_what_is_no_codec_is_refused_at_once(where: str, options: Any, text: str) -> None:
    async def handler(ws: WebSocket) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match=text):
        if where == "application":
            App(**options)
        else:
            SocketRoute("/", handler, **options)
