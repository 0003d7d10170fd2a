"""The blocking client: the asyncio client in a thread of its own, and nothing else.

    with connect() as session:
        session.eval("6 * 7").value      # "42"

Every method is the one of `nrepl_py.client.aio` with the same name, waited for; read its contract
there. Callbacks are called in the calling thread. Ctrl-C during an eval interrupts that eval, waits
for its end and then raises KeyboardInterrupt (`Interrupted`, with the `result`); a second Ctrl-C
gives up at once.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack

from nrepl_py.client import aio
from nrepl_py.client.address import Address
from nrepl_py.client.connection import ConnectionLost
from nrepl_py.client.observer import Observer
from nrepl_py.client.portal import Interrupted, Portal
from nrepl_py.client.results import EvalResult
from nrepl_py.client.stream import Stream
from nrepl_py.errors import UnknownSession

__all__ = ["Client", "Interrupted", "Session", "connect"]

P = ParamSpec("P")
R = TypeVar("R")

OnMessage = Callable[[dict[str, Any]], object]
OnInput = Callable[[str, bool], "str | None"]


def _of_session(
    method: Callable[Concatenate[aio.Session, P], Awaitable[R]],
) -> Callable[Concatenate[Session, P], R]:
    """The method, waited for."""

    @functools.wraps(method)
    def blocking(self: Session, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._portal.call(method, self._session(), *args, **kwargs)

    return blocking


def _of_client(
    method: Callable[Concatenate[aio.Client, P], Awaitable[R]],
) -> Callable[Concatenate[Client, P], R]:
    """The method, waited for."""

    @functools.wraps(method)
    def blocking(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._portal.call(method, self._client, *args, **kwargs)

    return blocking


def _cloning(
    method: Callable[Concatenate[aio.Client, P], Awaitable[aio.Session]],
) -> Callable[Concatenate[Client, P], Session]:
    """The method, waited for, its session blocking too."""

    @functools.wraps(method)
    def blocking(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Session:
        return Session(self._portal, self._portal.call(method, self._client, *args, **kwargs))

    return blocking


class Session:
    """A session, as `aio.Session`, blocking."""

    def __init__(self, portal: Portal, session: aio.Session | None) -> None:
        self._portal = portal
        self._inner = session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._portal.closed:
            self._portal.call(self._session().__aexit__)

    @property
    def id(self) -> str:
        """Its id, or the name it was asked for by."""
        return self._session().id or ""

    @property
    def info(self) -> dict[str, Any]:
        """What `clone` said of it."""
        return self._session().info

    def eval(
        self,
        code: str,
        *,
        on_message: OnMessage | None = None,
        on_input: OnInput | None = None,
        check: bool = False,
        **options: Unpack[aio.EvalOptions],
    ) -> EvalResult:
        """`aio.Session.eval`, waited for."""
        session = self._session()
        stream = session.stream(code, **aio.with_input(on_input, options))
        return self._result(stream, on_message, on_input, check)

    def load_file(
        self,
        path: str | os.PathLike[str],
        code: str | None = None,
        *,
        on_message: OnMessage | None = None,
        on_input: OnInput | None = None,
        check: bool = False,
        **options: Unpack[aio.EvalOptions],
    ) -> EvalResult:
        """`aio.Session.load_file`, waited for."""
        stream = self._session().stream_file(path, code, **aio.with_input(on_input, options))
        return self._result(stream, on_message, on_input, check)

    def stream(self, code: str, **options: Unpack[aio.EvalOptions]) -> Iterator[dict[str, Any]]:
        """`aio.Session.stream` as an iterator; leaving the loop early interrupts the eval."""
        stream = self._session().stream(code, **options)
        try:
            while True:
                try:
                    message = self._portal.call(stream.__anext__)
                except StopAsyncIteration:
                    return
                yield message
        finally:
            # Done from here, not in the loop: a generator may be finalized when that is gone.
            stream.leave()

    def attach(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        """`aio.Session.attach` as an iterator; leave the loop to look no more."""
        observer = self._portal.call(self._observer, since)
        try:
            while True:
                try:
                    message = self._portal.call(observer.__anext__)
                except StopAsyncIteration:
                    return
                yield message
        finally:
            if not self._portal.closed:
                self._portal.call(observer.aclose)

    async def _observer(self, since: int | None) -> Observer:
        return self._session().attach(since)

    interrupt = _of_session(aio.Session.interrupt)
    stdin = _of_session(aio.Session.stdin)
    completions = _of_session(aio.Session.completions)
    signature = _of_session(aio.Session.signature)
    lookup = _of_session(aio.Session.lookup)
    is_complete = _of_session(aio.Session.is_complete)

    def clone(self, *, name: str | None = None, idle: float | None = None, force: bool = False) -> Session:
        """`aio.Session.clone`, waited for."""
        copy = self._portal.call(self._session().clone, name=name, idle=idle, force=force)
        return Session(self._portal, copy)

    def restart(self, from_: Session | str | None = None) -> dict[str, Any]:
        """`aio.Session.restart`, waited for."""
        return self._portal.call(self._session().restart, from_.id if isinstance(from_, Session) else from_)

    close = _of_session(aio.Session.close)

    def _session(self) -> aio.Session:
        assert self._inner is not None
        return self._inner

    def _result(
        self, stream: Stream, on_message: OnMessage | None, on_input: OnInput | None, check: bool
    ) -> EvalResult:
        result = self._portal.wait(
            lambda here: stream.result(
                on_message=here.root(on_message, passes=True) if on_message else None,
                on_input=here.root(on_input) if on_input else None,
            ),
            on_interrupt=stream.interrupt,
        )
        return result.raise_for_error() if check else result


class Client(Session):
    """A connection, as `aio.Client`, and a session of its own: the methods of `Session` evaluate in
    one that is made when it is first needed and closed with the client."""

    def __init__(self, portal: Portal, client: aio.Client) -> None:
        super().__init__(portal, None)
        self._client = client
        self._making = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where the server is."""
        return self._client.address

    describe = _of_client(aio.Client.describe)
    sessions = _of_client(aio.Client.sessions)
    request = _of_client(aio.Client.request)
    clone = _cloning(aio.Client.clone)

    def session(self, id_or_name: str) -> Session:
        """A session that exists already. Not checked here: its first request raises `UnknownSession`."""
        return Session(self._portal, self._client.session(id_or_name))

    def close(self) -> None:
        """Close the client's own session and the connection. Other sessions live on. Idempotent."""
        if self._portal.closed:
            return
        try:
            if self._inner is not None:
                self._portal.call(self._inner.close)
        except (UnknownSession, ConnectionLost):
            pass
        finally:
            self._portal.call(self._client.aclose)
            self._portal.close()

    def _session(self) -> aio.Session:
        with self._making:
            if self._inner is None:
                self._inner = self._portal.call(self._client.clone)
            return self._inner


def _connecting(connection: Callable[P, Awaitable[aio.Client]]) -> Callable[P, Client]:
    def connect(*args: P.args, **kwargs: P.kwargs) -> Client:
        """Connect to a server, at once. Arguments and errors are those of `nrepl_py.client.aio.connect`.

        The client is a context manager, and its methods evaluate in a session of its own:
        `with connect() as s: s.eval("1+1").value`.
        """
        portal = Portal()
        try:
            return Client(portal, portal.call(connection, *args, **kwargs))
        except BaseException:
            portal.close()
            raise

    connect.__signature__ = inspect.signature(connection)  # type: ignore[attr-defined]
    return connect


connect = _connecting(aio.connect)
