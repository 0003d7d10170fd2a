"""Who has attached to which stream, as the world's clients know it, and what each of them must have been sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(eq=False)
class Seat:
    """One connection before one stream: `at` is the last number it has; not `live`: it is still being sent the
    log; `gap`: it was sent a number that is not one more than the one before."""

    session: str
    connection: int
    at: int
    live: bool
    gap: bool = False
    leaves: bool = False


@dataclass
class Seats:
    """All of them, and what was said."""

    taken: dict[tuple[str, int], Seat] = field(default_factory=dict)
    attaches: dict[str, Seat] = field(default_factory=dict)
    """Of the open requests that were not refused."""
    later: dict[str, Seat] = field(default_factory=dict)
    """Of those that ask to stay after a replay."""
    said: dict[tuple[str, int], Message] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    """As each stream's last `clients` event had it."""
    live: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    """Who was sent what, as it was said, by the instructions under way."""
    replayed: list[Message] = field(default_factory=list)

    def take(self, session: str, connection: int, at: int, *, live: bool, request: str | None = None) -> None:
        """That connection attaches; one that was attached begins anew."""
        seat = self.taken[session, connection] = Seat(session, connection, at, live)
        if request is None:
            self.count[session] = 1  # nobody is told of the one who made the session
        else:
            self.attaches[request] = seat

    def stay(self, session: str, connection: int, request: str) -> bool:
        """It attaches without `since`: where it has yet to be sent the log, it stays after that."""
        seat = self.taken.get((session, connection))
        if seat is None or seat.live:
            return False
        seat.leaves = False
        self.later[request] = seat
        return True

    def detach(self, session: str, connection: int) -> None:
        """It leaves: at once, or after what it has yet to be sent."""
        seat = self.taken.get((session, connection))
        if seat is not None and not seat.live:
            seat.leaves = True
        else:
            self.leave(connection, session)

    def leave(self, connection: int, session: str | None = None) -> None:
        """It detaches, or is gone for good."""
        for key in [key for key in self.taken if key[1] == connection and session in (None, key[0])]:
            del self.taken[key]

    def replaying(self, session: str, connection: int) -> bool:
        """Whether it has not yet all there is."""
        seat = self.taken.get((session, connection))
        return seat is not None and not seat.live

    def send(self, connection: int, message: Message, first: int) -> bool:
        """It is sent a message of a stream whose log begins at `first`; whether as one that is new."""
        seq, session = message["seq"], message["session"]
        seat = self.taken.get((session, connection))
        if seat is not None:
            if not seat.live and seq != seat.at + 1:
                assert seat.at + 1 < seq == first, f"{seat} was not sent all that is left"
                seat.gap = True
            else:
                assert seq == seat.at + 1, f"{seat} was sent {seq}"
            seat.at = seq
            if not seat.live:
                self.replayed.append(message)
                return False
        self.live.setdefault((session, seq), set()).add(connection)
        return True

    def answer(self, reply: Message, last: int) -> None:
        """A reply to an `attach`, or to something else; `last` is the number of what was said before."""
        later = self.later.pop(reply["id"], None)
        assert later is None or (reply["last-seq"], reply["status"]) == (later.at, ["done"])
        seat = self.attaches.pop(reply["id"], None)
        if seat is None:
            return
        assert reply["last-seq"] == seat.at
        assert ("replay-gap" in reply["status"]) == seat.gap
        if self.taken.get((seat.session, seat.connection)) is seat:
            seat.live = True
            assert seat.at == last, f"{seat} was told that it had caught up with {last}"
            if seat.leaves:
                self.leave(seat.connection, seat.session)

    def check(self, session: str, last: int, *, closed: bool, leaving: set[int]) -> None:
        """Everyone in the front has all there is, and the count is right."""
        seats = [seat for seat in self.taken.values() if seat.session == session]
        for seat in seats:
            assert not seat.live or seat.at == last or seat.connection in leaving, f"{seat} has not all {last}"
        assert closed or self.count[session] == len(seats), f"{session} has {len(seats)} clients"
        for message in self.replayed:
            assert message == self.said[message["session"], message["seq"]], "it is replayed otherwise than it was said"
        self.replayed.clear()
