"""Requests and signatures at which binding has gone wrong before."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, NewType, TypeVar

import fastapi
import msgspec
import pydantic
import pytest

from clients import rejection
from depending import handed, serving
from telex import App, Depends, Query, WebSocket

if TYPE_CHECKING:
    from elsewhere import Day  # type: ignore[import-not-found]

T = TypeVar("T")
Positive = Annotated[int, pydantic.Field(gt=0)]
Ids = NewType("Ids", list[int])


@dataclass
class Box:
    n: Positive


class StructBox(msgspec.Struct):
    n: Positive


@dataclass
class Of(Generic[T]):
    it: T


class Filters(msgspec.Struct):
    q: str = "all"
    tags: list[str] = []


NEW = Filters(q="new")


class Inner(pydantic.BaseModel):
    n: int = 1


class Outer(pydantic.BaseModel):
    inner: Inner = Inner()


async def box(ws: WebSocket, it: Annotated[Box, Query()]) -> None:
    await ws.accept()
    await ws.send_json(it.n)


async def since(ws: WebSocket, since: Annotated[datetime, Query()]) -> None:
    await ws.accept()


async def limits(ws: WebSocket, it: Annotated[dict[str, Positive], Query()]) -> None:
    await ws.accept()


async def test_a_constraint_of_pydantic_on_a_field_of_a_dataclass_counts() -> None:
    assert await handed(serving(box), "/?n=5") == 5
    refused = await rejection(serving(box), "/?n=-5")
    assert [each["name"] for each in refused.json()["errors"]] == ["n"]


async def test_very_many_mistakes_are_answered_shortly_and_soon() -> None:
    query = "&".join(f"k{n}=-1" for n in range(5000))
    began = time.process_time()
    refused = await rejection(serving(limits), f"/?{query}")
    assert refused.status == 422
    assert len(refused.body) < 10_000
    assert time.process_time() - began < 1


@pytest.mark.parametrize("seconds", [253402300800, 253402300801, 10**300])
async def test_no_point_in_time_is_an_error_of_the_server(seconds: int) -> None:
    assert (await rejection(serving(since), f"/?since={seconds}")).status == 422


async def test_a_default_that_can_be_changed_is_not_shared_between_connections() -> None:
    async def handler(ws: WebSocket, it: Annotated[Filters, Query()] = NEW) -> None:
        it.tags.append("x")
        await ws.accept()
        await ws.send_json(it.tags)

    app = serving(handler)
    assert [await handed(app), await handed(app)] == [["x"], ["x"]]


async def test_a_path_parameter_whose_type_only_the_type_checker_knows_is_filled() -> None:
    async def handler(ws: WebSocket, day: "Day | None" = None) -> None:
        await ws.accept()
        await ws.send_json(isinstance(day, date))

    assert await handed(serving(handler, "/{day:date}"), "/2024-02-29") is True


async def test_after_a_dependency_has_rejected_nothing_further_is_called() -> None:
    async def user(ws: WebSocket) -> None:
        await ws.reject(401)

    async def admin(user: Annotated[Any, Depends(user)]) -> str:
        return str(user.name)

    async def handler(ws: WebSocket, it: Annotated[str, Depends(admin)]) -> None:
        raise AssertionError("not to be called")

    assert (await rejection(serving(handler))).status == 401


async def test_a_generator_may_reject_in_place_of_yielding() -> None:
    async def user(ws: WebSocket) -> AsyncIterator[str]:
        if "token" not in ws.query_params:
            await ws.reject(401)
            return
        yield "Ada"

    async def handler(ws: WebSocket, it: Annotated[str, Depends(user)]) -> None:
        await ws.accept()
        await ws.send_json(it)

    app = serving(handler)
    assert (await rejection(app)).status == 401
    assert await handed(app, "/?token=1") == "Ada"


def _typed(hint: Any, *default: Any) -> Any:
    async def handler(ws: WebSocket, it: Any = None) -> None: ...

    handler.__annotations__["it"] = hint
    handler.__defaults__ = default or None
    return handler


def dependency() -> int:
    return 1


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (_typed(Annotated[StructBox, Query()]), "field 'n' of StructBox has a type or constraint"),
        (_typed(Annotated[int, msgspec.Meta(ge=5), pydantic.Field(le=9), Query()]), "together"),
        (_typed(Annotated[Of[list[int]], Query()]), "depend on its type arguments"),
        (_typed(Annotated[Outer, Query()]), "field 'inner' of Outer is Inner, which is no text"),
        (_typed(Annotated[int, Depends()]), "Depends() without a function calls the type"),
        (_typed(Annotated[int, fastapi.Depends(dependency)]), "has a Depends of fastapi"),
        (_typed(Annotated[int, fastapi.Query()], 5), "has a Query of fastapi"),
        (_typed(int, fastapi.Depends(dependency)), "has a Depends of fastapi"),
        (_typed(int, Depends(dependency)), "annotate it: Annotated[..., Depends(dependency)]"),
    ],
)
def test_what_would_be_ignored_or_never_fit_is_refused(handler: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        App().websocket("/")(handler)
    assert text in str(caught.value)


async def test_a_new_name_for_a_list_takes_all_values() -> None:
    async def handler(ws: WebSocket, it: Annotated[Ids, Query()]) -> None:
        await ws.accept()
        await ws.send_json(it)

    assert await handed(serving(handler), "/?it=1&it=2") == [1, 2]


def test_the_asgi_triple_and_a_marker_do_not_go_together() -> None:
    async def handler(
        scope: Any, receive: Any, send: Any, limit: Annotated[int, Query()] = 5
    ) -> None: ...

    with pytest.raises(TypeError, match="'receive' is none of the path"):
        App().websocket("/")(handler)


def test_the_parameter_of_a_dependency_is_told_as_its_own() -> None:
    def inner(limit: int) -> int:
        return limit

    async def handler(ws: WebSocket, it: Annotated[int, Depends(inner)]) -> None: ...

    with pytest.raises(TypeError, match=r"inner: parameter 'limit' is none of the path '/'"):
        App().websocket("/")(handler)


def test_the_decorator_without_a_path_is_refused() -> None:
    async def handler(ws: WebSocket) -> None: ...

    with pytest.raises(TypeError, match=r"write @….websocket\('/path'\) above .*handler"):
        App().websocket(handler)  # type: ignore[arg-type]
