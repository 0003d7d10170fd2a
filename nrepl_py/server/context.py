"""What sessions, questions and interrupts share with the router: clients, bounds, and the instructions so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nrepl_py.evaluators.base import Ref
from nrepl_py.limits import Limits
from nrepl_py.server.instructions import Instruction, Send
from nrepl_py.server.principals import Principal


class Asker(NamedTuple):
    """To whom a direct reply goes, and to which request."""

    connection: int
    id: str


@dataclass(slots=True)
class Connection:
    """One client's connection. `principal` is None until it has shown a token; `full` while its
    outbox is; `transients` are its open evals without session, by id, and their hidden sessions."""

    number: int
    principal: Principal | None
    max_frame: int
    max_value: int = 0
    client: str | None = None
    full: bool = False
    transients: dict[str, str] = field(default_factory=dict)

    @property
    def max_data(self) -> int:
        """Bytes of plain data this client takes in one value. Three quarters of a frame are what
        base64 makes fit into it."""
        return max(self.max_value, self.max_frame * 3 // 4 - 4096)


@dataclass(slots=True)
class Context:
    """The core's surroundings, injected, and `out`, what it has decided since it was last asked."""

    limits: Limits
    clock: Callable[[], float]
    stages: Callable[[Ref, int], tuple[str, ...]]
    memory: Callable[[Ref], int | None]
    describe: Callable[[], dict[str, Any]]
    connections: dict[int, Connection] = field(default_factory=dict)
    out: list[Instruction] = field(default_factory=list)

    def reply(self, connection: int, message: dict[str, Any]) -> None:
        """Send a direct reply, unless the asker is gone."""
        if connection in self.connections:
            self.out.append(Send((connection,), message))

    def take(self) -> list[Instruction]:
        """The instructions decided so far; the next ones start a new list."""
        out, self.out = self.out, []
        return out
