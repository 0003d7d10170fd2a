"""Snapshots of a session: live clones that nobody evaluates in; going back to one is a restart from it."""

from __future__ import annotations

from contextlib import suppress

from nrepl_py.client import aio
from nrepl_py.client.connection import ConnectionLost
from nrepl_py.errors import NotFound, UnknownSession


class Snapshots:
    """Those of one session, by name, the latest last; one without has a number."""

    def __init__(self, client: aio.Client, session: aio.Session) -> None:
        self._client = client
        self._session = session
        self._kept: dict[str, aio.Session] = {}
        self._count = 0

    @property
    def names(self) -> list[str]:
        """The latest last."""
        return list(self._kept)

    async def take(self, name: str | None = None) -> tuple[str, aio.Session]:
        """Keep the session as it is now; returns the name and the copy. Raises as `Session.clone`."""
        if name is None:
            self._count += 1
            name = str(self._count)
        copy = await self._session.clone()
        before = self._kept.pop(name, None)
        self._kept[name] = copy
        if before is not None:
            await before.close()
        return name, copy

    async def go_back(self, name: str | None = None) -> str:
        """Go back to that one, or the latest; returns its name. Raises `NotFound`, and as `Session.restart`."""
        if not self._kept:
            raise NotFound("there is no snapshot to go back to")
        name = name or next(reversed(self._kept))
        if name not in self._kept:
            raise NotFound(f"no snapshot {name!r}; there are {', '.join(self._kept)}")
        # That the worker is another one is what we asked for, and no news.
        noting, self._client.on_other = self._client.on_other, None
        try:
            await self._session.restart(self._kept[name])
        finally:
            self._client.on_other = noting
        return name

    async def close(self) -> None:
        """Let go of all."""
        for copy in self._kept.values():
            with suppress(UnknownSession, ConnectionLost):
                await copy.close()
        self._kept.clear()


def left_behind(copy: aio.Session) -> str:
    """What of its origin a copy does not have, or shares with it, in words; "" where that is nothing."""
    left = copy.info.get("left-behind", {})
    return ", ".join(f"{left[what]} {what}" for what in ("children", "sockets", "files") if left.get(what))
