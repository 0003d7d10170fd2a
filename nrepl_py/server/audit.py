"""The audit file: who asked what of whom, and how it ended, one JSON object a line.

Every request that changes or runs something gets one line, when it has had its last reply, and so
does every one refused. What only reads is counted (`counters.py`) and gets a line where somebody
reached for what is not theirs: editors complete at every key, and would bury the rest. Never in a
line: output, input, tokens; and code only where it was asked for. Lines are written as log lines
are: by a thread, from a bounded queue, dropped and counted rather than waited for.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from nrepl_py.config import ConfigError
from nrepl_py.errors import Forbidden, Unauthorized, UnknownSession
from nrepl_py.ops import OP_OF, Cause, Completions, Describe, IsComplete, Lookup, LsSessions, SignatureOp
from nrepl_py.server import logs
from nrepl_py.server.context import Asker
from nrepl_py.server.observers import Observer

CODE_BYTES: Final = 4096
"""Of an eval's code: what is typed by hand fits, and a line stays one that tools read."""

READING: Final = frozenset(OP_OF[op] for op in (Describe, LsSessions, Completions, SignatureOp, Lookup, IsComplete))
"""Ops that change nothing. All others are audited, those to come included."""

REACHING: Final = frozenset({Unauthorized.code, Forbidden.code, UnknownSession.code})
"""Refusals that get a line whatever was asked."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Audit(Observer):
    """Writes the file at `path`, from `open` to `close`; with the code of evals if told so.
    `secrets` are a backstop: nothing should put one into a line in the first place."""

    def __init__(self, path: str, with_code: bool = False, secrets: tuple[str, ...] = ()) -> None:
        self._path = path
        self._with_code = with_code
        self._secrets = secrets
        self._writer: logs.Writer | None = None

    def open(self) -> None:
        """Begin to write. Raises `ConfigError` where that cannot be."""
        try:
            self._writer = logs.Writer(self._path, tell=lambda lost: self._line({"event": "dropped", "lines": lost}))
        except OSError as error:
            raise ConfigError(f"--audit-file: {self._path} cannot be written: {error.strerror}") from None

    def reopen(self) -> None:
        """Go on in a new file: this one was moved away."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write what waits, if that can be done at once."""
        if self._writer is not None:
            self._writer.close()

    @property
    def lost(self) -> int:
        """Lines dropped since the start."""
        return self._writer.lost if self._writer is not None else 0

    # -- what is said ---------------------------------------------------------------------------

    def answered(self, asker: Asker, reply: dict[str, Any]) -> None:
        status = reply["status"]
        if asker.op in READING and REACHING.isdisjoint(status):
            return
        client = asker.client
        fields: dict[str, Any] = {
            "event": "request",
            "who": client.principal and client.principal.name,
            "connection": client.number,
            "peer": client.peer,
            "op": asker.op,
            "id": asker.id or None,
            "session": reply.get("session") or reply.get("new-session"),
            "outcome": status,
            "seconds": round(self.now() - asker.accepted, 6),
        }
        if self._with_code and asker.code is not None:
            fields |= _code(asker.code)
        self._write(fields)

    def session(self, event: str, session: str, principal: str, cause: Cause | None) -> None:
        fields: dict[str, Any] = {"event": f"session-{event}", "who": principal, "session": session}
        if cause is not None:
            # Not all of it: the rest is what the worker wrote.
            why = {"kind": cause.kind, "code": cause.code, "signal": cause.signal, "by": cause.by}
            fields["cause"] = {name: value for name, value in why.items() if value is not None}
        self._write(fields)

    def connected(self, connection: int, peer: str, principal: str | None) -> None:
        self._write({"event": "connected", "who": principal, "connection": connection, "peer": peer})

    def disconnected(self, connection: int, peer: str) -> None:
        self._write({"event": "disconnected", "connection": connection, "peer": peer})

    def refused(self, peer: str, reason: str, why: str | None = None) -> None:
        self._write({"event": "refused", "peer": peer, "reason": reason} | ({"why": why} if why else {}))

    def _write(self, fields: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.put(self._line(fields))

    def _line(self, fields: dict[str, Any]) -> str:
        # ASCII: some tools take other characters than \n for the end of a line.
        line = _encode({"time": logs.timestamp(time.time())} | fields)
        for secret in self._secrets:
            line = line.replace(secret, "[redacted]")
        return line


def _code(code: str) -> dict[str, Any]:
    whole = code.encode("utf-8", "backslashreplace")
    cut = whole[:CODE_BYTES].decode("utf-8", "ignore")
    return {"code": cut} | ({"truncated": True} if len(whole) > CODE_BYTES else {})
