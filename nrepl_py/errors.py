"""Every error the protocol knows: one class for one code, and the two ways between them.

    NreplError
    ├── Unparseable          unparseable
    ├── InvalidMessage       invalid-message
    ├── UnknownOp            unknown-op
    ├── UnknownSession       unknown-session
    ├── DuplicateId          duplicate-id
    ├── Unauthorized         unauthorized
    ├── Forbidden            forbidden
    ├── Busy                 busy
    ├── QuotaExceeded        quota-exceeded
    ├── StartFailed          start-failed
    ├── NoCapacity           no-capacity
    ├── NotSupported         not-supported
    ├── UnsupportedVersion   unsupported-version
    ├── NotFound             not-found
    ├── Unavailable          unavailable
    ├── BadSince             bad-since
    └── Internal             internal

The server raises these and turns them into replies in one place (`reply`); a client turns a reply
back into the same class (`from_reply`). The sentence says what to do; no code matches on its text.
"""

from __future__ import annotations

from typing import Any, ClassVar


class NreplError(Exception):
    """An error reply. `code` is the status, `str(error)` the sentence for a person."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unparseable(NreplError):
    """The frame was not a message at all, so the reply may have no `id`."""

    code = "unparseable"


class InvalidMessage(NreplError):
    """A field is missing, of the wrong type or out of range; the sentence names it."""

    code = "invalid-message"


class UnknownOp(NreplError):
    """This version has no such op; `describe` lists those it has."""

    code = "unknown-op"


class UnknownSession(NreplError):
    """No session has that id or name, or it is another principal's."""

    code = "unknown-session"


class DuplicateId(NreplError):
    """That eval id is open or still in the session's log; nothing ran."""

    code = "duplicate-id"


class Unauthorized(NreplError):
    """No token yet, or a wrong one. The connection closes with 4401."""

    code = "unauthorized"


class Forbidden(NreplError):
    """The connection lacks the capability the op needs."""

    code = "forbidden"


class Busy(NreplError):
    """A queue is full; wait for a `done`, then send again."""

    code = "busy"


class QuotaExceeded(NreplError):
    """The principal has as many sessions, or open evals, as it may have; close one, or wait for a `done`."""

    code = "quota-exceeded"


class StartFailed(NreplError):
    """The interpreter did not come up; the sentence has what it wrote to stderr."""

    code = "start-failed"


class NoCapacity(NreplError):
    """The evaluator has no room for another worker."""

    code = "no-capacity"


class NotSupported(NreplError):
    """This version, platform or evaluator cannot do what was asked."""

    code = "not-supported"


class UnsupportedVersion(NreplError):
    """The client speaks a protocol version that this server does not."""

    code = "unsupported-version"


class NotFound(NreplError):
    """The session knows nothing of the name asked about."""

    code = "not-found"


class Unavailable(NreplError):
    """The worker did not answer in time (1 s)."""

    code = "unavailable"


class BadSince(NreplError):
    """`since` is not a number this session's stream has reached."""

    code = "bad-since"


class Internal(NreplError):
    """Our fault; the cause is in the server's log."""

    code = "internal"


ERRORS: dict[str, type[NreplError]] = {cls.code: cls for cls in NreplError.__subclasses__()}


def reply(error: NreplError, id: str | None = None, session: str | None = None) -> dict[str, Any]:
    """The error as a reply message: `status` is `["error", CODE, "done"]`."""
    message: dict[str, Any] = {} if id is None else {"id": id}
    if session is not None:
        message["session"] = session
    return message | {"status": ["error", error.code, "done"], "message": error.message}


def from_reply(message: dict[str, Any]) -> NreplError | None:
    """The error a reply carries, or None. A code this version does not know becomes `NreplError`."""
    status = message.get("status", ())
    if "error" not in status:
        return None
    kind = next((ERRORS[s] for s in status if s in ERRORS), NreplError)
    return kind(str(message.get("message", "the server gave no reason")))
