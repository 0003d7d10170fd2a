"""The session of a workspace: the server that is found or started for it, and what became of the two.

A server is looked for as the command line does: the one the options name, else that of the directory or nearest
above; without one, an own server begins with the first run. A connection that is gone for good is made anew by the
next run. All errors are `NreplError`s whose sentence is for the user.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from nrepl_py.client import aio
from nrepl_py.client.address import NoServer
from nrepl_py.client.results import describe_cause
from nrepl_py.client.snapshots import Snapshots
from nrepl_py.errors import NreplError, StartFailed

END_SECONDS: Final = 3
"""For a server to close our session when the editor ends: it needs one, and nobody waits for ever."""

Tell = Callable[[str, bool], None]
"""`tell(sentence, is_error)`: something the user should know."""


Observe = Callable[[dict[str, Any]], None]
"""`observe(message)`: something that a session says and that no run here waits for."""


class Where(NamedTuple):
    """Which server and session, as the command line says it."""

    url: str | None = None
    unix: str | None = None
    directory: str | None = None
    connection_file: str | None = None
    cafile: str | None = None
    session: str | None = None
    python: str | None = None


class Live:
    """The session in which an editor's code runs. `root` is the workspace's directory."""

    def __init__(self, where: Where, tell: Tell, observe: Observe) -> None:
        self.root = os.getcwd()
        self._where = where
        self._tell = tell
        self._observe = observe
        self._making = asyncio.Lock()
        self._client: aio.Client | None = None
        self._session: aio.Session | None = None
        self._own: aio.Session | None = None
        self._snapshots: dict[str, Snapshots] = {}
        self._server: Any = None

    @property
    def current(self) -> aio.Session | None:
        """The session, where there is one already."""
        return None if self._client is None or self._client.is_lost else self._session

    async def session(self, start: bool = True) -> aio.Session | None:
        """The session, made where there is none; None where that takes a server of our own and not `start`."""
        async with self._making:
            if self.current is None:
                await self._leave()
                if not await self._connect(start):
                    return None
                try:
                    await self._open()
                except BaseException:
                    await self._leave()
                    raise
            return self.current

    async def snapshots(self) -> Snapshots:
        """Those of the session, which is made where there is none."""
        session = await self.session()
        assert session is not None
        assert self._client is not None
        return self._snapshots.setdefault(session.id or "", Snapshots(self._client, session))

    async def sessions(self) -> list[dict[str, Any]]:
        """All that the server has, as `ls-sessions` tells of them; the one in use has `current`."""
        session = await self.session()
        assert session is not None
        known = await session.client.sessions()
        return [one | {"current": session.id in (one["id"], one["name"])} for one in known]

    async def attach(self, name: str) -> aio.Session:
        """Go on in that session, by its id or name; the one before goes on too. Raises `UnknownSession`."""
        before = await self.session()
        assert before is not None
        other = await self._attach(before.client, name)
        if other.id != before.id:
            await before.client.request("detach", session=before.id)
        self._session = other
        return other

    def forget(self) -> None:
        """The session is gone: the next run gets another one."""
        self._session = None

    async def aclose(self) -> None:
        """End the session, unless it has a name and lives on, and our own server. Idempotent."""
        if self._client is not None:
            self._client.on_other = None  # that it ends is our own wish
        with suppress(NreplError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                for kept in self._snapshots.values():
                    await kept.close()
                if self._own is not None:
                    await self._own.close()
        await self._leave()

    async def _connect(self, start: bool) -> bool:
        where = self._where
        try:
            self._client = await aio.connect(
                where.url,
                unix=where.unix,
                directory=where.directory or self.root,
                file=where.connection_file,
                cafile=where.cafile,
                codec="json",  # What it says goes on to the editor as it is.
                client_name="nrepl-py lsp",
            )
        except NoServer as error:
            if any((where.url, where.unix, where.directory, where.connection_file)):
                raise
            if where.session:
                raise NoServer(f"the session {where.session!r} needs a server: {error}, then run something") from None
            if not start:
                return False
            await self._start()
            self._client = await aio.connect(self._server.url, self._server.token, codec="json")
        self._client.on_other = self._note
        self._client.on_resumed = lambda reason: self._tell(f"{reason}; it is back", False)
        return True

    async def _start(self) -> None:
        starting = asyncio.ensure_future(asyncio.to_thread(_own_server, self._where.python, self.root))
        try:
            self._server = await asyncio.shield(starting)
        except asyncio.CancelledError:  # the thread goes on; what it makes is wanted no more
            starting.add_done_callback(_stop)
            raise

    async def _open(self) -> None:
        assert self._client is not None
        name = self._where.session
        known = await self._client.sessions() if name else []
        if name and any(name in (one["id"], one["name"]) for one in known):
            self._session = await self._attach(self._client, name)
        else:
            self._session = await self._clone(self._client, name)
            self._own = None if name else self._session

    async def _attach(self, client: aio.Client, name: str) -> aio.Session:
        """An existing one, with all that it says from now on: under its id, by which the connection knows it."""
        reply = await client.request("attach", session=name)
        return client.session(reply["session"])

    async def _clone(self, client: aio.Client, name: str | None) -> aio.Session:
        """A session that works in the workspace, if the server gives that to its sessions."""
        try:
            return await client.clone(name=name, python=self._where.python, cwd=self.root)
        except StartFailed as error:
            session = await client.clone(name=name, python=self._where.python)
            self._tell(f"{error}; this session works elsewhere", False)
            return session

    async def _leave(self) -> None:
        client, self._client, self._session, self._own = self._client, None, None, None
        self._snapshots.clear()
        server, self._server = self._server, None
        if client is not None:
            client.on_other = None
            await client.aclose()
        if server is not None:
            await asyncio.to_thread(server.stop)

    def _note(self, message: dict[str, Any]) -> None:
        """What happened to the session, to those who did not ask for it; and what others do in it."""
        if self._session is None or message.get("session") != self._session.id:
            return  # of a branch, or of one that was left
        self._observe(message)
        event = message.get("event")
        why = f" ({describe_cause(message['cause'])})" if message.get("cause") else ""
        if event == "died":
            again = "restart it to go on" if message.get("crash-loop") else "the next run gets a fresh one"
            self._tell(f"the session's Python has ended{why}, and what it held is gone; {again}", True)
        elif event == "closed":
            self.forget()
            self._tell(f"the session was closed{why}; the next run gets a new one", True)
        elif event == "culling":
            self._tell(f"the session ends in {message.get('seconds', 0):g} s unless it is used", False)


def _stop(starting: asyncio.Future[Any]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        threading.Thread(target=starting.result().stop, name="stop", daemon=True).start()


def _own_server(python: str | None, root: str) -> Any:
    from nrepl_py.embed import serve_in_thread

    logging.getLogger("nrepl_py").addHandler(logging.NullHandler())
    try:
        return serve_in_thread(kind="local", python=python)
    except Exception as error:
        raise NoServer(f"no server runs for {root}, and none can be started: {error}") from None
