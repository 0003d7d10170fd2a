"""The asyncio client: a server's sessions as objects.

    async with connect() as client:
        async with await client.clone() as session:
            result = await session.eval("6 * 7")        # EvalResult; result.value == "42"
            async for message in session.stream("for i in range(3): print(i)"):
                print(message.get("out"))

Requests may overlap freely; each waits only for its own replies. An error reply is raised as its
class of `nrepl_py.errors`; errors of the code evaluated are in its result. Messages are dicts as on
the wire. All of it belongs to the event loop that connected.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import secrets
import tokenize
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Literal, TypedDict, Unpack

import websockets.asyncio.client

from nrepl_py import codec, errors
from nrepl_py.client.address import resolve
from nrepl_py.client.connection import Connection, ConnectionLost, Incoming
from nrepl_py.client.dial import Dial
from nrepl_py.client.link import RESUME_SECONDS, Link
from nrepl_py.client.observer import Observer
from nrepl_py.client.results import EvalResult
from nrepl_py.client.stream import Inbox, OnInput, OnMessage, Stream

MAX_FRAME: Final = 4 << 20
"""Bytes of the largest frame taken: the server's own default."""

MAX_VALUE: Final = 256 << 20
"""Bytes of `data` and `mime` taken in one message: the server's own default; it is held once."""

FAREWELL_SECONDS: Final = 1
"""For the interrupts of evals that were left, when the connection closes and the server does not read."""


class EvalOptions(TypedDict, total=False):
    """The options of `eval`, as the protocol describes them; absent ones are the server's to choose."""

    file: str
    """Where the code comes from; echoed in tracebacks as it is."""
    line: int
    """The line of `file` the code begins at, from 1."""
    column: int
    """The column of its first line, from 0, in code points."""
    module: str
    """Evaluate in that imported module; "auto": the one whose file is `file`."""
    values: Literal["last", "all", "none"]
    mime: list[str]
    """MIME types wanted beside the text."""
    data: bool
    """Send the value itself, if it is plain data."""
    timeout: float
    """Seconds from its start until the eval is interrupted."""
    kill_after: float
    """Seconds from then until its worker is killed."""
    allow_stdin: bool
    store_history: bool
    print_quota: int
    """Bytes of one value's text."""


class Client:
    """A connection that comes back when it breaks; made by `connect`. `server`, `principal` and `capabilities`
    are what `hello` said.

    When the network is gone for a moment, evals in sessions go on, nothing they say is missed, and none runs
    twice: the caller notices nothing. What the server's log had no more room for is said: `replay-gap` in the
    `status` of a message, and of the result. What may not be asked twice (`clone`, `stdin`, evals without a
    session) ends with `ConnectionLost`, and all does when there is no connection again within `resume` seconds."""

    def __init__(
        self,
        websocket: websockets.asyncio.client.ClientConnection,
        hello: dict[str, Any],
        dial: Dial,
        resume: float,
    ) -> None:
        self.address = dial.address
        self.server: dict[str, str] = hello.get("server", {})
        self.principal: str = hello.get("principal", "")
        self.capabilities = frozenset[str](hello.get("capabilities", ()))
        self.on_other: Callable[[dict[str, Any]], object] | None = None
        """Called with each message that answers no open request: events of sessions, output of threads
        that outlived their eval (`late`), evals of other clients. Must be quick, or async: then nothing
        more is read before it has ended."""
        self.on_resumed: Callable[[str], object] | None = None
        """Called when the connection had gone and is back, with a sentence that says why. Must be quick."""
        self.is_lost = False
        """The connection is gone for good, and every request raises `ConnectionLost`."""
        self._dial = dial
        self._resume = resume
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(secrets.token_hex(4))
        self._inboxes: dict[str, Inbox] = {}
        self._observers: weakref.WeakSet[Observer] = weakref.WeakSet()
        self._farewells: set[asyncio.Task[None]] = set()
        self._link = Link(dial, websocket, self._connection, self, resume)
        self.codec = self._link.codec

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, and those of its observers. Open requests end with `ConnectionLost`;
        sessions live on, and so do their evals, except those whose consumer left them. Idempotent."""
        await asyncio.sleep(0)  # Streams dropped just now get to say goodbye.
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=FAREWELL_SECONDS)
        for observer in list(self._observers):
            await observer.aclose()
        self._link.end("this client was closed")
        await self._link.aclose()

    async def clone(
        self,
        *,
        name: str | None = None,
        python: str | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        inherit_env: list[str] | None = None,
        preload: list[str] | None = None,
        idle: float | None = None,
        session: str | None = None,
        force: bool | None = None,
    ) -> Session:
        """A new session, in a worker of its own: interpreter, directory and environment as asked, else
        the server's; with `session` a copy of that one: see `Session.clone`. Raises `StartFailed` with the
        interpreter's own words, `NoCapacity`, `QuotaExceeded`."""
        reply = await self.request(
            "clone",
            name=name,
            python=python,
            cwd=cwd,
            env=env,
            inherit_env=inherit_env,
            preload=preload,
            idle=idle,
            session=session,
            force=force,
        )
        return Session(self, reply["new-session"], reply.get("info"))

    def session(self, id_or_name: str) -> Session:
        """A session that exists already. Not checked here: its first request raises `UnknownSession`."""
        return Session(self, id_or_name)

    async def sessions(self) -> list[dict[str, Any]]:
        """One map for each session of this principal: id, name, state, epoch, python, cwd, …"""
        sessions: list[dict[str, Any]] = (await self.request("ls-sessions"))["sessions"]
        return sessions

    async def describe(self) -> dict[str, Any]:
        """What the server is and can do: ops, versions, sandbox, limits, transports."""
        reply = await self.request("describe")
        return {name: value for name, value in reply.items() if name not in ("id", "status")}

    async def eval(
        self,
        code: str,
        *,
        on_message: OnMessage | None = None,
        on_input: OnInput | None = None,
        check: bool = False,
        **options: Unpack[EvalOptions],
    ) -> EvalResult:
        """Evaluate in a fresh session that ends with the eval. Else as `Session.eval`."""
        return await Session(self, None).eval(code, on_message=on_message, on_input=on_input, check=check, **options)

    def stream(self, code: str, **options: Unpack[EvalOptions]) -> Stream:
        """The messages of an eval in a fresh session that ends with it. Else as `Session.stream`."""
        return Session(self, None).stream(code, **options)

    async def request(self, op: str, /, **fields: Any) -> dict[str, Any]:
        """Send any request and return its last reply. Fields may be written with underscores; those
        that are None are left out. Raises the error reply as its class, or `ConnectionLost`."""
        request, inbox = self.open(op, fields)
        try:
            await self.write(request)
            while not (incoming := await inbox.get()).last:
                pass
        finally:
            self.forget(request["id"])
        if incoming.error is not None:
            raise incoming.error
        return incoming.message

    def open(self, op: str, fields: dict[str, Any]) -> tuple[dict[str, Any], Inbox]:
        """Open a request; returns the message to `write`, and where its replies come in. `forget` it
        in the end. Raises `ConnectionLost` once it is."""
        request = self._connection.request(op, fields)
        inbox = self._inboxes[request["id"]] = Inbox()
        return request, inbox

    async def write(self, request: dict[str, Any]) -> None:
        """Send an opened request. Raises `InvalidMessage` where it cannot be encoded."""
        try:
            for value in request.values():
                _check_number(value)
            payload = codec.encode(request, self.codec)
        except (TypeError, ValueError, OverflowError) as error:
            self._connection.unsent(request["id"])
            raise errors.InvalidMessage(f"{request['op']}: the request cannot be encoded: {error}") from None
        if not self._connection.is_held(request["id"]):
            await self._link.send(payload)

    def observe(self, session: str, since: int | None) -> Observer:
        """As `Session.attach`."""
        observer = Observer(self._dial, self._resume, session, since)
        self._observers.add(observer)
        return observer

    def forget(self, id: str) -> None:
        """Drop the replies to a request that are still to come."""
        self._inboxes.pop(id, None)

    def leave(self, id: str, session: str | None) -> None:
        """Forget an eval, and interrupt it if it is still open. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave, id, session)

    def _leave(self, id: str, session: str | None) -> None:
        self.forget(id)
        if self._connection.is_open(id):
            task = self._loop.create_task(self._say_goodbye(id, session))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)

    async def _say_goodbye(self, id: str, session: str | None) -> None:
        try:
            fields = {"session": session, "interrupt-id": id}
            await self.write(self._connection.request("interrupt", fields))
        except ConnectionLost:
            pass

    # -- for the link (`link.Owner`) ----------------------------------------------------------------

    def incoming(self, incoming: Incoming) -> Awaitable[object] | None:
        inbox = None if incoming.id is None else self._inboxes.get(incoming.id)
        if inbox is not None:
            inbox.put(incoming)
        elif incoming.id is None:
            return self._call("on_other", self.on_other, incoming.message)
        return None

    def ended(self, ids: list[str], error: ConnectionLost) -> None:
        for id in ids:
            inbox = self._inboxes.pop(id, None)
            if inbox is not None:
                inbox.fail(error)

    def resumed(self, reason: str) -> None:
        self._call("on_resumed", self.on_resumed, reason)

    def over(self, error: ConnectionLost) -> None:
        self.is_lost = True

    def _call(self, name: str, callback: Callable[[Any], object] | None, argument: Any) -> Awaitable[object] | None:
        if callback is None:
            return None
        try:
            said = callback(argument)
        except Exception as error:
            self._loop.call_exception_handler({"message": f"{name} failed", "exception": error})
            return None
        return said if inspect.isawaitable(said) else None


class Session:
    """A session, by its id or name. As a context manager it is closed at the end."""

    def __init__(self, client: Client, ref: str | None, info: dict[str, Any] | None = None) -> None:
        self.client = client
        self.id = ref
        """Its id, or the name it was asked for by; None: evals run in fresh sessions."""
        self.info = info or {}
        """What `clone` said of it."""

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.close()
        except (errors.UnknownSession, ConnectionLost):
            pass

    async def eval(
        self,
        code: str,
        *,
        on_message: OnMessage | None = None,
        on_input: OnInput | None = None,
        check: bool = False,
        **options: Unpack[EvalOptions],
    ) -> EvalResult:
        """Evaluate, and return all it came to once it has ended. `on_message(message)` is called with
        each message as it comes; `on_input(prompt, password)` when the code reads input, and returns
        a line, or None for end of file (see `Stream.result`; without it reads get EOFError).
        `check`: raise `EvalError` unless the result is `ok`. Cancelled, it interrupts the eval."""
        stream = self.stream(code, **with_input(on_input, options))
        result = await stream.result(on_message=on_message, on_input=on_input)
        return result.raise_for_error() if check else result

    def stream(self, code: str, **options: Unpack[EvalOptions]) -> Stream:
        """The eval's messages as they come, the last with `done` in its `status`. Nothing is sent
        before the first is asked for. Answer `need-input` with `stdin`. Leaving the loop early
        interrupts the eval. Messages not taken yet are kept, without bound."""
        return Stream(self.client, "eval", self.id, {"session": self.id, "code": code, **options})

    async def load_file(
        self,
        path: str | os.PathLike[str],
        code: str | None = None,
        *,
        on_message: OnMessage | None = None,
        on_input: OnInput | None = None,
        check: bool = False,
        **options: Unpack[EvalOptions],
    ) -> EvalResult:
        """Evaluate a file's contents as that file: `code` if given (an editor's buffer), else read
        here, in the encoding it declares. Else as `eval`, with `values="none"` by default."""
        stream = self.stream_file(path, code, **with_input(on_input, options))
        result = await stream.result(on_message=on_message, on_input=on_input)
        return result.raise_for_error() if check else result

    def stream_file(
        self, path: str | os.PathLike[str], code: str | None = None, **options: Unpack[EvalOptions]
    ) -> Stream:
        """The messages of `load_file`, as `stream`. Raises OSError, or SyntaxError for its encoding."""
        if code is None:
            with tokenize.open(os.fspath(path)) as file:
                code = file.read()
        fields = {"session": self.id, "file": os.fspath(path), "code": code, **options}
        return Stream(self.client, "load-file", self.id, fields)

    def attach(self, since: int | None = None) -> Observer:
        """All messages of the session, whoever asked for them, as they come, from those after the number
        `since` on; None: from now on. Over a connection of its own: see `Observer`."""
        return self.client.observe(self.id or "", since)

    async def interrupt(
        self, id: str | None = None, *, all: bool = False, kill_after: float | None = None
    ) -> dict[str, Any]:
        """Interrupt the eval `id`, else the running one; `all`: cancel the queue too. Returns the reply
        once that eval has ended: `stages` says what was done, `status` may have `session-idle`,
        `interrupt-id-mismatch`, or `still-running` after 5 s. With `kill_after` its worker is killed
        after so many seconds instead, and the session goes on with a fresh one."""
        return await self.client.request(
            "interrupt", session=self.id, interrupt_id=id, all=all or None, kill_after=kill_after
        )

    async def restart(self, from_: Session | str | None = None) -> dict[str, Any]:
        """Go on with a fresh worker, or with a copy of that session's: open evals end, and all that was defined is
        gone. Returns the reply once it is up, with its `epoch` and `info`. Raises `StartFailed`, `NoCapacity`; with
        `from_` also as `clone`, and then nothing has changed."""
        origin = from_.id if isinstance(from_, Session) else from_
        reply = await self.client.request("restart", session=self.id, **{"from": origin})
        self.info = reply.get("info", {})
        return reply

    async def stdin(self, text: str) -> None:
        """Append to the input of the running eval; "" is one end of file."""
        await self.client.request("stdin", session=self.id, stdin=text)

    async def completions(
        self, code: str, cursor: int | None = None, *, module: str | None = None, file: str | None = None
    ) -> list[dict[str, Any]]:
        """What may stand at the cursor (default: the end): maps with `candidate`, `type`, `start`, …;
        the candidate replaces `start`–cursor. Beside a running eval; never runs user code."""
        reply = await self._ask("completions", code, cursor, module=module, file=file)
        completions: list[dict[str, Any]] = reply["completions"]
        return completions

    async def signature(
        self, code: str, cursor: int | None = None, *, module: str | None = None
    ) -> list[dict[str, Any]]:
        """The signatures of the call around the cursor: maps with `label`, `parameters`, `active`."""
        signatures: list[dict[str, Any]] = (await self._ask("signature", code, cursor, module=module))["signatures"]
        return signatures

    async def lookup(
        self,
        sym: str | None = None,
        *,
        code: str | None = None,
        cursor: int | None = None,
        module: str | None = None,
    ) -> dict[str, Any] | None:
        """What the name `sym`, or the one at the cursor in `code`, is: a map with `name`, `type`, `doc`,
        `signature`, `file`, `line`, …; None where the session does not know it."""
        fields = {"sym": sym, "code": code, "cursor": cursor, "module": module}
        try:
            reply = await self.client.request("lookup", session=self.id, **fields)
        except errors.NotFound:
            return None
        info: dict[str, Any] = reply["info"]
        return info

    async def is_complete(self, code: str) -> dict[str, Any]:
        """Whether a REPL should run this: `state` is `complete`, `incomplete` (with `indent`, the text
        to begin the next line with) or `invalid`."""
        reply = await self.client.request("is-complete", session=self.id, code=code)
        return {"state": reply["state"], "indent": reply.get("indent", "")}

    async def clone(self, *, name: str | None = None, idle: float | None = None, force: bool = False) -> Session:
        """A copy of this session as it is now: of all it has defined and computed. Its `info` says under `left-behind`
        what is not in it: threads, children, sockets. Raises `Busy` while an eval or, without `force`, a thread runs,
        `NotSupported` where its worker cannot fork, `QuotaExceeded` where it has as many copies as it may have."""
        return await self.client.clone(session=self.id, name=name, idle=idle, force=force or None)

    async def close(self) -> None:
        """End the session, and its open evals with it. Raises `UnknownSession` where it is gone."""
        await self.client.request("close", session=self.id)

    async def _ask(self, op: str, code: str, cursor: int | None, **fields: Any) -> dict[str, Any]:
        cursor = len(code) if cursor is None else cursor
        return await self.client.request(op, session=self.id, code=code, cursor=cursor, **fields)


def with_input(on_input: object, options: EvalOptions) -> EvalOptions:
    """Nobody answers `need-input` where there is no callback: then reads get EOFError at once."""
    return options if on_input is not None or "allow_stdin" in options else {**options, "allow_stdin": False}


class connect:  # noqa: N801 - used like a function
    """Connect to a server: `async with connect() as client`, or `client = await connect()`.

    Without `url` or `unix`, the server whose connection file is `file`, else the one started in
    `directory` (default: the current one) or nearest above it. `token` is only needed for a server
    that this user's connection files do not know (or name its file in `NREPL_PY_TOKEN_FILE`).
    `wss://` is checked against the system's trust store and the authorities in the file `cafile` (or
    in the one that `NREPL_PY_CAFILE` names). `codec`: `msgpack` or `json`. `max_frame`, `max_value`:
    bytes of the largest message taken, and of `data` and `mime` beyond that. `resume`: seconds for which a
    connection that broke is tried to be had again; 0: never. Raises `NoServer`, `Unauthorized`, `Forbidden`,
    `UnsupportedVersion`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        unix: str | None = None,
        directory: str | None = None,
        *,
        file: str | None = None,
        cafile: str | None = None,
        codec: Literal["msgpack", "json"] = "msgpack",
        client_name: str = "nrepl-py",
        max_frame: int = MAX_FRAME,
        max_value: int = MAX_VALUE,
        resume: float = RESUME_SECONDS,
    ) -> None:
        self._where = (url, token, unix, directory, file)
        self._cafile = cafile
        self._codec = codec
        self._name = client_name
        self._max_frame = max_frame
        self._max_value = max_value
        self._resume = resume
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, *exc: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _connect(self) -> Client:
        address = resolve(*self._where)
        dial = Dial(address, self._cafile, self._codec, self._name, self._max_frame, self._max_value)
        return Client(*await dial.open(), dial, self._resume)


def _check_number(value: Any) -> None:
    """Refuse a number that no codec carries: the server's refusal would not name its request, which would wait on."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("an integer does not fit 64 bits")
