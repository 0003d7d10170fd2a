"""What each op does: one handler for each record of `ops.py`.

A handler returns the fields of the reply, `status` included; or None where the reply comes later
(or as a stream). It refuses by raising an `NreplError`, before it has changed anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import to_builtins

from nrepl_py import ops
from nrepl_py.errors import DuplicateId, Forbidden, InvalidMessage, NotSupported, Unauthorized, UnsupportedVersion
from nrepl_py.introspection import completeness
from nrepl_py.ops import OP_OF, PROTOCOL_VERSION, Request
from nrepl_py.server import audience
from nrepl_py.server.context import Connection
from nrepl_py.server.core import Core, principal_of
from nrepl_py.server.describe import describe_ops
from nrepl_py.server.instructions import CancelTimer
from nrepl_py.server.session import Session

MAX_CHECKED: Final = 1 << 16
"""Characters of code whose completeness the router itself decides; parsing them takes some 20 ms,
during which nobody else is served."""

PROTOCOL: Final = {"min": PROTOCOL_VERSION, "max": PROTOCOL_VERSION}

Fields: TypeAlias = dict[str, Any] | None
Handler: TypeAlias = Callable[[Core, Connection, Any], Fields]
R = TypeVar("R", bound=Request)

HANDLERS: Final[dict[type[Request], Handler]] = {}


def handles(*kinds: type[Request]) -> Callable[[Callable[[Core, Connection, R], Fields]], Handler]:
    """Register the handler of these ops."""

    def register(handler: Callable[[Core, Connection, R], Fields]) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def done(*status: str, **fields: Any) -> dict[str, Any]:
    """The fields of a last reply."""
    return {name.replace("_", "-"): value for name, value in fields.items()} | {"status": [*status, "done"]}


@handles(ops.Hello)
def hello(core: Core, client: Connection, request: ops.Hello) -> Fields:
    if request.protocol != PROTOCOL_VERSION:
        raise UnsupportedVersion(f"hello: this server speaks version {PROTOCOL_VERSION}, not {request.protocol}")
    known = client.principal
    principal = known if request.token is None else core.check_token(request.token)
    if principal is None:
        raise Unauthorized("hello: the token is not this server's" if request.token else "hello: 'token' is missing")
    if known is None:
        client.principal = principal
        core.context.out.append(CancelTimer(("hello", client.number)))
    elif known.name != principal.name:
        raise Forbidden(f"hello: this connection is {known.name!r}'s; open another one for {principal.name!r}")
    limits = core.context.limits
    client.client = request.client_name or client.client
    client.max_frame = min(request.max_frame or client.max_frame, limits.max_frame_bytes)
    client.max_value = client.max_value if request.max_value is None else min(request.max_value, limits.max_value_bytes)
    server = {"name": "nrepl-py", "version": str(core.defaults.get("versions", {}).get("nrepl-py", ""))}
    in_force = client.principal or principal
    return done(
        principal=in_force.name,
        capabilities=sorted(in_force.capabilities),
        quota=to_builtins(in_force.quota),
        server=server,
        protocol=PROTOCOL,
    )


@handles(ops.Describe)
def describe(core: Core, client: Connection, request: ops.Describe) -> Fields:
    return done(
        ops=_ops(),
        versions=core.defaults.get("versions", {}) | {"protocol": PROTOCOL},
        sandbox=core.context.describe() | {"capabilities": sorted(core.capabilities)},
        limits=core.context.limits.described(),
        transports=list(core.defaults.get("transports", ())),
        **({"insecure": True} if core.defaults.get("insecure") else {}),
    )


_ops = cache(describe_ops)


@handles(ops.Clone)
def clone(core: Core, client: Connection, request: ops.Clone) -> Fields:
    if request.session is None:
        if request.force:
            raise InvalidMessage("clone: 'force' is for the copy of a live session; name it as 'session'")
        core.clone(client, request)
        return None
    chosen = next((name for name in _OF_FRESH if getattr(request, name)), None)
    if chosen is not None:
        name = chosen.replace("_", "-")
        raise InvalidMessage(f"clone: {name!r} cannot be chosen for a copy, which has all that of its 'session'")
    _check_copies(core, "clone")
    core.copy(client, request, core.find(client, request.session))
    return None


_OF_FRESH: Final = ("python", "cwd", "env", "inherit_env", "preload", "sandbox", "limits")
"""Fields of `clone` that a copy takes from its original."""


@handles(ops.Close)
def close(core: Core, client: Connection, request: ops.Close) -> Fields:
    session = core.find_to_close(client, request.session)
    core.close(session, "close")
    return done("session-closed", session=session.id)


@handles(ops.Restart)
def restart(core: Core, client: Connection, request: ops.Restart) -> Fields:
    session = core.find(client, request.session)
    origin = None
    if request.from_ is not None:
        _check_copies(core, "restart")
        origin = core.find(client, request.from_)
        if origin is session:
            raise InvalidMessage("restart: 'from' is the session itself; name a clone of it that was kept for this")
        origin.check_copy("restart")
    session.restart(core.context.asker(client, request), origin)
    return None


def _check_copies(core: Core, op: str) -> None:
    if "clone" not in core.capabilities:
        raise NotSupported(
            f"{op}: this server's sessions cannot be copied while they live: they are no processes that can fork"
        )


@handles(ops.LsSessions)
def ls_sessions(core: Core, client: Connection, request: ops.LsSessions) -> Fields:
    principal = principal_of(client)
    if request.all and "admin" not in principal.capabilities:
        raise Forbidden(f"ls-sessions: 'all' needs the capability 'admin', which {principal.name!r} lacks")
    sessions = list(core.registry.by_id.values()) if request.all else core.registry.of(principal.name)
    return done(sessions=[_entry(core, session) for session in sessions if not session.transient])


def _entry(core: Core, session: Session) -> dict[str, Any]:
    info, running = session.info, session.running
    return {
        "id": session.id,
        "name": session.name,
        "state": session.state,
        "epoch": session.ref.epoch,
        "python": info.executable if info else session.spec.python or "",
        "cwd": info.cwd if info else session.spec.cwd or "",
        "created": session.created,
        "last-active": session.last_active,
        "running": running.id if running else None,
        "queued": len(session.queue),
        "clients": len(session.stream.clients),
        "memory": core.context.memory(session.ref) if session.life == "ready" else None,
        "principal": session.principal,
    }


@handles(ops.Attach)
def attach(core: Core, client: Connection, request: ops.Attach) -> Fields:
    takes_over = "eval" in principal_of(client).capabilities
    session = core.find(client, request.session)
    audience.attach(core.context, session, core.context.asker(client, request), request.since, takes_over)
    return None


@handles(ops.Detach)
def detach(core: Core, client: Connection, request: ops.Detach) -> Fields:
    session = core.find(client, request.session)
    audience.detach(core.context, session, core.context.asker(client, request))
    return None


@handles(ops.Eval, ops.LoadFile)
def eval_(core: Core, client: Connection, request: ops.AnyEval) -> Fields:
    _check_kill(core, request.kill_after)
    core.check_evals(client)
    if request.session is not None:
        core.find(client, request.session).submit(request, client)
    elif request.id in client.transients:
        raise DuplicateId(f"eval {request.id!r} is still open on this connection; choose a new id")
    elif isinstance(request, ops.Eval):
        core.transient(client, request)
    return None


@handles(ops.Interrupt)
def interrupt(core: Core, client: Connection, request: ops.Interrupt) -> Fields:
    _check_kill(core, request.kill_after)
    session = _evaluating(core, client, request, "interrupt-id", request.interrupt_id)
    if session is None:
        return done("interrupt-id-mismatch", stages=[])
    asker = core.context.asker(client, request)
    outcome = session.interrupt(asker, request.interrupt_id, request.all, request.kill_after)
    core.tidy(session)
    return None if outcome is None else session.named | done(*outcome, stages=[])


@handles(ops.Stdin)
def stdin(core: Core, client: Connection, request: ops.Stdin) -> Fields:
    session = _evaluating(core, client, request, "eval", request.eval)
    if session is None:
        return done("session-idle")
    fed = session.feed(request.stdin, request.eval)
    return session.named | (done() if fed else done("session-idle"))


def _evaluating(
    core: Core, client: Connection, request: ops.Interrupt | ops.Stdin, field: str, eval_id: str | None
) -> Session | None:
    """The session that is named, else that of an eval without one; None where no such eval is open."""
    if request.session is not None:
        return core.find(client, request.session)
    if eval_id is None:
        raise InvalidMessage(f"{OP_OF[type(request)]}: name a 'session', or an eval without one by {field!r}")
    return core.registry.by_id.get(client.transients.get(eval_id, ""))


@handles(ops.Completions, ops.SignatureOp, ops.Lookup)
def introspect(core: Core, client: Connection, request: ops.Completions | ops.SignatureOp | ops.Lookup) -> Fields:
    session = core.find(client, request.session)
    op = OP_OF[type(request)]
    if isinstance(request, ops.Lookup) and request.sym is None and (request.code is None or request.cursor is None):
        raise InvalidMessage("lookup: give 'sym', or 'code' and 'cursor'")
    if request.code is not None and request.cursor is not None and request.cursor > len(request.code):
        raise InvalidMessage(f"{op}: 'cursor' is {request.cursor}, beyond the {len(request.code)} characters of 'code'")
    session.introspect(request, core.context.asker(client, request))
    return None


@handles(ops.IsComplete)
def is_complete(core: Core, client: Connection, request: ops.IsComplete) -> Fields:
    if request.session is not None:
        core.find(client, request.session).introspect(request, core.context.asker(client, request))
        return None
    if len(request.code) > MAX_CHECKED:
        raise NotSupported(f"is-complete: name a 'session' to check more than {MAX_CHECKED} characters")
    return done(**completeness.check(request.code))


def _check_kill(core: Core, kill_after: float | None) -> None:
    if kill_after is not None and "kill" not in core.capabilities:
        raise NotSupported("'kill-after' cannot be had: this server's sessions are not processes that can be killed")
