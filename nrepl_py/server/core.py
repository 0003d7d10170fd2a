"""What handlers work with: the sessions, the surroundings, and how sessions come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from nrepl_py.errors import Busy, Forbidden, QuotaExceeded
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.ops import Cause, Clone, Eval, Sandbox, SessionLimits
from nrepl_py.server.context import Connection, Context
from nrepl_py.server.principals import Principal
from nrepl_py.server.registry import Registry
from nrepl_py.server.session import Session

UNAUTHORIZED: Final = 4401
"""Close code, from the contract: no token, or a wrong one."""


@dataclass(slots=True)
class Core:
    """One for a router. `defaults` and the functions are the router's own arguments."""

    context: Context
    registry: Registry
    new_id: Callable[[], str]
    check_token: Callable[[str], Principal | None]
    capabilities: frozenset[str]
    defaults: dict[str, Any]

    def find(self, client: Connection, ref: str) -> Session:
        """The client's session of that id or name, which is used by that. Raises `UnknownSession`."""
        session = self.registry.find(principal_of(client).name, ref)
        session.idle.touch()
        return session

    def find_to_close(self, client: Connection, ref: str) -> Session:
        """The client's session, or with `admin` anybody's by its id. Raises `UnknownSession`."""
        principal = principal_of(client)
        session = self.registry.lookup(principal.name, ref)
        if session is None and "admin" in principal.capabilities:
            other = self.registry.by_id.get(ref)
            session = None if other is None or other.transient else other
        return session or self.find(client, ref)

    def check_evals(self, client: Connection) -> None:
        """Raises `QuotaExceeded` where the client has as many evals open as it may have."""
        principal = principal_of(client)
        most = principal.quota.evals
        if most is not None and (count := self.registry.open_evals(principal.name)) >= most:
            raise QuotaExceeded(f"{count} of your evals run or wait, as many as you may have; wait for a 'done'")

    def clone(self, client: Connection, request: Clone) -> None:
        """Start a session; the request is answered when its worker is up. Raises `QuotaExceeded`, `Forbidden`
        and, where the name is taken, `InvalidMessage`."""
        self._check_clone(client, request, request.sandbox)
        spec = Spec(
            ref=Ref(self.new_id(), 1),
            python=request.python,
            cwd=request.cwd,
            env=request.env,
            inherit_env=tuple(request.inherit_env),
            preload=tuple(request.preload),
            sandbox=request.sandbox or Sandbox(),
            limits=self._limits(client, request.limits),
            owner=principal_of(client).owner,
        )
        self._add(client, request, spec)

    def copy(self, client: Connection, request: Clone, origin: Session) -> None:
        """The same with a copy of that session. Raises also `Busy` and `Unavailable`, where it cannot be had now."""
        self._check_clone(client, request, origin.spec.sandbox)
        origin.check_copy("clone")
        self._add(client, request, origin.copied(Ref(self.new_id(), 1), request.force), origin)

    def _check_clone(self, client: Connection, request: Clone, sandbox: Sandbox | None) -> None:
        owner = principal_of(client).name
        self.registry.check_name(owner, request.name)
        self._check_tier(client, sandbox)
        if self._is_full(client):
            raise QuotaExceeded(f"clone: you have {self.registry.count(owner)} sessions; close one first")

    def _add(self, client: Connection, request: Clone, spec: Spec, origin: Session | None = None) -> None:
        session = Session(self.context, spec, principal_of(client).name, name=request.name, idle=request.idle)
        if origin is not None:
            session.counts_from(origin)
        session.waiting.clone = self.context.asker(client, request)
        session.stream.attach(client.number)
        self.registry.add(session)

    def transient(self, client: Connection, request: Eval) -> None:
        """Run one eval in a session of its own that ends with it. Raises `Busy`."""
        owner = principal_of(client).name
        if self._is_full(client):
            raise Busy(f"eval: you have {self.registry.count(owner)} sessions; close one, or wait until an eval ends")
        self._check_tier(client, None)
        principal = principal_of(client)
        spec = Spec(ref=Ref(self.new_id(), 1), limits=self._limits(client, None), owner=principal.owner)
        session = Session(self.context, spec, owner, transient=self.context.asker(client, request))
        session.submit(request, client)
        self.registry.add(session)
        client.transients[request.id] = session.id

    def close(self, session: Session, by: str) -> None:
        """End a session and forget it."""
        session.close(Cause(kind="killed", by=by), self.context.limits.stop_grace_seconds)
        self.tidy(session)

    def tidy(self, session: Session) -> None:
        """Forget the session if it has ended for good."""
        if session.life != "closed":
            return
        self.registry.remove(session)
        session.idle.end()
        if session.transient is not None:
            client = self.context.connections.get(session.transient.connection)
            if client is not None:
                client.transients.pop(session.transient.id, None)

    def _check_tier(self, client: Connection, sandbox: Sandbox | None) -> None:
        """Raises `Forbidden` where the client may not have a session confined no further than that."""
        principal = principal_of(client)
        tier = (sandbox.tier if sandbox else None) or self.context.describe().get("tier")
        if principal.tiers is not None and tier not in principal.tiers:
            raise Forbidden(f"{principal.name!r} may have sessions in {', '.join(sorted(principal.tiers))} only")

    @staticmethod
    def _limits(client: Connection, asked: SessionLimits | None) -> SessionLimits:
        """What was asked for, and no more memory than all of the principal's."""
        asked = asked or SessionLimits()
        most = principal_of(client).quota.memory_bytes
        if most is None or (asked.memory_bytes or most) < most:
            return asked
        return replace(asked, memory_bytes=most)

    def _is_full(self, client: Connection) -> bool:
        principal = principal_of(client)
        most, own = self.context.limits.max_sessions_per_principal, principal.quota.sessions
        return self.registry.count(principal.name) >= (most if own is None else min(most, own))


def principal_of(client: Connection) -> Principal:
    """Whose connection it is; the router lets nobody else ask."""
    assert client.principal is not None
    return client.principal
