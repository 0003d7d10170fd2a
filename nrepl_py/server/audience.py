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
    if since is not None:
        Replay(context, stream, asker, since, partial(_replayed, context, session))
        if takes_over:
            session.take_over(connection)
    elif connection in stream.replays:
        stream.replays[connection].then.append((asker, True))
    else:
        context.reply(asker, _attached(session, asker, stream.log.last_seq))
        stream.attach(connection)
    if new:
        _tell(context, session)
    session.hold()


def detach(context: Context, session: Session, asker: Asker) -> None:
    """Show this connection no more than it asks for; not before a replay has ended, which may have in it what
    its own evals have said meanwhile."""
    replay = session.stream.replays.get(asker.connection)
    if replay is not None:
        replay.then.append((asker, False))
        return
    context.reply(asker, _detached(session, asker))
    leave(context, session, asker.connection)


def leave(context: Context, session: Session, connection: int) -> None:
    """This connection has detached, or is gone."""
    if connection in session.stream.clients:
        session.idle.touch()
        session.stream.detach(connection)
        _tell(context, session)
    session.hold()


def _tell(context: Context, session: Session) -> None:
    if session.life == "closed":
        return  # nothing follows that
    numbers = session.stream.clients
    named = [{"number": number, "name": context.connections[number].client} for number in numbers[-MAX_NAMED:]]
    session.tell("clients", {"count": len(numbers), "clients": named})


def _replayed(context: Context, session: Session, replay: Replay, caught_up: bool) -> None:
    asker, stays = replay.asker, True
    context.reply(asker, _attached(session, asker, replay.at, replay.gap))
    for later, stays in replay.then:
        context.reply(later, _attached(session, later, replay.at) if stays else _detached(session, later))
    if caught_up and stays:
        session.stream.attach(asker.connection)
    elif caught_up:
        _tell(context, session)
    session.hold()


def _detached(session: Session, asker: Asker) -> dict[str, Any]:
    return {"id": asker.id, "session": session.id, "status": ["done"]}


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
        "open": list(session.evals),
        "waiting-for-input": running is not None and running.waits,
        "status": ["replay-gap", "done"] if gap else ["done"],
    }
