"""Who sees a session's stream: how connections come, catch up and leave, and how the others are told."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from nrepl_py.errors import BadSince
from nrepl_py.server.context import Asker, Context
from nrepl_py.server.session import Session
from nrepl_py.server.stream import Replay

MAX_NAMED: Final = 32
"""Clients named in one event: each that comes or goes is told to all."""


def attach(context: Context, session: Session, asker: Asker, since: int | None, takes_over: bool) -> None:
    """Show this connection everything from now on, or all after `since`; it is answered when what there was
    has been sent. With `takes_over` it stands in for who asked an eval and is gone: the worker waits for it
    where it is slow. Raises `BadSince`."""
    stream, connection = session.stream, asker.connection
    if since is not None and not 0 <= since <= stream.log.last_seq:
        raise BadSince(f"attach: 'since' is {since}; the last message of this session is {stream.log.last_seq}")
    new = connection not in stream.clients
    if since is None:
        stream.detach(connection)
        context.reply(asker, _attached(session, asker, stream.log.last_seq))
        stream.attach(connection)
    else:
        Replay(context, stream, asker, since, partial(_caught_up, context, session))
        if takes_over:
            session.take_over(connection)
    if new:
        _tell(context, session)
    session.hold()


def detach(context: Context, session: Session, connection: int) -> None:
    """Show this connection no more than it asks for: it wants that, or is gone."""
    if connection in session.stream.clients:
        session.idle.touch()
        session.stream.detach(connection)
        _tell(context, session)
    session.hold()


def _tell(context: Context, session: Session) -> None:
    numbers = session.stream.clients
    named = [{"number": number, "name": context.connections[number].client} for number in numbers[-MAX_NAMED:]]
    session.tell("clients", {"count": len(numbers), "clients": named})


def _caught_up(context: Context, session: Session, replay: Replay) -> None:
    context.reply(replay.asker, _attached(session, replay.asker, replay.at, replay.gap))
    session.hold()


def _attached(session: Session, asker: Asker, last_seq: int, gap: bool = False) -> dict[str, Any]:
    running = session.running
    return {
        "id": asker.id,
        "session": session.id,
        "first-seq": session.stream.log.first_seq,
        "last-seq": last_seq,
        "epoch": session.ref.epoch,
        "running": running.id if running else None,
        "queued": len(session.queue),
        "waiting-for-input": running is not None and running.waits,
        "status": ["replay-gap", "done"] if gap else ["done"],
    }
