"""Methods of a view that are called by the type of a message."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest

from channel import FakeChannel, triple_over
from clients import connected
from depending import serving
from opened import soon, turns
from peer import B, D, T
from telex import App, Query, SocketView, on
from telex.codecs import JSON, TYTX, MessagePack

Payload = TypeVar("Payload")


class Say(msgspec.Struct, tag="say"):
    text: str


class Leave(msgspec.Struct, tag="leave"):
    pass


class Seven(msgspec.Struct, tag=7):
    text: str


class Move(msgspec.Struct, tag="move", tag_field="kind"):
    to: int


class Boxed(msgspec.Struct, Generic[Payload], tag="boxed"):
    content: Payload


class Untagged(msgspec.Struct):
    text: str


class Chat(SocketView):
    @on
    async def say(self, data: Say) -> list[str]:
        return ["say", data.text]

    @on("leave")
    async def leave(self, data: Leave) -> None:
        await self.websocket.close(4000)

    @on("raw", 5, "5")
    async def raw(self, data: Any) -> list[Any]:
        return ["raw", data]


@pytest.fixture(params=["asgi", "frames"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def met(
    path: str, view: type[SocketView], *messages: str | bytes, app: App | None = None, **scope: Any
) -> FakeChannel:
    """Serve one connection, whose client leaves when its messages have been answered."""
    channel = FakeChannel(*(T(each) if isinstance(each, str) else B(each) for each in messages))
    app = App() if app is None else app
    app.websocket("/")(view)
    task = asyncio.ensure_future(app(*triple_over(path, channel, **scope)))
    await turns(20 + 10 * len(messages))
    channel.feed(D(1001))
    await soon(task)
    return channel


async def answers(path: str, view: type[SocketView], *messages: str | bytes) -> list[Any]:
    """Return what is answered in JSON."""
    channel = await met(path, view, *messages)
    assert channel.closes == []
    return [msgspec.json.decode(data) for data in channel.data]


def unpacked(channel: FakeChannel) -> list[Any]:
    """Return what was answered in MessagePack."""
    return [msgspec.msgpack.decode(data) for data in channel.data if isinstance(data, bytes)]


def problem(message: str, where: str = "$.type", ref: Any = None) -> dict[str, Any]:
    """What the client is told of a message."""
    return {"type": "error", "ref": ref, "errors": [{"path": where, "message": message}]}


# Which method


async def test_each_message_goes_to_the_method_for_its_type(path: str) -> None:
    messages = '{"type":"say","text":"hi"}', '{"type":"raw","x":[1]}', '{"text":"b","type":"say"}'
    assert await answers(path, Chat, *messages) == [
        ["say", "hi"],
        ["raw", {"type": "raw", "x": [1]}],
        ["say", "b"],
    ]


async def test_a_method_may_end_the_connection(path: str) -> None:
    channel = await met(path, Chat, '{"type":"leave"}', '{"type":"say","text":"unread"}')
    assert channel.closes == [(4000, "")]
    assert channel.data == []


async def test_a_method_may_be_for_several_types_of_which_some_are_numbers(path: str) -> None:
    values = [{"type": "raw"}, {"type": 5}, {"type": "5"}]
    sent = [msgspec.json.encode(value).decode() for value in values]
    assert await answers(path, Chat, *sent) == [["raw", value] for value in values]


async def test_a_binary_message_is_json_too(path: str) -> None:
    assert await answers(path, Chat, b'{"type":"say","text":"hi"}') == [["say", "hi"]]


async def test_messages_are_handled_one_after_the_other_whatever_their_type(path: str) -> None:
    log: list[str] = []

    class View(SocketView):
        @on("slow")
        async def slow(self, data: Any) -> None:
            log.append("slow")
            await turns(5)
            log.append("slow is done")

        @on("fast")
        async def fast(self, data: Any) -> None:
            log.append("fast")

    await met(path, View, '{"type":"slow"}', '{"type":"fast"}')
    assert log == ["slow", "slow is done", "fast"]


async def test_a_tag_may_be_a_number(path: str) -> None:
    class View(SocketView):
        @on
        async def seven(self, data: Seven) -> str:
            return data.text

    channel = await met(path, View, '{"type":7,"text":"hi"}', '{"type":"7","text":"hi"}')
    assert channel.data[0] == "hi"
    assert msgspec.json.decode(channel.data[1]) == problem("'7' is none of 7")


async def test_the_field_of_the_type_can_be_chosen(path: str) -> None:
    class View(SocketView):
        discriminator = "kind"

        @on
        async def move(self, data: Move) -> int:
            return data.to

        @on("stay")
        async def stay(self, data: dict[str, Any]) -> Any:
            return data

    messages = '{"kind":"move","to":3}', '{"kind":"stay","type":"move"}', '{"type":"move"}'
    assert await answers(path, View, *messages) == [
        3,
        {"kind": "stay", "type": "move"},
        problem("Object missing required field `kind`", "$"),
    ]


@pytest.mark.parametrize("field", ["", "a b", "日本", "data", "self", "$"])
async def test_the_field_of_the_type_may_have_any_name(field: str) -> None:
    class View(SocketView):
        discriminator = field

        @on("x")
        async def x(self, data: Any) -> str:
            return "seen"

    channel = await met("asgi", View, msgspec.json.encode({field: "x"}).decode())
    assert channel.data == ["seen"]


async def test_a_struct_keeps_a_tag_that_is_in_another_field(path: str) -> None:
    class View(SocketView):
        @on("go")
        async def go(self, data: Move) -> int:
            return data.to

    assert await answers(path, View, '{"type":"go","kind":"move","to":3}') == [3]


async def test_enums_stand_for_their_values(path: str) -> None:
    class Kind(Enum):
        SAY = "say"

    class Number(IntEnum):
        ONE = 1

    class View(SocketView):
        @on(Kind.SAY, Number.ONE)
        async def say(self, data: Any) -> str:
            return "seen"

    channel = await met(path, View, '{"type":"say"}', '{"type":1}', '{"type":"SAY"}')
    assert channel.data[:2] == ["seen", "seen"]
    assert msgspec.json.decode(channel.data[2]) == problem("'SAY' is none of 'say', 1")


# What methods get


async def test_the_message_is_read_as_what_data_is_annotated_with(path: str) -> None:
    class Price(pydantic.BaseModel):
        type: Literal["price"]
        amount: Annotated[int, pydantic.Field(gt=0)]

    class View(SocketView):
        async def price(self, data: Any) -> Any:
            return [type(data).__name__, data]

        price.__annotations__["data"] = Price
        price = on("price")(price)

        @on("text")
        async def text(self, data: str) -> list[str]:
            return [data]

        @on("either")
        async def either(self, data: Untagged | None) -> Any:
            return data

    messages = (
        '{"type":"price","amount":"3"}',
        '{"type":"price","amount":0,"ref":4}',
        '{"type": "text"}',
        '{"type":"either","text":"x"}',
    )
    assert await answers(path, View, *messages) == [
        ["Price", {"type": "price", "amount": 3}],
        problem("Input should be greater than 0", "$.amount", 4),
        ['{"type": "text"}'],
        {"text": "x"},
    ]


async def test_annotations_around_a_struct_do_not_hide_its_tag(path: str) -> None:
    class View(SocketView):
        @on
        async def boxed(self, data: Boxed[int]) -> Any:
            return data.content

        @on
        async def say(self, data: Annotated[Say, msgspec.Meta(title="Say")]) -> Any:
            return [data.text]

    messages = '{"type":"boxed","content":3}', '{"type":"say","text":"a"}', '{"type":"boxed"}'
    assert await answers(path, View, *messages) == [
        3,
        ["a"],
        problem("Object missing required field `content`", "$"),
    ]


# What does not fit


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"type":"tell"}', problem("'tell' is none of …")),
        ('{"type":"tell","ref":"a"}', problem("'tell' is none of …", ref="a")),
        ('{"type":true}', problem("True is none of …")),
        ('{"type":5.0}', problem("5.0 is none of …")),
        ('{"type":null}', problem("None is none of …")),
        ('{"type":["say"]}', problem("['say'] is none of …")),
        ('{"type":{"say":1}}', problem("{'say': 1} is none of …")),
        ('{"type":""}', problem("'' is none of …")),
        ('{"type":"SAY"}', problem("'SAY' is none of …")),
        ("{}", problem("Object missing required field `type`", "$")),
        ("[]", problem("Expected `object`, got `array`", "$")),
        ('"say"', problem("Expected `object`, got `str`", "$")),
        ('{"type":"say"}', problem("Object missing required field `text`", "$")),
        ('{"type":"say","text":1,"ref":2}', problem("Expected `str`, got `int`", "$.text", 2)),
    ],
)
async def test_the_client_is_told_what_does_not_fit(
    path: str, message: str, expected: dict[str, Any]
) -> None:
    told, after = await answers(path, Chat, message, '{"type":"say","text":"after"}')
    for error in told["errors"]:
        error["message"] = error["message"].replace("'leave', 'raw', 5, '5', 'say'", "…")
    assert told == expected
    assert after == ["say", "after"]


@pytest.mark.parametrize(
    "tag", ["1" * 4000, "1" * 5000, "1e400", "[" * 5000, '"' + "a" * 100_000 + '"', '"\\ud800"']
)
async def test_a_huge_or_broken_type_is_told_in_short(path: str, tag: str) -> None:
    channel = await met(path, Chat, f'{{"type":{tag}}}', '{"type":"say","text":"after"}')
    told, after = channel.data
    assert len(told) < 250
    assert msgspec.json.decode(told)["type"] == "error"
    assert after == '["say","after"]'


class Strict(Chat):
    on_invalid = "close"


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ('{"type":"tell"}', 1003, "$.type: 'tell' is none of 'leave', 'raw', 5, '5', 'say'"),
        ('{"type":"say"}', 1003, "$: Object missing required field `text`"),
        ('{"type":', 1007, "$: Input data was truncated"),
        (b"\xff", 1007, "$: JSON is malformed: invalid character (byte 0)"),
    ],
)
async def test_the_connection_is_closed_at_once_where_the_view_says_so(
    path: str, message: str | bytes, code: int, reason: str
) -> None:
    channel = await met(path, Strict, message, '{"type":"say","text":"unread"}')
    assert channel.closes == [(code, reason)]
    assert channel.data == []


async def test_an_invalid_message_is_an_exception_where_the_view_says_so(path: str) -> None:
    class Raising(Chat):
        on_invalid = "raise"

    channel = await met(path, Raising, '{"type":"tell"}', '{"type":"say","text":"unread"}')
    assert channel.closes == [(1008, "")]
    assert channel.data == []


async def test_too_many_invalid_messages_in_a_row_close_the_connection(path: str) -> None:
    class Impatient(Chat):
        max_invalid = 2

    bad, good = '{"type":"tell"}', '{"type":"say","text":"x"}'
    channel = await met(path, Impatient, bad, good, bad, '{"type":"say"}', good)
    assert len(channel.data) == 4
    assert channel.closes == [(1003, "$: Object missing required field `text`")]


async def test_what_does_not_fit_is_logged_as_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telex")
    await met(path, Chat, '{"type":"tell"}')
    [line] = [each for each in caplog.records if "does not fit" in each.getMessage()]
    assert line.levelname == "INFO"


async def test_an_error_of_a_method_is_not_taken_for_one_of_the_client(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SocketView):
        @on("x")
        async def x(self, data: Any) -> None:
            raise ValueError("of the method")

    channel = await met(path, Failing, '{"type":"x"}')
    assert channel.closes == [(1011, "")]
    [record] = [each for each in caplog.records if each.exc_info]
    assert "of the method" in str(record.exc_info)


# Codecs


@pytest.mark.parametrize("offered", [["msgpack", "json"], ["unknown", "msgpack"]])
async def test_messages_are_read_and_answered_by_the_agreed_codec(
    path: str, offered: list[str]
) -> None:
    app = App(codecs={"json": JSON(), "msgpack": MessagePack()})
    messages = [
        msgspec.msgpack.encode({"type": "say", "text": "hi"}),
        msgspec.msgpack.encode({"type": 5}),
        msgspec.msgpack.encode({"type": "tell", "ref": 1}),
    ]
    channel = await met(path, Chat, *messages, app=app, subprotocols=offered)
    said, raw, told = unpacked(channel)
    assert (said, raw) == (["say", "hi"], ["raw", {"type": 5}])
    assert told == problem("'tell' is none of 'leave', 'raw', 5, '5', 'say'", ref=1)


async def test_text_is_no_messagepack(path: str) -> None:
    app = App(codec=MessagePack())
    channel = await met(path, Chat, '{"type":"say","text":"hi"}', b"\xc1", app=app)
    text, junk = unpacked(channel)
    assert text == problem("expected MessagePack in a binary message, got text", "$")
    assert junk["errors"][0]["path"] == "$"


async def test_typed_text_has_types_too(path: str) -> None:
    app = App(codec=TYTX())
    channel = await met(
        path, Chat, '{"type":"say","text":"hi"}', '{"type":"a\\ud800"}', '{"type":7}', app=app
    )
    assert channel.data[0] == '["say","hi"]'
    assert len(channel.data) == 3
    assert channel.closes == []


# Subclasses


class Base(SocketView):
    @on("say")
    async def say(self, data: Any) -> str:
        return "base"

    @on
    async def boxed(self, data: Boxed[int]) -> str:
        return "boxed"


def saying(view: type[SocketView]) -> Any:
    return met("asgi", view, '{"type":"say"}', '{"type":"tell"}', '{"type":"boxed","content":1}')


def short(channel: FakeChannel) -> list[str]:
    """What was answered, errors in brief."""
    return ["error" if str(each).startswith("{") else str(each) for each in channel.data]


async def test_methods_are_inherited_and_others_can_be_added() -> None:
    class Telling(Base):
        @on("tell")
        async def tell(self, data: Any) -> str:
            return "told"

    assert short(await saying(Telling)) == ["base", "told", "boxed"]
    assert short(await saying(Base)) == ["base", "error", "boxed"]


async def test_overriding_a_method_keeps_its_types() -> None:
    class Other(Base):
        async def say(self, data: Any) -> str:
            return f"not {await super().say(data)}"

        async def boxed(self, data: Boxed[str]) -> str:  # type: ignore[override]
            return "reboxed"

    class Further(Other):
        async def say(self, data: Any) -> str:
            return "further"

    assert short(await saying(Other)) == ["not base", "error", "error"]
    assert short(await saying(Further)) == ["further", "error", "error"]


async def test_overriding_a_method_with_on_gives_it_other_types() -> None:
    class Other(Base):
        @on("tell")
        async def say(self, data: Any) -> str:
            return "told"

    assert short(await saying(Other)) == ["error", "told", "boxed"]


async def test_a_method_is_taken_away_by_none() -> None:
    class Mute(Base):
        say = None  # type: ignore[assignment]

    class Loud(Mute):
        @on("tell")
        async def shout(self, data: Any) -> str:
            return "loud"

    assert short(await saying(Mute)) == ["error", "error", "boxed"]
    assert short(await saying(Loud)) == ["error", "loud", "boxed"]


async def test_methods_can_be_mixed_in() -> None:
    class Telling:
        @on("tell")
        async def tell(self, data: Any) -> str:
            return type(self).__name__

    class Both(Telling, Base):
        pass

    assert short(await saying(Both)) == ["base", "Both", "boxed"]


async def test_a_subclass_may_choose_another_field() -> None:
    class Base(SocketView):
        @on("say")
        async def say(self, data: Any) -> str:
            return "base"

    class Kind(Base):
        discriminator = "kind"

    channel = await met("asgi", Kind, '{"kind":"say"}', '{"type":"say"}')
    assert short(channel) == ["base", "error"]


def test_a_subclass_of_a_tagged_struct_view_must_agree_with_its_field() -> None:
    with pytest.raises(TypeError, match=r"the tag of Say is in 'type', the type of .* in 'kind'"):
        type("Kind", (Chat,), {"discriminator": "kind"})


# Registration


def view_with(**methods: Any) -> type[SocketView]:
    return type("View", (SocketView,), methods)


def taking(hint: Any) -> Any:
    """An async method whose `data` is annotated with something."""

    async def method(self: Any, data: Any) -> None: ...

    method.__annotations__["data"] = hint
    return method


def nothing_to_fill() -> Any:
    @on("x")
    async def method(self: Any) -> None: ...

    return method


def not_async() -> Any:
    @on("x")
    def method(self: Any, data: Any) -> None: ...

    return method


def static() -> Any:
    async def method(data: Any) -> None: ...

    return on("x")(staticmethod(method))


def of_the_class() -> Any:
    return classmethod(on("x")(taking(Any)))


class Row(msgspec.Struct, tag="row", array_like=True):
    x: int


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (on(taking(Any)), "@on without a type needs `data` annotated with a msgspec Struct"),
        (on(taking(Untagged)), "@on without a type needs `data` annotated with a msgspec Struct"),
        (on(taking(Say | Leave)), "@on without a type needs `data` annotated with a msgspec Str"),
        (on(taking(Move)), "the tag of Move is in 'kind', the type of messages in 'type'"),
        (on("tell")(taking(Say)), "for messages of type 'tell', but Say has the tag 'say'"),
        (on("say", "tell")(taking(Say)), "for messages of type 'tell', but Say has the tag 'say'"),
        (on("7")(taking(Seven)), "for messages of type '7', but Seven has the tag 7"),
        (on("x")(taking(Boxed[int])), "for messages of type 'x', but Boxed has the tag 'boxed'"),
        (on(taking(Row)), "Row is array_like, and an array has no 'type'"),
        (nothing_to_fill(), "it needs a parameter 'data', annotated with what a message is"),
        (static(), "it needs a parameter 'data'"),
        (of_the_class(), "it needs a parameter 'data'"),
        (not_async(), "it must be an async function or an async generator function"),
    ],
)
def test_a_method_that_cannot_be_called_is_refused_when_the_class_is_made(
    method: Any, reason: str
) -> None:
    with pytest.raises(TypeError) as caught:
        view_with(method=method)
    assert reason in str(caught.value)


@pytest.mark.parametrize("tag", [None, True, 1.0, b"x", ("x",), ["x"], Say, classmethod(taking)])
def test_another_type_than_str_and_int_is_refused_at_once(tag: Any) -> None:
    with pytest.raises(TypeError, match="@on: the type of a message is a str or an int, not"):
        on("x", tag)
    with pytest.raises(TypeError, match="@on: the type of a message is a str or an int, not"):
        on(tag)


@pytest.mark.parametrize("tags", [("say",), ("x", "say")])
def test_two_methods_for_one_type_are_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match=r"messages of type 'say' go to 'first' already"):
        view_with(first=on("say")(taking(Any)), second=on(*tags)(taking(Any)))
    with pytest.raises(TypeError, match=r"messages of type 'say' go to 'first' already"):
        view_with(first=on(taking(Say)), second=on(*tags)(taking(Any)))


def test_a_type_given_twice_is_refused() -> None:
    with pytest.raises(TypeError, match=r"messages of type 1 go to 'first' already"):
        view_with(first=on(1, 1)(taking(Any)))


def test_methods_beside_on_receive_are_refused() -> None:
    async def on_receive(self: Any, data: Any) -> None: ...

    with pytest.raises(TypeError, match="View has methods with @on beside its on_receive"):
        view_with(say=on("say")(taking(Any)), on_receive=on_receive)
    with pytest.raises(TypeError, match="View has methods with @on beside its on_receive"):
        view_with(on_receive=on("say")(taking(Any)))


@pytest.mark.parametrize("policy", ["ignore", "", None])
def test_another_policy_is_refused(policy: Any) -> None:
    with pytest.raises(ValueError, match=r"on_invalid must be one of 'reply', 'close', 'raise'"):
        view_with(say=on("say")(taking(Any)), on_invalid=policy)


def test_a_number_of_invalid_messages_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_invalid must be at least 1, not 0"):
        view_with(say=on("say")(taking(Any)), max_invalid=0)


@pytest.mark.parametrize("field", [None, 5, ("type",)])
def test_a_field_without_a_name_is_refused(field: Any) -> None:
    with pytest.raises(TypeError, match=r"View\.discriminator must be a str, not "):
        view_with(say=on("say")(taking(Any)), discriminator=field)


def test_a_field_that_json_cannot_name_as_it_is_is_refused() -> None:
    with pytest.raises(ValueError, match="field names must not contain"):
        view_with(say=on("say")(taking(Any)), discriminator='"')


def test_a_parameter_that_nothing_fills_is_refused_at_registration() -> None:
    class View(SocketView):
        @on("say")
        async def say(self, data: Any, room: str) -> None: ...

    with pytest.raises(TypeError, match=r"say: parameter 'room' is none of the path '/'"):
        App().websocket("/")(View)


def test_on_returns_the_method_itself() -> None:
    method = taking(Say)
    assert on(method) is method
    assert on("say")(method) is method


async def test_query_and_path_are_there_for_every_message() -> None:
    class View(SocketView):
        @on("say")
        async def say(self, data: Any, room: str, limit: Annotated[int, Query()] = 5) -> list[Any]:
            return [room, limit]

    async with connected(serving(View, "/{room}"), "/a?limit=7") as ws:
        for _ in range(2):
            await ws.send_text('{"type":"say"}')
            assert await ws.receive_json() == ["a", 7]
