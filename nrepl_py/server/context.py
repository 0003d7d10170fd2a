"""What sessions, questions and interrupts share with the router: clients, bounds, the instructions so far,
and who watches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from nrepl_py.evaluators.base import Ref
from nrepl_py.limits import Limits
from nrepl_py.ops import OP_OF, Cause, EvalOptions, Request
from nrepl_py.server.instructions import Instruction, Room, Send
from nrepl_py.server.principals import Principal


@dataclass(slots=True)
class Connection:
    """One client's connection. `principal` is None until it has shown a token; `peer` says where it
    comes from, to those who watch; `transients` are its open evals without session, by id, and their
    hidden sessions; `replays` what it has yet to be sent of streams' logs, in turn, whenever it has the
    room it `waits` for."""

    number: int
    principal: Principal | None
    max_frame: int
    peer: str | None = None
    max_value: int = 0
    client: str | None = None
    transients: dict[str, str] = field(default_factory=dict)
    replays: deque[Replay] = field(default_factory=deque)
    waits: bool = False

    @property
    def max_data(self) -> int:
        """Bytes of plain data this client takes in one value. Three quarters of a frame are what
        base64 makes fit into it."""
        return max(self.max_value, self.max_frame * 3 // 4 - 4096)


class Replay(Protocol):
    """A log that is being sent to one connection, as `stream.Replay`."""

    def go_on(self) -> None:
        """Send the next portion."""

    def end(self) -> None:
        """Send no more."""


class Asker(Struct, frozen=True):
    """A request, as its last reply needs it: to whom that goes, to which id, and what is told of it.

    `id` is empty and `op` None where a message had none that could be repeated; `code` is that of an
    eval; `accepted` is seconds on the watcher's clock."""

    client: Connection
    id: str
    op: str | None
    code: str | None = None
    accepted: float = 0.0

    @property
    def connection(self) -> int:
        """The number of the connection that asked."""
        return self.client.number


class Watch:
    """Is told what happens, as it happens, and changes nothing: this one does not listen.

    Every message of a client's is `answered` exactly once, whenever that is and whoever is gone by
    then. No method may raise, wait, or call the router."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return 0.0

    def answered(self, asker: Asker, reply: dict[str, Any]) -> None:
        """A request has had its last reply, or would have: its asker may be gone."""

    def running(self, asker: Asker) -> None:
        """An eval begins to run."""

    def session(self, event: str, session: str, principal: str, cause: Cause | None) -> None:
        """A session that clients can name has `started`, `restarted`, `died`, is about to end for want of use
        (`culling`) or is `closed`."""

    def died(self, cause: Cause) -> None:
        """A worker ended that nobody had asked to, in any session."""


@dataclass(slots=True)
class Context:
    """The core's surroundings, injected, and `out`, what it has decided since it was last asked."""

    limits: Limits
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    stages: Callable[[Ref, int], tuple[str, ...]]
    memory: Callable[[Ref], int | None]
    describe: Callable[[], dict[str, Any]]
    watch: Watch
    connections: dict[int, Connection] = field(default_factory=dict)
    full: set[int] = field(default_factory=set)
    """The connections whose outbox is."""
    out: list[Instruction] = field(default_factory=list)
    output_bytes: int = 0
    """What workers have written so far, in all sessions."""

    def asker(self, client: Connection, request: Request) -> Asker:
        """Who asked this, now."""
        code = request.code if isinstance(request, EvalOptions) else None
        return Asker(client, request.id, OP_OF[type(request)], code, self.watch.now())

    def reply(self, asker: Asker, message: dict[str, Any]) -> None:
        """Send the last reply to a request, unless its asker is gone."""
        self.watch.answered(asker, message)
        if asker.connection in self.connections:
            self.out.append(Send((asker.connection,), message))

    def ask_room(self, client: Connection) -> None:
        """`Router.room` is to be called when this connection has some."""
        if not client.waits:
            client.waits = True
            self.out.append(Room(client.number))

    def take(self) -> list[Instruction]:
        """The instructions decided so far; the next ones start a new list."""
        out, self.out = self.out, []
        return out
