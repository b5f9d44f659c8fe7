"""Memory that is free goes back to the system, once for all who wish it."""

from __future__ import annotations

import asyncio
import platform
from unittest.mock import Mock

import pytest

from telex.server import _trim
from telex.server._trim import trim_soon


@pytest.fixture
def malloc_trim(monkeypatch: pytest.MonkeyPatch) -> Mock:
    stub = Mock()
    monkeypatch.setattr(_trim, "_malloc_trim", stub)
    monkeypatch.setattr(_trim, "_QUIET", 0.001)
    return stub


async def called(stub: Mock, times: int) -> None:
    async with asyncio.timeout(5):
        while stub.call_count < times:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_it_happens_in_a_moment_and_not_at_once(malloc_trim: Mock) -> None:
    trim_soon(asyncio.get_running_loop())
    malloc_trim.assert_not_called()
    await called(malloc_trim, 1)
    malloc_trim.assert_called_once_with(0)


async def test_many_wishes_are_one(malloc_trim: Mock) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        trim_soon(loop)
    await called(malloc_trim, 1)
    trim_soon(loop)
    await called(malloc_trim, 2)
    assert malloc_trim.call_count == 2


async def test_without_a_way_to_do_it_nothing_happens(
    malloc_trim: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    trim_soon(loop)
    monkeypatch.setattr(_trim, "_malloc_trim", None)
    trim_soon(loop)
    async with asyncio.timeout(5):
        while loop in _trim._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    malloc_trim.assert_not_called()


def test_a_c_library_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", Mock(side_effect=OSError))
    assert _trim._find() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has it")
def test_glibc_has_it() -> None:
    assert _trim._malloc_trim is not None
    assert _trim._malloc_trim(0) in (0, 1)
