"""What an application puts in place of dependencies."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Annotated, Any

import pytest

from clients import rejection
from depending import handed, serving
from telex import App, Depends, Query, WebSocket

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, q: Annotated[int, Query()]) -> int:
        return q


def original(q: Annotated[int, Query()] = 1) -> Any:
    return f"original {q}"


def user(it: Annotated[Any, Depends(original)]) -> Any:
    return f"user of {it}"


async def by_async_function() -> str:
    return "replaced"


def by_generator() -> Iterator[str]:
    yield "replaced"
    log.append("closed")


async def by_async_generator() -> AsyncIterator[str]:
    yield "replaced"
    log.append("closed")


def telling(*dependencies: Any, **options: Any) -> App:
    """An application whose handler sends what it gets."""
    return serving(teller(*dependencies, **options))


def teller(*dependencies: Any, **options: Any) -> Callable[..., Coroutine[Any, Any, None]]:
    async def handler(ws: WebSocket, **given: Any) -> None:
        await ws.accept()
        await ws.send_json([given["a"], given["b"]])

    first, second = dependencies if len(dependencies) == 2 else dependencies * 2

    async def declared(
        ws: WebSocket,
        a: Annotated[Any, Depends(first, **options)],
        b: Annotated[Any, Depends(second)],
    ) -> None:
        await handler(ws, a=a, b=b)

    return declared


@pytest.mark.parametrize(
    "other", [lambda: "replaced", by_async_function, by_generator, by_async_generator]
)
async def test_anything_can_be_put_in_place_of_a_dependency(other: Any) -> None:
    app = telling(original, user)
    app.dependency_overrides[original] = other
    assert await handed(app) == ["replaced", "user of replaced"]
    assert log == (["closed"] if "generator" in other.__name__ else [])
    app.dependency_overrides.clear()
    assert await handed(app) == ["original 1", "user of original 1"]


async def test_a_generator_can_be_replaced_by_a_function() -> None:
    app = telling(by_generator)
    app.dependency_overrides[by_generator] = lambda: "plain"
    assert await handed(app) == ["plain", "plain"]
    assert log == []


async def test_a_dependency_in_a_thread_can_be_replaced_by_an_asynchronous_one() -> None:
    app = telling(original, thread=True)
    app.dependency_overrides[original] = by_async_function
    assert (await handed(app))[0] == "replaced"


async def test_a_replacement_may_have_parameters_of_its_own() -> None:
    def other(x: Annotated[int, Query()]) -> str:
        return f"other {x}"

    app = telling(user)
    app.dependency_overrides[original] = other
    assert (await handed(app, "/?x=4"))[0] == "user of other 4"
    assert (await rejection(app, "/?x=y")).json()["errors"][0]["name"] == "x"


async def test_a_replacement_may_depend_on_what_it_replaces() -> None:
    def other(it: Annotated[Any, Depends(original)]) -> str:
        return f"more than {it}"

    app = telling(original, user)
    app.dependency_overrides[original] = other
    assert await handed(app) == ["more than original 1", "user of more than original 1"]


async def test_what_it_replaces_is_the_original_also_where_nothing_is_shared() -> None:
    def other(it: Annotated[Any, Depends(original)]) -> str:
        return f"more than {it}"

    app = telling(user, original)
    app.dependency_overrides[original] = other

    @app.websocket("/own")
    async def own(
        ws: WebSocket,
        a: Annotated[Any, Depends(original)],
        b: Annotated[Any, Depends(original, use_cache=False)],
    ) -> None:
        await ws.accept()
        await ws.send_json([a, b])

    assert await handed(app, "/own") == ["more than original 1", "more than original 1"]


async def test_replacements_of_each_other_come_to_an_end() -> None:
    def one(it: Annotated[Any, Depends(original)]) -> str:
        return f"one({it})"

    app = telling(original, one)
    app.dependency_overrides[original] = one
    app.dependency_overrides[one] = original
    first, second = await handed(app)
    assert first == "one(original 1)"
    assert second == "original 1"


async def test_a_replacement_that_cannot_be_called_is_an_error_of_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = telling(user)
    app.dependency_overrides[original] = lambda *, ws, size: size
    assert (await rejection(app, raise_app_exceptions=False)).status == 500
    assert "the path '/' has no parameter 'size'; it has none" in caplog.text


async def test_a_dependency_that_cannot_be_hashed_does_not_disturb_overrides() -> None:
    app = telling(Unhashable(), original)
    app.dependency_overrides[original] = by_async_function
    assert await handed(app, "/?q=2") == [2, "replaced"]


async def test_two_applications_have_their_own_overrides() -> None:
    handler = teller(original)
    one, two = serving(handler), serving(handler)
    one.dependency_overrides[original] = lambda: "one"
    assert await handed(one) == ["one", "one"]
    assert await handed(two) == ["original 1", "original 1"]


async def test_the_innermost_application_decides() -> None:
    inner, outer = telling(original), telling(original)
    outer.mount("/inner", inner)
    outer.dependency_overrides[original] = lambda: "outer"
    assert await handed(outer) == ["outer", "outer"]
    assert await handed(outer, "/inner/") == ["original 1", "original 1"]
    inner.dependency_overrides[original] = lambda: "inner"
    assert await handed(outer, "/inner/") == ["inner", "inner"]
    assert await handed(outer) == ["outer", "outer"]
