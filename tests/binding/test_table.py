"""Signatures and inputs: what a handler gets, or the exact error, from end to end."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypeAlias, TypedDict

import msgspec
import pydantic
import pytest
from annotated_types import Gt
from msgspec import Meta, Struct
from typing_extensions import TypeAliasType

from clients import connected, rejection
from telex import App, Cookie, Header, Path, Query, WebSocket
from telex.exceptions import BindingError

got: list[Any] = []

NOTHING: Any = object()
DAY, MOMENT = date(2024, 2, 29), datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
NO_INT = "Expected `int`, got `str`"

UserId = NewType("UserId", int)
Limit: TypeAlias = Annotated[int, Query()]
Named = TypeAliasType("Named", Annotated[int, Query(alias="n")])


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Filters(Struct):
    limit: int
    tags: list[str] = []
    order: Literal["new", "old"] = "new"


class Renamed(Struct, rename="camel"):
    page_size: Annotated[int, Meta(ge=1)] = 10
    odd: str = msgspec.field(default="", name="a.b[0]")


@dataclasses.dataclass
class Range:
    start: int
    stop: int | None = None
    steps: list[int] = dataclasses.field(default_factory=list)


class Page(TypedDict):
    number: int
    sizes: NotRequired[list[int]]


class Model(pydantic.BaseModel):
    limit: int = pydantic.Field(ge=0)
    tags: list[str] = []
    user: str = pydantic.Field("", validation_alias=pydantic.AliasChoices("user", "userName"))


def model(limit: int, *tags: str, user: str = "") -> Model:
    return Model.model_validate({"limit": limit, "tags": tags, "user": user})


class Ordered(Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"{self.low} is above {self.high}")


class Credentials(Struct):
    x_token: int
    other: int = msgspec.field(default=0, name="x_other")

    def __post_init__(self) -> None:
        if self.x_token < 0:
            raise ValueError(f"bad token {self.x_token}")


class Opaque:
    """A class that nothing can be made into."""


class Pair(NamedTuple):
    a: int
    b: int


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    got.clear()


def app_with(hint: Any, default: Any = NOTHING, path: str = "/") -> App:
    """Return an application whose handler has one parameter."""

    async def handler(it: Any) -> None:
        got.append(it)

    handler.__annotations__["it"] = hint
    if default is not NOTHING:
        handler.__defaults__ = (default,)
    if hint is NOTHING:
        del handler.__annotations__["it"]
    app = App()
    app.websocket(path)(handler)
    return app


async def value_of(app: App, url: str, **request: Any) -> Any:
    """Return what the handler got; it does not accept, which is a 403."""
    assert (await rejection(app, url, **request)).status == 403
    [value] = got
    return value


async def errors_of(app: App, url: str, **request: Any) -> list[tuple[str, str, str, Any]]:
    """Return the errors in a rejection with 422, as tuples."""
    refused = await rejection(app, url, **request)
    assert (refused.status, got) == (422, [])
    assert refused.headers["content-type"] == "application/json"
    body = refused.json()
    assert body.keys() == {"errors"}
    for each in body["errors"]:
        assert [*each] == ["in", "name", "message", "value"]
    return [tuple(each.values()) for each in body["errors"]]


def query(tp: Any, *extras: Any) -> Any:
    return Annotated[tp, Query(), *extras]


# Values


@pytest.mark.row("K50", "Z23", "T63")
@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (query(str), "it=a+b%26c", "a b&c"),
        (query(str), "it=", ""),
        (query(str), "it", ""),
        (query(str), "it=null", "null"),
        (query(str), "it=%FF", "\ufffd"),
        (query(str), "it=first&it=last", "first"),
        (query(Any), "it=5", "5"),
        (query(int), "it=-5", -5),
        (query(int), "it=5&it=6", 5),
        (query(int), "it=5&it=x", 5),
        (query(int), f"it={10**30}", 10**30),
        (query(UserId), "it=5", 5),
        (query(float), "it=1.5", 1.5),
        (query(float), "it=2", 2.0),
        (query(float), "it=inf", float("inf")),
        (query(bool), "it=true", True),
        (query(bool), "it=1", True),
        (query(bool), "it=False", False),
        (query(bool), "it=0", False),
        (query(bytes), "it=aGk%3D", b"hi"),
        (query(date), "it=2024-02-29", DAY),
        (query(datetime), "it=2024-02-29T12:30:00Z", MOMENT),
        (query(datetime), "it=2024-02-29T13:30:00%2B01:00", MOMENT),
        (query(datetime), f"it={int(MOMENT.timestamp())}", MOMENT),
        (query(time), "it=12:30:00", time(12, 30)),
        (query(timedelta), "it=PT90S", timedelta(seconds=90)),
        (query(timedelta), "it=90", timedelta(seconds=90)),
        (query(uuid.UUID), f"it={ID}", ID),
        (query(uuid.UUID), f"it={ID.hex}", ID),
        (query(Decimal), "it=0.10", Decimal("0.10")),
        (query(Colour), "it=red", Colour.RED),
        (query(Level), "it=2", Level.HIGH),
        (query(Literal["a", "b"]), "it=b", "b"),
        (query(Literal[1, 2]), "it=2", 2),
        (query(Literal["a"] | None), "it=null", None),
        (query(int | None), "it=5", 5),
        (query(int | None), "it=null", None),
        (query(int | None), "it=5&it=6", 5),
        (query(str | None), "it=null", "null"),
        (query(int | bool), "it=true", True),
        (query(int | bool), "it=5", 5),
        (query(int | str), "it=5", "5"),
        (query(int | uuid.UUID), f"it={ID}", ID),
        (query(int, Meta(ge=0, le=9)), "it=9", 9),
        (query(str, Meta(pattern="^[a-z]+$")), "it=abc", "abc"),
        (query(int, pydantic.Field(ge=0)), "it=9", 9),
        (query(pydantic.PositiveInt), "it=9", 9),
        (query(list[str]), "it=a", ["a"]),
        (query(list[str]), "it=a&x=y&it=b", ["a", "b"]),
        (query(list[int]), "it=5", [5]),
        (query(list[int] | None), "it=5&it=6", [5, 6]),
        (query(list[date]), "it=2024-02-29", [DAY]),
        (query(list[Colour]), "it=red&it=green", [Colour.RED, Colour.GREEN]),
        (query(list[int | None]), "it=5&it=null", [5, None]),
        (query(list), "it=5", ["5"]),
        (query(Sequence[int]), "it=5", [5]),
        (query(set[int]), "it=5&it=5", {5}),
        (query(frozenset[str]), "it=a", frozenset({"a"})),
        (query(tuple[int, ...]), "it=1&it=2&it=3", (1, 2, 3)),
        (query(tuple[int, str]), "it=1&it=a", (1, "a")),
        (query(list[int], Meta(max_length=2)), "it=1&it=2", [1, 2]),
        (Annotated[int, Query], "it=5", 5),
        (Annotated[int, Query(alias="page-size")], "page-size=5&it=6", 5),
        (Annotated[int, Query(alias="päge [0]")], "p%C3%A4ge+%5B0%5D=5", 5),
        (Annotated[list[int], Query(alias="ids[]")], "ids[]=5", [5]),
        (Annotated[int, Meta(ge=0), Query(), "documented"], "it=5", 5),
        (Limit, "it=5", 5),
        (Named, "n=5", 5),
        ("Annotated[int, Query()]", "it=5", 5),
        (query(Filters), "limit=5&x=y", Filters(5)),
        (query(Filters), "limit=5&tags=a&tags=b&order=old", Filters(5, ["a", "b"], "old")),
        (query(Filters | None), "limit=5&limit=6", Filters(5)),
        (query(Renamed), "pageSize=5&page_size=6&a.b[0]=z", Renamed(5, "z")),
        (query(Range), "start=1&steps=2&steps=3", Range(1, None, [2, 3])),
        (query(Range), "start=1&stop=2", Range(1, 2)),
        (query(Page), "number=1&other=2", {"number": 1}),
        (query(Page), "number=1&sizes=2", {"number": 1, "sizes": [2]}),
        (
            query(Model),
            "limit=5&tags=a&userName=Ada",
            model(5, "a", user="Ada"),
        ),
        (query(Model | None), "limit=5", model(5)),
        (query(dict[str, str]), "a=1&b=2&a=3", {"a": "1", "b": "2"}),
        (query(dict[str, int]), "a=1", {"a": 1}),
        (query(dict[str, list[int]]), "a=1&a=2&b=3", {"a": [1, 2], "b": [3]}),
        (query(dict[int, str]), "5=a", {5: "a"}),
        (query(dict), "", {}),
    ],
)
async def test_a_query_becomes_a_value(hint: Any, text: str, value: Any) -> None:
    result = await value_of(app_with(hint), f"/?{text}")
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("hint", "headers", "value"),
    [
        (Annotated[str, Header()], [("it", "a"), ("It", "b")], "a"),
        (Annotated[int, Header(alias="X-Api-Version")], {"x-api-version": "2"}, 2),
        (Annotated[int, Header(alias="x_token")], {"x_token": "2", "x-token": "3"}, 2),
        (Annotated[list[str], Header(alias="x-a")], [("x-a", "1"), ("x-a", "2")], ["1", "2"]),
        (Annotated[str, Header()], [("it", b"\xe9\xff")], "éÿ"),
        (Annotated[Credentials, Header()], {"x-token": "1", "x_other": "2"}, Credentials(1, 2)),
    ],
)
async def test_a_header_becomes_a_value(hint: Any, headers: Any, value: Any) -> None:
    assert await value_of(app_with(hint), "/", headers=headers) == value


async def test_the_underscores_of_a_parameter_are_hyphens_in_a_header() -> None:
    async def handler(user_agent: Annotated[str, Header()]) -> None:
        got.append(user_agent)

    app = App()
    app.websocket("/")(handler)
    assert await value_of(app, "/", headers={"user-agent": "me", "user_agent": "you"}) == "me"


async def test_a_dictionary_takes_all_headers() -> None:
    app = app_with(Annotated[dict[str, str], Header()])
    value = await value_of(app, "/", headers=[("X-A", "1"), ("x-a", "2")])
    assert value["x-a"] == "1"
    assert "host" in value


@pytest.mark.parametrize(
    ("hint", "cookies", "value"),
    [
        (Annotated[str, Cookie()], {"it": "a"}, "a"),
        (Annotated[int, Cookie(alias="session_id")], {"session_id": "5"}, 5),
        (Annotated[list[int], Cookie()], {"it": "5"}, [5]),
        (Annotated[Filters, Cookie()], {"limit": "5", "tags": "a"}, Filters(5, ["a"])),
        (Annotated[dict[str, str], Cookie()], {"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
    ],
)
async def test_a_cookie_becomes_a_value(hint: Any, cookies: Any, value: Any) -> None:
    assert await value_of(app_with(hint), "/", cookies=cookies) == value


@pytest.mark.parametrize(
    ("hint", "path", "url", "value"),
    [
        (str, "/{it}", "/a%20b", "a b"),
        (int, "/{it}", "/5", 5),
        (int, "/{it:int}", "/5", 5),
        (str, "/{it:int}", "/5", "5"),
        (NOTHING, "/{it:int}", "/5", 5),
        (Any, "/{it:int}", "/5", 5),
        (float, "/{it:int}", "/5", 5.0),
        (Colour, "/{it}", "/red", Colour.RED),
        (uuid.UUID, "/{it:uuid}", f"/{ID}", ID),
        (uuid.UUID, "/{it}", f"/{ID}", ID),
        (date, "/{it}", "/2024-02-29", DAY),
        (Annotated[int, Meta(le=9)], "/{it}", "/9", 9),
        (Annotated[int, Path()], "/{it}", "/9", 9),
        (Annotated[int, Path(alias="room")], "/{room}", "/9", 9),
        (Annotated[Range, Path()], "/{start}/{stop}", "/1/2", Range(1, 2)),
        (Annotated[dict[str, str], Path()], "/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
    ],
)
async def test_a_path_parameter_becomes_a_value(hint: Any, path: str, url: str, value: Any) -> None:
    result = await value_of(app_with(hint, path=path), url)
    assert (result, type(result)) == (value, type(value))


# Defaults


@pytest.mark.row("K50")
@pytest.mark.parametrize(
    ("hint", "default", "value"),
    [
        (query(int), 5, 5),
        (query(int | None), None, None),
        (query(int), "not converted", "not converted"),
        (Annotated[int, Query(3)], NOTHING, 3),
        (Annotated[int | None, Query(None)], NOTHING, None),
        (Annotated[int | None, Query(default=None)], NOTHING, None),
        (Annotated[list[int], Query(default_factory=list)], NOTHING, []),
        (Annotated[list[int], Query()], [1], [1]),
        (Annotated[str, Header()], "h", "h"),
        (Annotated[str, Cookie("c")], NOTHING, "c"),
        (Annotated[str, Path()], "p", "p"),
        (str, "left alone", "left alone"),
        (Opaque, None, None),
        (query(Filters), Filters(9), Filters(9)),
        (query(Filters | None), None, None),
        (query(Range), Range(1), Range(1)),
        (query(dict[str, int]), {"a": 1}, {"a": 1}),
        (query(Model | None), None, None),
    ],
)
async def test_a_default_is_used_where_nothing_is_given(
    hint: Any, default: Any, value: Any
) -> None:
    assert await value_of(app_with(hint, default), "/") == value


async def test_an_empty_value_is_not_an_absent_one() -> None:
    errors = await errors_of(app_with(query(int), 5), "/?it=")
    assert errors == [("query", "it", NO_INT, "")]


async def test_a_default_for_everything_is_not_mixed_with_what_is_given() -> None:
    errors = await errors_of(app_with(query(Filters), Filters(9)), "/?tags=a")
    assert errors == [("query", "limit", "required", None)]


@pytest.mark.parametrize("hint", [query(list[int]), Annotated[list[int], Query([1])]])
async def test_connections_do_not_share_a_default(hint: Any) -> None:
    app = app_with(hint, [1] if hint.__metadata__[0].default is ... else NOTHING)
    for _ in range(2):
        (await value_of(app, "/")).append(2)
        assert got.pop() == [1, 2]


async def test_a_factory_is_called_for_each_connection() -> None:
    numbers = iter(range(9))
    app = app_with(Annotated[int, Query(default_factory=numbers.__next__)])
    for url, value in (("/", 0), ("/?it=7", 7), ("/", 1)):
        assert await value_of(app, url) == value
        got.clear()


async def test_a_parameter_with_a_default_is_filled_when_the_path_has_it() -> None:
    assert await value_of(app_with(int, 5, "/{it}"), "/7") == 7


# Errors


@pytest.mark.row("T63")
@pytest.mark.parametrize(
    ("hint", "text", "message", "value"),
    [
        (query(str), "", "required", None),
        (query(int | None), "", "required", None),
        (query(list[int]), "", "required", None),
        (query(int), "it=x", NO_INT, "x"),
        (query(int), "it=", NO_INT, ""),
        (query(int), "it=+5", NO_INT, " 5"),
        (query(int), "it=1.5", NO_INT, "1.5"),
        (query(int), "it=1_000", NO_INT, "1_000"),
        (query(int), "it=%D9%A3", NO_INT, "٣"),
        (query(int), "it=x&it=5", NO_INT, "x"),
        (query(int), f"it={'9' * 5000}", "Integer value out of range", f"{'9' * 200}…"),
        (query(float), "it=1e999", "Number out of range", "1e999"),
        (query(bool), "it=yes", "Expected `bool`, got `str`", "yes"),
        (query(bool), "it", "Expected `bool`, got `str`", ""),
        (query(date), "it=2023-02-29", "Invalid RFC3339 encoded date", "2023-02-29"),
        (query(datetime), "it=now", "Invalid RFC3339 encoded datetime", "now"),
        (query(uuid.UUID), "it=1", "Invalid UUID", "1"),
        (query(Decimal), "it=x", "Invalid decimal string", "x"),
        (query(bytes), "it=!", "Invalid base64 encoded string", "!"),
        (query(Colour), "it=blue", "Invalid enum value 'blue'", "blue"),
        (query(Colour), "it=RED", "Invalid enum value 'RED'", "RED"),
        (query(Colour), "it=%00%22", "Invalid enum value '\\x00\"'", '\x00"'),
        (query(Level), "it=3", "Invalid enum value 3", "3"),
        (query(Literal["a"]), "it=b", "Invalid enum value 'b'", "b"),
        (query(int | None), "it=x", "Expected `int | null`, got `str`", "x"),
        (query(int, Meta(ge=0)), "it=-1", "Expected `int` >= 0", "-1"),
        (query(str, Meta(max_length=2)), "it=abc", "Expected `str` of length <= 2", "abc"),
        (
            query(int, pydantic.Field(ge=0)),
            "it=-1",
            "Input should be greater than or equal to 0",
            "-1",
        ),
        (Annotated[int, Gt(3), Query()], "it=3", "Input should be greater than 3", "3"),
        (query(list[int]), "it=1&it=x", NO_INT, ["1", "x"]),
        (query(list[pydantic.PositiveInt]), "it=0", "Input should be greater than 0", ["0"]),
        (query(list[int]), "&".join(["it=x"] * 99), NO_INT, ["x"] * 10),
        (query(tuple[int, int]), "it=1", "Expected `array` of length 2, got 1", ["1"]),
        (
            query(list[int], Meta(max_length=1)),
            "it=1&it=2",
            "Expected `array` of length <= 1",
            ["1", "2"],
        ),
    ],
)
async def test_a_query_that_does_not_fit_is_refused_with_422(
    hint: Any, text: str, message: str, value: Any
) -> None:
    assert await errors_of(app_with(hint), f"/?{text}") == [("query", "it", message, value)]


@pytest.mark.parametrize(
    ("hint", "text", "errors"),
    [
        (query(Filters), "", [("limit", "required", None)]),
        (
            query(Filters),
            "limit=x&tags=a&order=up",
            [("limit", NO_INT, "x"), ("order", "Invalid enum value 'up'", "up")],
        ),
        (
            query(Renamed),
            "pageSize=0&a.b[0]=z",
            [("pageSize", "Expected `int` >= 1", "0")],
        ),
        (
            query(Range),
            "stop=x&steps=1&steps=y",
            [
                ("start", "required", None),
                ("stop", "Expected `int | null`, got `str`", "x"),
                ("steps", NO_INT, ["1", "y"]),
            ],
        ),
        (query(Page), "sizes=x", [("number", "required", None), ("sizes", NO_INT, ["x"])]),
        (query(Ordered), "low=2&high=1", [("it", "2 is above 1", None)]),
        (
            query(Model),
            "tags=a",
            [("limit", "required", None)],
        ),
        (
            query(Model),
            "limit=-1",
            [("limit", "Input should be greater than or equal to 0", "-1")],
        ),
        (
            query(dict[str, int]),
            "a=1&b=x&it=y",
            [("b", NO_INT, "x"), ("it", NO_INT, "y")],
        ),
        (query(dict[str, list[int]]), "a.b=1&a.b=x", [("a.b", NO_INT, ["1", "x"])]),
    ],
)
async def test_every_field_of_a_query_that_does_not_fit_is_named(
    hint: Any, text: str, errors: list[tuple[str, str, Any]]
) -> None:
    found = await errors_of(app_with(hint), f"/?{text}")
    assert found == [("query", *each) for each in errors]


async def test_the_errors_of_one_dictionary_are_limited_in_number_and_size() -> None:
    text = "&".join(f"{'n' * 300}{n}=x" for n in range(99))
    found = await errors_of(app_with(query(dict[str, int])), f"/?{text}")
    assert found == [("query", f"{'n' * 200}…", NO_INT, "x")]
    found = await errors_of(
        app_with(query(dict[str, int])), "/?" + "&".join(f"n{n}=x" for n in range(99))
    )
    assert [name for _, name, _, _ in found] == [f"n{n}" for n in range(20)]


async def test_a_message_does_not_repeat_all_of_a_huge_value() -> None:
    [(_, _, message, value)] = await errors_of(app_with(query(Colour)), f"/?it={'x' * 9999}")
    assert message == f"Invalid enum value '{'x' * 180}…"
    assert value == f"{'x' * 200}…"


async def test_lone_surrogates_in_a_path_can_be_told() -> None:
    app = app_with(int, path="/{it}")
    errors = await errors_of(app, "/x", scope={"path": "/\udc80"})
    assert errors == [("path", "it", "Invalid Unicode", "\udc80")]


async def test_a_number_that_json_has_not_can_be_told() -> None:
    app = app_with(Annotated[int, Path(alias="n")], path="/{n}")
    assert await errors_of(app, "/nan") == [("path", "n", NO_INT, "nan")]
    app = app_with(Annotated[float, Meta(le=1)], path="/{it:float}")
    assert await errors_of(app, "/1.5") == [("path", "it", "Expected `float` <= 1.0", "1.5")]


async def test_all_parameters_are_told_in_the_order_of_the_signature() -> None:
    async def handler(
        ws: WebSocket,
        cookie: Annotated[int, Cookie()],
        header: Annotated[int, Header()],
        room: int,
        limit: Annotated[int, Query()],
        filters: Annotated[Filters, Query()],
        fine: Annotated[int, Query()] = 1,
    ) -> None:
        got.append(ws)

    app = App()
    app.websocket("/{room}")(handler)
    errors = await errors_of(app, "/lobby?limit=&fine=2", headers={"header": "x"})
    assert errors == [
        ("cookie", "cookie", "required", None),
        ("header", "header", "not a valid int", None),
        ("path", "room", NO_INT, "lobby"),
        ("query", "limit", NO_INT, ""),
    ]


async def test_without_the_denial_extension_the_handshake_is_refused_all_the_same() -> None:
    refused = await rejection(app_with(query(int)), "/", scope={"extensions": {}})
    assert (refused.status, refused.body, got) == (403, b"", [])


async def test_a_request_that_fits_is_accepted_by_the_handler() -> None:
    async def handler(ws: WebSocket, limit: Annotated[int, Query()]) -> None:
        async with ws:
            await ws.send_json(limit)

    app = App()
    app.websocket("/")(handler)
    async with connected(app, "/?limit=5") as ws:
        assert await ws.receive_json() == 5


# Secrets

SECRET = "s3cret"


class Mood(enum.Enum):
    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise ValueError(f"no such mood: {value}")

    GOOD = "good"


class Validated(pydantic.BaseModel):
    token: str

    @pydantic.field_validator("token")
    @classmethod
    def check_token(cls, token: str) -> str:
        raise ValueError(f"bad {token}")


class Checked(Struct):
    token: str

    def __post_init__(self) -> None:
        raise ValueError(f"bad {self.token}")


@pytest.mark.parametrize(
    ("tp", "name", "expected"),
    [
        (int, "token", "int"),
        (int | None, "token", "int | None"),
        (list[int], "token", "list[int]"),
        (Annotated[str, Meta(pattern="^right$")], "token", "str"),
        (Colour, "token", "Colour"),
        (Mood, "token", "Mood"),
        (Literal["right"], "token", "Literal"),
        (Annotated[str, pydantic.StringConstraints(pattern="^right$")], "token", "str"),
        (Validated, "token", "Validated"),
        (Checked, "token", "Checked"),
        (dict[str, int], "token", "dict[str, int]"),
    ],
)
@pytest.mark.parametrize("marker", [Header, Cookie])
async def test_a_secret_is_not_echoed(tp: Any, name: str, expected: str, marker: Any) -> None:
    async def handler(token: Any) -> None:
        got.append(token)

    handler.__annotations__["token"] = Annotated[tp, marker()]
    app = App()
    app.websocket("/")(handler)
    refused = await rejection(app, "/", headers={"token": SECRET}, cookies={"token": SECRET})
    assert SECRET not in refused.text
    assert "right" not in refused.text
    where = marker.__name__.lower()
    error = {"in": where, "name": name, "message": f"not a valid {expected}", "value": None}
    assert error in refused.json()["errors"]


@pytest.mark.parametrize("marker", [Header(), Cookie()])
async def test_a_missing_secret_is_called_required(marker: Any) -> None:
    for tp, name in ((str, "it"), (Validated, "token"), (Checked, "token")):
        errors = await errors_of(app_with(Annotated[tp, marker]), "/")
        assert errors == [(marker.where, name, "required", None)]


async def test_the_close_reason_and_the_exception_hold_no_secret() -> None:
    seen: list[str] = []

    async def look(ws: WebSocket, exc: Exception) -> None:
        seen.extend((str(exc), repr(exc)))

    app = app_with(Annotated[Credentials, Header()])
    app.add_exception_handler(BindingError, look)
    await rejection(app, "/", headers={"x-token": "-4711"})
    assert seen[0] == "header it: not a valid Credentials"
    assert all("4711" not in text for text in seen)
