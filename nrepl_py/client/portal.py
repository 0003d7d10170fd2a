"""A way from blocking code into an event loop of its own: what makes the asyncio client blocking.

Callbacks are called in the thread that waits, so they may block, print and be interrupted there.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Job = Callable[[], None]


class Portal:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="nrepl-py client", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.is_closed() or not self._thread.is_alive()

    def call(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Await `function(...)` in the loop. KeyboardInterrupt cancels it."""
        return self.wait(lambda here: function(*args, **kwargs))

    def wait(
        self, function: Callable[[Here], Awaitable[R]], on_interrupt: Callable[[], Awaitable[Any]] | None = None
    ) -> R:
        """Await `function(here)` in the loop; what it calls through `here` runs in this thread meanwhile.
        At the first KeyboardInterrupt `on_interrupt` is awaited in the loop and the wait goes on, to
        end in `Interrupted`; at the next one, or where there is none, it is given up."""
        if self.closed:
            raise RuntimeError("this client was closed")
        jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_await(function, Here(jobs)), self._loop)
        future.add_done_callback(lambda _: jobs.put(None))
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                while (job := jobs.get()) is not None:
                    job()
                break
            except KeyboardInterrupt as pressed:
                if on_interrupt is None or interrupt is not None:
                    future.cancel()
                    raise
                interrupt = pressed
                asyncio.run_coroutine_threadsafe(_await(lambda _: on_interrupt(), None), self._loop)
        result = future.result()
        if interrupt is not None:
            raise Interrupted(result) from None
        return result

    def close(self) -> None:
        """Stop the loop and its thread. Idempotent."""
        if not self.closed:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed while a blocking call waited, and what it waited for has ended.
    `result` is what it would have returned."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Here:
    """Calls functions in the thread that waits in `Portal.wait`."""

    def __init__(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        self._jobs = jobs

    def root(self, function: Callable[..., Any], *, passes: bool = False) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A coroutine function that calls `function` there. KeyboardInterrupt in it cancels the
        coroutine, or with `passes` only ends the call: what awaits it goes on."""

        async def call(*args: Any) -> Any:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Any] = loop.create_future()

            def settle(result: Any, error: BaseException | None) -> None:
                if future.done():
                    return
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

            def job() -> None:
                try:
                    try:
                        result = function(*args)
                    except Exception as error:
                        loop.call_soon_threadsafe(settle, None, error)
                    else:
                        loop.call_soon_threadsafe(settle, result, None)
                # Around the settling too: a signal may come then, and the future must not be left waiting.
                except BaseException as error:
                    if passes and isinstance(error, KeyboardInterrupt):
                        loop.call_soon_threadsafe(settle, None, None)
                    else:
                        loop.call_soon_threadsafe(future.cancel)
                    raise

            self._jobs.put(job)
            return await future

        return call


async def _await(function: Callable[[Any], Awaitable[R]], here: Any) -> R:
    return await function(here)
