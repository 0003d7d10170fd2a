"""An asynchronous context for tests that have no loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def in_thread(context: AbstractAsyncContextManager[T]) -> Iterator[tuple[T, asyncio.AbstractEventLoop]]:
    """Keep the context in a thread: what it gives, and the loop it runs in."""
    ready: list[tuple[T, asyncio.AbstractEventLoop]] = []
    up, over = threading.Event(), asyncio.Event()

    async def keep() -> None:
        async with context as running:
            ready.append((running, asyncio.get_running_loop()))
            up.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(keep(),))
    thread.start()
    up.wait()
    try:
        yield ready[0]
    finally:
        ready[0][1].call_soon_threadsafe(over.set)
        thread.join()
