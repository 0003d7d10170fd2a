"""Which sessions there are, whose they are, and how they are found."""

from __future__ import annotations

from nrepl_py.errors import InvalidMessage, UnknownSession
from nrepl_py.server.session import Session


class Registry:
    """The sessions that are not closed, by id, and by name for each principal."""

    def __init__(self) -> None:
        self.by_id: dict[str, Session] = {}
        self._of: dict[str, dict[str, Session]] = {}
        self._names: dict[tuple[str, str], Session] = {}

    def of(self, principal: str) -> list[Session]:
        """A principal's sessions, transient ones included, in order of creation."""
        return list(self._of.get(principal, {}).values())

    def count(self, principal: str) -> int:
        """How many there are."""
        return len(self._of.get(principal, ()))

    def open_evals(self, principal: str) -> int:
        """How many evals run or wait in them."""
        return sum(len(session.evals) for session in self._of.get(principal, {}).values())

    def find(self, principal: str, ref: str) -> Session:
        """The principal's session of that id or name. Raises `UnknownSession`, also for another's."""
        session = self.lookup(principal, ref)
        if session is None:
            raise UnknownSession(f"no session {ref!r}; 'ls-sessions' lists yours, 'clone' makes a new one")
        return session

    def lookup(self, principal: str, ref: str) -> Session | None:
        """The same, or None."""
        session = self.by_id.get(ref)
        if session is None or session.principal != principal or session.transient:
            session = self._names.get((principal, ref))
        return session

    def check_name(self, principal: str, name: str | None) -> None:
        """Raises `InvalidMessage` where the principal uses that name already."""
        taken = name is not None and ((principal, name) in self._names or name in self._of.get(principal, ()))
        if taken:
            raise InvalidMessage(f"clone: the name {name!r} is taken; choose another or close that session")

    def add(self, session: Session) -> None:
        """Make it findable."""
        self.by_id[session.id] = session
        self._of.setdefault(session.principal, {})[session.id] = session
        if session.name is not None:
            self._names[session.principal, session.name] = session

    def remove(self, session: Session) -> None:
        """Forget it; its name is free."""
        if self.by_id.pop(session.id, None) is None:
            return
        own = self._of[session.principal]
        del own[session.id]
        if not own:
            del self._of[session.principal]
        if session.name is not None:
            del self._names[session.principal, session.name]
