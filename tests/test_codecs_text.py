"""JSON of text that UTF-8 cannot express: what was read can be written."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest

from clients import connected
from telex import App
from telex.codecs import JSON


class Named(msgspec.Struct, rename="camel"):
    full_name: str
    since: dt.date = dt.date(2020, 1, 2)


class Model(pydantic.BaseModel):
    price: Decimal


class Own:
    pass


def hook(value: Any) -> Any:
    if isinstance(value, Own):
        return "own"
    raise TypeError(f"what is {value!r}?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\ud800", r'"\ud800"'),
        ({"\udfff": "日"}, r'{"\udfff":"日"}'),
        ({1: ["\ud800", Decimal("1.5"), b"x"]}, r'{"1":["\ud800","1.5","eA=="]}'),
        (Named("\udc80"), r'{"fullName":"\udc80","since":"2020-01-02"}'),
        (["\ud800", Model(price=Decimal(1)), Own()], r'["\ud800",{"price":"1"},"own"]'),
        (
            ("\ud800", {"a": [float("nan")]}, -float("inf"), 1.5),
            r'["\ud800",{"a":[null]},null,1.5]',
        ),
    ],
)
def test_a_lone_surrogate_is_written_as_an_escape(value: Any, text: str) -> None:
    assert JSON(enc_hook=hook).encode(value) == text
    assert JSON(enc_hook=hook, binary=True).encode(value) == text.encode()


@pytest.mark.parametrize("value", [["\ud800", object()], {"\ud800": {(1, 2): 3}}])
def test_what_cannot_be_written_is_an_error_beside_a_lone_surrogate(value: Any) -> None:
    with pytest.raises(TypeError):
        JSON().encode(value)


def test_a_value_that_contains_itself_is_an_error_beside_a_lone_surrogate() -> None:
    value: list[Any] = ["\ud800"]
    value.append(value)
    with pytest.raises(ValueError):
        JSON().encode(value)


@pytest.mark.parametrize("text", [r'{"name":"\ud800"}', r'{"name":{"\udc00":[1]}}'])
@pytest.mark.parametrize("hint", [dict, Any])
async def test_a_listener_may_answer_with_whatever_the_client_has_sent(
    text: str, hint: Any
) -> None:
    app = App()

    async def greet(data: Any) -> Any:
        return {"you said": data["name"]}

    greet.__annotations__["data"] = hint
    app.websocket_listener("/")(greet)
    async with connected(app) as ws:
        await ws.send_text(text)
        assert await ws.receive_json() == {"you said": json.loads(text)["name"]}
