"""The loops the server runs on: they differ in when they write, pause and close, so tests run on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

FACTORIES: dict[str, LoopFactory] = {"asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:
    pass
else:
    FACTORIES["uvloop"] = uvloop.new_event_loop
    # libuv opens a pipe with its first loop and keeps it: not a leak of the test that comes first.
    uvloop.new_event_loop().close()


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, LoopFactory]:
    """Every asynchronous test in this directory, once on each loop that is installed."""
    return FACTORIES
