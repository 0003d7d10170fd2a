"""Which message answers which request, and what a broken connection takes up again: a client's side, without any I/O.

Requests get their ids here and stay open until a reply carries `done`, or they are lost: every request
ends exactly once, and nothing is taken for a reply to it afterwards. What answers no open request (a
session's events, late output, evals that other clients asked for) is told apart.

    up ──broken──▶ down ──resume──▶ up        `lost` leads from both to the end, for good

Of each session the last number seen is kept. A connection that comes back attaches from there on to the
sessions it was attached to, and to those it has evals in; what was seen already is not told again. It asks
again what changes nothing, and evals that had not arrived: of which neither the log nor the session itself
knows. Where the log cannot tell any more, an eval ends with `ReplayGap` rather than run twice.

Whoever does the I/O sends what `request` (unless it `is_held`), `resume` and `take` return, hands in what
arrives, and carries out the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nrepl_py.client.seen import Seen
from nrepl_py.errors import DuplicateId, NreplError, from_reply

EVALS: Final = ("eval", "load-file")
IN_ORDER: Final = (*EVALS, "attach", "detach")
"""Ops that wait until their session has been caught up with: they must not overtake what is asked again."""

NEVER_BEGAN: Final = frozenset({"cancelled", "session-died", "session-closed", "session-restarted"})
"""Statuses of evals of which there may be nothing but the last message."""

HARMLESS: Final = frozenset(
    {"describe", "ls-sessions", "attach", "detach", "completions", "signature", "lookup", "is-complete"}
)
"""Ops that may be asked twice; an `interrupt` too, where it names its eval."""


class ConnectionLost(NreplError):
    """The connection ended before the request did. An eval may still be running: sessions outlive connections."""

    code = "connection-lost"


class ReplayGap(NreplError):
    """What became of the eval while the connection was away is no longer in its session's log."""

    code = "replay-gap"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message and its place: a reply to the open request `id`, or (None) to none.

    `last`: it ended the request. `error`: it refused the request, for the reason it names.
    """

    id: str | None
    message: dict[str, Any]
    last: bool = False
    error: NreplError | None = None


@dataclass(slots=True)
class _Open:
    """A request without `done`."""

    message: dict[str, Any]
    sent: bool
    """It may have arrived."""
    held: bool = False
    """It waits until its session has been caught up with."""
    session: str | None = None
    """Of an eval that is known to have arrived: its session's id."""
    heard: bool = False
    """A message of it has come."""
    asked_again: bool = False
    inherited: bool = False
    """An eval that arrived by an earlier connection, or may have: its messages come because this one has attached."""
    told_gap: bool = False

    @property
    def op(self) -> str:
        return str(self.message["op"])

    @property
    def is_eval(self) -> bool:
        return self.message["op"] in EVALS

    @property
    def is_unsure(self) -> bool:
        """Whether it was asked again and it is not known yet if that was needed."""
        return self.asked_again and self.session is None

    @property
    def outlives(self) -> bool:
        """Whether it goes on after its connection, or may be asked once more."""
        if self.is_eval and self.sent:
            return "session" in self.message
        return not self.sent or self.op in HARMLESS or "interrupt-id" in self.message


class Connection:
    """One client's side, over any number of connections one after the other. `prefix`: random, so that no
    id was ever used by another client of the same session."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self._open: dict[str, _Open] = {}
        self._up = True
        self._lost: ConnectionLost | None = None
        self._seen: dict[str, Seen] = {}
        self._ids: dict[str, str] = {}
        """The ids of sessions by what the caller calls them."""
        self._attached: set[str] = set()
        self._borrowed: set[str] = set()
        """Sessions attached to for the sake of evals alone."""
        self._late: set[str] = set()
        """Those of them attached to when messages of theirs were on their way already."""
        self._gaps: set[str] = set()
        """Sessions of which something is gone, as far as is known before they have been caught up with."""
        self._own: dict[str, str | None] = {}
        """The requests made here, not by the caller, by id: the session of an `attach`, None for others."""
        self._asked_again: set[str] = set()
        self._out: list[dict[str, Any]] = []

    @property
    def open(self) -> Mapping[str, str]:
        """The op of each open request, by its id, oldest first."""
        return {id: open.op for id, open in self._open.items()}

    def request(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Open a request; returns the message to send, unless it `is_held`. Field names may be written with
        underscores; fields that are None are left out. Raises `ConnectionLost` once it is."""
        if self._lost is not None:
            raise self._lost
        given = {name.replace("_", "-"): value for name, value in fields.items() if value is not None}
        message = {"op": op, "id": self._next_id()} | given
        held = self._has_to_wait(message)
        self._open[message["id"]] = _Open(message, self._up and not held, held)
        return message

    def is_open(self, id: str) -> bool:
        """Whether that request has not ended."""
        return id in self._open

    def is_held(self, id: str) -> bool:
        """Whether that request is not to be sent yet: `resume` or `take` will have it."""
        return id in self._open and not self._open[id].sent

    def unsent(self, id: str) -> None:
        """The request could not be sent: forget it."""
        self._open.pop(id, None)

    def take(self) -> list[dict[str, Any]]:
        """What is to be sent because of what was received."""
        out, self._out = self._out, []
        return out

    # -- messages -------------------------------------------------------------------------------

    def received(self, message: dict[str, Any]) -> list[Incoming]:
        """What a message means to the caller: as a rule that it came, but nothing where it was seen before
        or answers what was asked here, and more where it tells of several requests."""
        session = message.get("session")
        told: list[Incoming] = []
        if "seq" in message and isinstance(session, str):
            kind = self._take(session, message["seq"])
            if kind == "old":
                return []
            if kind == "gap" and self._is_catching_up(session):
                self._gaps.add(session)
                told = self._tell_gap(session)
            if message.get("event") == "closed":
                self._forget(session)
        return told + self._place(message, message.get("id"), session)

    def _take(self, session: str, seq: int) -> str:
        whole = (session in self._attached or session in self._borrowed) and session not in self._late
        loose = not whole and (session in self._late or any(open.is_unsure for open in self._open.values()))
        return self._seen.setdefault(session, Seen()).take(seq, whole=whole, loose=loose)

    def _place(self, message: dict[str, Any], id: object, session: Any) -> list[Incoming]:
        if not isinstance(id, str) or "event" in message:
            return [] if session in self._borrowed else [Incoming(None, message)]
        last = "done" in (message.get("status") or ())
        if id in self._own:
            own = self._own.pop(id) if last else None
            return [] if own is None else self._caught_up(own, message)
        open = self._open.get(id)
        if open is None:
            foreign = session in self._borrowed and not id.startswith(f"{self._prefix}-")
            return [] if foreign or self._is_echo(id, message) else [Incoming(None, message)]
        error = from_reply(message) if last else None
        if isinstance(error, DuplicateId) and open.asked_again:
            self._arrived(open, session)
            return []
        told: list[Incoming] = []
        if error is None and isinstance(session, str):
            self._ids[str(open.message.get("session", session))] = session
            if open.is_eval and not open.heard and "seq" in message:
                told = self._began(open, session, message)
        if last:
            del self._open[id]
            self._ended(open, message, error)
        return [*told, Incoming(id, message, last, error)]

    def _began(self, open: _Open, session: str, message: dict[str, Any]) -> list[Incoming]:
        """The first message of an eval that we see."""
        open.session, open.held, open.heard = session, False, True
        self._go_on()
        beginning = "started" in message or not NEVER_BEGAN.isdisjoint(message.get("status") or ())
        return [] if beginning else self._tell_gap(session)

    def _ended(self, open: _Open, message: dict[str, Any], error: NreplError | None) -> None:
        """What a request that has ended means for the next break."""
        if open.is_eval:
            self._leave(open.session)
            self._go_on()
        session = message.get("new-session" if open.op == "clone" else "session")
        if error is not None or not isinstance(session, str):
            return
        if open.op in ("clone", "attach"):
            self._ids[str(open.message.get("name" if open.op == "clone" else "session", session))] = session
            self._attached.add(session)
            self._borrowed.discard(session)
            self._seen.setdefault(session, Seen()).settle(int(message.get("last-seq", 0)))
        elif open.op == "detach":
            self._attached.discard(session)

    def _is_echo(self, id: str, message: dict[str, Any]) -> bool:
        """Whether it says of an eval that was asked again, and has ended since, that it had arrived."""
        return id in self._asked_again and isinstance(from_reply(message), DuplicateId)

    # -- breaking and coming back ---------------------------------------------------------------

    def broken(self, reason: str) -> tuple[list[str], ConnectionLost]:
        """The connection is gone and may come back. Returns the ids of the requests that ended with it,
        and the error they ended with."""
        self._up = False
        for known in (self._own, self._late, self._asked_again, self._out):
            known.clear()
        ended = [id for id, open in self._open.items() if not open.outlives]
        for id in ended:
            del self._open[id]
        return ended, ConnectionLost(reason)

    def resume(self) -> list[dict[str, Any]]:
        """There is a new connection, and it has been let in: what is to be sent over it, in this order."""
        self._up = True
        sessions = self._attached | {id for open in self._open.values() if (id := self._known(open))}
        self._borrowed = sessions - self._attached
        messages = [self._attach(session) for session in sorted(sessions)]
        for open in self._open.values():
            open.inherited, open.told_gap, open.asked_again = open.session is not None, False, False
        # Who attaches or detaches comes last: there may be evals to find first.
        for id, open in sorted(self._open.items(), key=lambda item: item[1].op in ("attach", "detach")):
            if open.session is None:
                open.held = self._has_to_wait(open.message)
                if not open.held:
                    messages.append(self._again(id, open))
        return messages

    def lost(self, reason: str) -> tuple[list[str], ConnectionLost]:
        """The connection is gone for good. Returns the ids of the requests that ended with it, and the
        error they ended with. Later requests raise that error too; a second loss changes nothing."""
        if self._lost is None:
            self._lost = ConnectionLost(reason)
        ended = list(self._open)
        self._open.clear()
        return ended, self._lost

    def _known(self, open: _Open) -> str | None:
        """The session to catch up with for the sake of this request: of an eval that has arrived, or where
        we know the session up to some number, so that what was said since tells whether it has."""
        id = self._id_of(open.message) if open.is_eval and open.sent else None
        return open.session or (id if id in self._seen else None)

    def _has_to_wait(self, message: dict[str, Any]) -> bool:
        """Nothing may overtake what is asked again; and who detaches would miss what he came back for."""
        op, name, session = message["op"], message.get("session"), self._id_of(message)
        if op not in IN_ORDER:
            return False
        if session is not None and self._is_catching_up(session):
            return True
        if op in EVALS:
            return False
        unsure = any(open.is_unsure and open.message.get("session") == name for open in self._open.values())
        inherited = any(open.inherited and open.session == session for open in self._open.values())
        return unsure or (inherited and op == "detach")

    def _is_catching_up(self, session: str) -> bool:
        return session in self._own.values()

    def _id_of(self, message: dict[str, Any]) -> str | None:
        name = message.get("session", "")
        return name if name in self._seen else self._ids.get(name)

    def _again(self, id: str, open: _Open) -> dict[str, Any]:
        if open.is_eval and open.sent:
            open.asked_again = open.inherited = True
            self._asked_again.add(id)
        open.sent, open.held = True, False
        return open.message

    def _arrived(self, open: _Open, session: str | None) -> None:
        """An eval that was asked again had arrived before. What became of it is asked now: an answer from
        before might not know of it."""
        open.session = session
        if session is None:
            return
        self._ids[str(open.message["session"])] = session
        if session not in self._attached and session not in self._borrowed:
            self._borrowed.add(session)
            self._late.add(session)
        self._out.append(self._attach(session))

    def _attach(self, session: str) -> dict[str, Any]:
        id = self._next_id()
        self._own[id] = session
        return {"op": "attach", "id": id, "session": session, "since": self._seen.setdefault(session, Seen()).upto}

    def _caught_up(self, session: str, message: dict[str, Any]) -> list[Incoming]:
        """An answer to an `attach` made here: what it means for the evals of that session. Of several
        the last one counts, which replaced the others."""
        error = from_reply(message)
        if error is not None:
            ended = self._end(self._mine(session), message, error)
            self._forget(session)
            self._go_on()
            return [Incoming(None, message), *ended]
        if "replay-gap" in message["status"]:
            self._gaps.add(session)
        if self._is_catching_up(session):
            return []
        self._seen[session].settle(int(message.get("last-seq", 0)))
        told = self._judge(session, message)
        self._late.discard(session)
        self._gaps.discard(session)
        self._leave(session)
        self._go_on()
        return told

    def _judge(self, session: str, message: dict[str, Any]) -> list[Incoming]:
        gap, late = session in self._gaps, session in self._late
        told = [Incoming(None, message | {"status": ["replay-gap", "done"]})] if gap and not late else []
        lost: dict[str, _Open] = {}
        for id, open in self._mine(session).items():
            if not open.is_eval:
                continue  # `_go_on` looks after it, when it is known what runs
            if not open.sent:
                self._out.append(self._again(id, open))
            elif id in message.get("open", [id] if open.session else []):
                # It runs or waits. Where it has begun unseen, its next message will show that.
                open.session, open.held, open.inherited = session, False, True
            elif open.session or (gap and "open" in message):
                lost[id] = open
            else:  # Nothing is known of it where something would have to be: it has not arrived.
                self._out.append(self._again(id, open))
        why = ReplayGap("what became of this eval is no longer in its session's log")
        return told + self._end(lost, {"session": session, "status": ["error", ReplayGap.code, "done"]}, why)

    def _go_on(self) -> None:
        """What has waited need not wait any more, perhaps."""
        for id, open in self._open.items():
            if open.held and not self._has_to_wait(open.message):
                self._out.append(self._again(id, open))

    def _tell_gap(self, session: str) -> list[Incoming]:
        """Tell the evals that have arrived, once for each break, that they may have missed something."""
        told = []
        for id, open in self._open.items():
            if open.session == session and not open.told_gap:
                open.told_gap = True
                told.append(Incoming(id, {"id": id, "session": session, "status": ["replay-gap"]}))
        return told

    def _mine(self, session: str) -> dict[str, _Open]:
        """The open requests of that session that have arrived or are held."""
        return {
            id: open
            for id, open in self._open.items()
            if open.session == session or (open.held and self._id_of(open.message) == session)
        }

    def _end(self, evals: Mapping[str, _Open], message: dict[str, Any], error: NreplError) -> list[Incoming]:
        for id in evals:
            del self._open[id]
        return [Incoming(id, message | {"id": id}, True, error) for id in evals]

    def _leave(self, session: str | None) -> None:
        """The evals that a session was attached to for may have ended."""
        if session is None or self._is_catching_up(session):
            return
        if session in self._borrowed and not any(self._is_about(open, session) for open in self._open.values()):
            self._borrowed.discard(session)
            id = self._next_id()
            self._own[id] = None
            self._out.append({"op": "detach", "id": id, "session": session})

    def _is_about(self, open: _Open, session: str) -> bool:
        """Whether it is an eval of that session, or will turn out to be one."""
        return session == (open.session or (self._id_of(open.message) if open.is_unsure else None))

    def _forget(self, session: str) -> None:
        for known in (self._attached, self._borrowed, self._late, self._gaps):
            known.discard(session)
        self._seen.pop(session, None)
        self._ids = {name: id for name, id in self._ids.items() if id != session}

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"
