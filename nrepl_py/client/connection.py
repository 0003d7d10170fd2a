"""Which message answers which request: a client's side of one connection, without any I/O.

Requests get their ids here and stay open until a reply carries `done`, or the connection is lost:
every request ends exactly once, and nothing is taken for a reply to it afterwards. What answers no
open request (a session's events, late output, evals that other clients asked for) is told apart.
Whoever does the I/O sends what `request` returns, hands in what arrives, and carries out the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nrepl_py.errors import NreplError, from_reply


class ConnectionLost(NreplError):
    """The connection ended before the request did. An eval may still be running: sessions outlive connections."""

    code = "connection-lost"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message and its place: a reply to the open request `id`, or (None) to none.

    `last`: it ended the request. `error`: it refused the request, for the reason it names.
    """

    id: str | None
    message: dict[str, Any]
    last: bool = False
    error: NreplError | None = None


class Connection:
    """One connection. `prefix`: random, so that no id was ever used by another connection to the same session."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self._open: dict[str, str] = {}
        self._lost: ConnectionLost | None = None

    @property
    def open(self) -> Mapping[str, str]:
        """The op of each open request, by its id, oldest first."""
        return self._open

    def request(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Open a request; returns the message to send. Field names may be written with underscores;
        fields that are None are left out. Raises `ConnectionLost` once it is."""
        if self._lost is not None:
            raise self._lost
        self._count += 1
        id = f"{self._prefix}-{self._count}"
        self._open[id] = op
        given = {name.replace("_", "-"): value for name, value in fields.items() if value is not None}
        return {"op": op, "id": id} | given

    def unsent(self, id: str) -> None:
        """The request could not be sent: forget it."""
        self._open.pop(id, None)

    def received(self, message: dict[str, Any]) -> Incoming:
        """Say what a message is an answer to."""
        id = message.get("id")
        if not isinstance(id, str) or id not in self._open or "event" in message:
            return Incoming(None, message)
        last = "done" in (message.get("status") or ())
        if last:
            del self._open[id]
        return Incoming(id, message, last, from_reply(message) if last else None)

    def lost(self, reason: str) -> tuple[list[str], ConnectionLost]:
        """The connection is gone. Returns the ids of the requests that ended with it, and the error
        they ended with. Later requests raise that error too; a second loss changes nothing."""
        if self._lost is None:
            self._lost = ConnectionLost(reason)
        ended = list(self._open)
        self._open.clear()
        return ended, self._lost
