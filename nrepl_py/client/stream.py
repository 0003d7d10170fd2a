"""One eval's messages, from the request to `done`.

Nothing outlives its consumer: whoever drops a stream before its end (a `break`, an exception, a
cancelled task) interrupts the eval, and what it still says is dropped as it comes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from nrepl_py.client.connection import Incoming
from nrepl_py.client.results import EvalResult, add

OnMessage = Callable[[dict[str, Any]], object]
"""Called with each message; awaited if it returns an awaitable. Must be quick, or async."""

OnInput = Callable[[str, bool], "str | Awaitable[str | None] | None"]
"""`on_input(prompt, password)`: a line of input, or None for end of file. A plain function is called
in a thread of its own, so that it may block; a coroutine function is awaited."""


class Inbox:
    """The replies to one request, in order, for one reader."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Incoming | Exception] = asyncio.Queue()

    def put(self, incoming: Incoming) -> None:
        self._queue.put_nowait(incoming)

    def fail(self, error: Exception) -> None:
        """Raise the error at the reader, after what came before."""
        self._queue.put_nowait(error)

    async def get(self) -> Incoming:
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item


class Requests(Protocol):
    """What a stream needs of its client."""

    codec: str

    def open(self, op: str, fields: dict[str, Any]) -> tuple[dict[str, Any], Inbox]:
        """Open a request; returns the message to `write`, and where its replies come in."""

    async def write(self, request: dict[str, Any]) -> None:
        """Send it. Raises `InvalidMessage` where it cannot be encoded."""

    async def request(self, op: str, /, **fields: Any) -> dict[str, Any]:
        """Send a request and return its last reply."""

    def forget(self, id: str) -> None:
        """Drop the replies to a request that are still to come."""

    def leave(self, id: str, session: str | None) -> None:
        """Forget an eval, and interrupt it if it is still open. From any thread."""


class Stream:
    """The messages of one eval, as dicts: an async iterator. Made by `Session.stream`."""

    def __init__(self, client: Requests, op: str, session: str | None, fields: dict[str, Any]) -> None:
        self._client = client
        self._op = op
        self._session = session
        self._fields = fields
        self._inbox: Inbox | None = None
        self._ended = False
        self.id: str | None = None
        """The eval's request id, once it was sent."""

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next message. Raises the error that refused the eval, or `ConnectionLost`."""
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._inbox is None:
                request, self._inbox = self._client.open(self._op, self._fields)
                self.id = request["id"]
                await self._client.write(request)
            incoming = await self._inbox.get()
        except Exception:
            self.leave()
            raise
        if incoming.last:
            self._ended = True
            self._client.forget(incoming.message["id"])
        if incoming.error is not None:
            raise incoming.error
        return incoming.message

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self.leave()

    async def aclose(self) -> None:
        """As `leave`."""
        self.leave()

    async def interrupt(self) -> dict[str, Any]:
        """Interrupt this eval, and no other; go on reading until its end. As `Session.interrupt`."""
        return await self._client.request("interrupt", session=self._session, interrupt_id=self.id)

    async def stdin(self, text: str) -> None:
        """Append to this eval's input; "" is one end of file."""
        to = {"eval": self.id} if self._session is None else {"session": self._session}
        await self._client.request("stdin", stdin=text, **to)

    async def result(self, *, on_message: OnMessage | None = None, on_input: OnInput | None = None) -> EvalResult:
        """Read to the end; returns what it came to. `on_input` is asked each time the code waits for
        input (a newline is added to its line if it has none), and is cancelled when that is over.
        An exception of a callback ends the eval and is raised here."""
        result = EvalResult(id="")
        answer: asyncio.Task[None] | None = None
        async with self:
            try:
                async for message in self:
                    status = message.get("status") or ()
                    add(result, message, self._client.codec)
                    if on_message is not None:
                        said = on_message(message)
                        if inspect.isawaitable(said):
                            await said
                    if answer is not None and ("need-input" in status or "input-done" in status):
                        answer.cancel()
                    if "need-input" in status and on_input is not None:
                        answer = asyncio.create_task(self._answer(on_input, message))
            finally:
                if answer is not None:
                    answer.cancel()
                    # A prompt has put its terminal in order when this returns.
                    await asyncio.wait({answer})
        result.id = self.id or ""
        return result

    async def _answer(self, on_input: OnInput, message: dict[str, Any]) -> None:
        try:
            line = await _call(on_input, str(message.get("prompt", "")), bool(message.get("password")))
            await self.stdin("" if line is None else line if line.endswith("\n") else line + "\n")
        except Exception as error:
            if self._inbox is not None:
                self._inbox.fail(error)

    def leave(self) -> None:
        """Take no more messages. An eval that is still open is interrupted; does not wait for its end.
        From any thread."""
        if not self._ended:
            self._ended = True
            if self.id is not None:
                self._client.leave(self.id, self._session)


async def _call(on_input: OnInput, prompt: str, password: bool) -> str | None:
    if inspect.iscoroutinefunction(on_input):
        answer: Any = await on_input(prompt, password)
    else:
        answer = await asyncio.to_thread(on_input, prompt, password)
    if inspect.isawaitable(answer):
        answer = await answer
    line: str | None = answer
    return line
