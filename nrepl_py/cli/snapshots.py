"""`%snapshot [NAME]` and `%rollback [NAME]`: keep the session as it is now, and go back to that, as often as wanted.

A snapshot is a live clone that nobody evaluates in; going back is a restart from it. They end with the REPL.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress

from nrepl_py.client import aio
from nrepl_py.client.connection import ConnectionLost
from nrepl_py.errors import NotFound, UnknownSession

_COMMAND = re.compile(r"\s*%(snapshot|rollback)(?:[ \t]+(\S+))?\s*")


class Snapshots:
    """Those of one session, by name; one without has a number."""

    def __init__(self, client: aio.Client, session: aio.Session) -> None:
        self._client = client
        self._session = session
        self._kept: dict[str, aio.Session] = {}
        self._count = 0

    async def command(self, code: str) -> bool:
        """Whether the line was one of these, which is done then. Raises `NreplError`."""
        found = _COMMAND.fullmatch(code)
        if found is None:
            return False
        await (self._take if found[1] == "snapshot" else self._go_back)(found[2])
        return True

    async def _take(self, name: str | None) -> None:
        if name is None:
            self._count += 1
            name = str(self._count)
        copy = await self._session.clone()
        before = self._kept.pop(name, None)
        self._kept[name] = copy
        if before is not None:
            await before.close()
        left = copy.info.get("left-behind", {})
        shared = [f"{left[what]} {what}" for what in ("children", "sockets", "files") if left.get(what)]
        _tell(f"snapshot {name}" + (f"; not in it, or shared: {', '.join(shared)}" if shared else ""))

    async def _go_back(self, name: str | None) -> None:
        if not self._kept:
            raise NotFound("there is no snapshot; %snapshot takes one")
        name = name or next(reversed(self._kept))
        if name not in self._kept:
            raise NotFound(f"no snapshot {name!r}; there are {', '.join(self._kept)}")
        # That the worker is another one is what we asked for, and no news.
        noting, self._client.on_other = self._client.on_other, None
        try:
            await self._session.restart(self._kept[name])
        finally:
            self._client.on_other = noting
        _tell(f"back at snapshot {name}")

    async def close(self) -> None:
        """Let go of all."""
        for copy in self._kept.values():
            with suppress(UnknownSession, ConnectionLost):
                await copy.close()
        self._kept.clear()


def _tell(text: str) -> None:
    print(f"[{text}]", file=sys.stderr, flush=True)
