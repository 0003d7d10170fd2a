"""Attaching, catching up, leaving: what is sent to whom, in which order, and who waits for whom."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.evaluators.frames import NeedInput, Output
from nrepl_py.limits import Limits
from nrepl_py.server import instructions as do
from nrepl_py.server.audience import MAX_NAMED

from .bench import Bench, status
from .world import ANN, BOB, EYE


@pytest.fixture
def bench() -> Bench:
    """A session, and a second connection of the same principal."""
    bench = Bench().clone()
    bench.router.connected(2, ANN)
    return bench


def sent(bench: Bench, connection: int) -> list[Any]:
    """What the last event sent to that connection: a number of the stream, or an id."""
    messages = [send.message for send in bench.of(do.Send) if connection in send.connections]
    return [message.get("seq", message.get("id")) for message in messages]


def attach(bench: Bench, connection: int = 2, **fields: Any) -> list[dict[str, Any]]:
    return bench.ask("attach", connection, session=bench.session, **fields)


def room(bench: Bench, connection: int = 2) -> list[dict[str, Any]]:
    return bench.note(bench.router.room(connection))


def prints(bench: Bench, serial: int = 1, text: str = "x") -> list[dict[str, Any]]:
    return bench.says(Output(serial=serial, text=text))


def test_live_only(bench: Bench) -> None:
    reply, event = attach(bench, id="a")
    assert reply == {
        "id": "a", "session": bench.session, "first-seq": 1, "last-seq": 1, "epoch": 1, "running": None, "queued": 0, "open": [],
        "waiting-for-input": False, "status": ["done"],
    }  # fmt: skip
    clients = [{"number": 1, "name": None}, {"number": 2, "name": None}]
    assert event == {
        "session": bench.session, "seq": 2, "event": "clients", "epoch": 1, "count": 2, "clients": clients
    }  # fmt: skip
    bench.eval("e")
    assert bench.of(do.Send)[0].connections == (1, 2)


def test_a_replay_waits_for_room_and_is_then_answered(bench: Bench) -> None:
    bench.eval("e")
    attach(bench, id="a", since=1)
    assert bench.of(do.Room) == [do.Room(2)]
    assert sent(bench, 2) == []
    prints(bench)
    assert sent(bench, 2) == []  # all in its order
    room(bench)
    assert sent(bench, 2) == [2, 3, 4, "a"]
    assert bench.of(do.Send)[-1].message["last-seq"] == 4
    assert bench.of(do.Room) == []
    prints(bench)
    assert sent(bench, 2) == [5]


def test_it_says_what_runs(bench: Bench) -> None:
    bench.eval("e")
    bench.eval("f")
    bench.says(NeedInput(serial=1, prompt="? "))
    reply, _ = attach(bench)
    assert (reply["running"], reply["queued"], reply["waiting-for-input"]) == ("e", 1, True)
    assert reply["open"] == ["e", "f"]


def test_a_long_replay_is_sent_in_portions_and_in_turn() -> None:
    bench = Bench(Limits(outbox_bytes=80_000)).clone()
    bench.router.connected(2, ANN)
    other = bench.session
    bench.clone()
    bench.eval("e")
    for _ in range(10):
        prints(bench, text="x" * 8000)
    attach(bench, id="a", since=0)
    bench.ask("attach", 2, session=other, id="b", since=0)
    assert bench.of(do.Room) == []  # it was asked for once
    portions = []
    while not portions or bench.of(do.Room):
        room(bench)
        portions.append(sent(bench, 2))
    # 20,000 bytes each, and the sessions take turns.
    assert portions == [[1, 2, 3, 4], [1, 2, "b"], [5, 6], [7, 8], [9, 10], [11, 12, 13, "a"]]


def test_what_is_gone_is_said() -> None:
    bench = Bench(Limits(log_bytes=30_000)).clone()
    bench.router.connected(2, ANN)
    bench.eval("e")
    attach(bench, id="a", since=1)
    for _ in range(4):
        prints(bench, text="x" * 8000)
    room(bench)
    assert sent(bench, 2) == [5, 6, 7, "a"]
    reply = bench.of(do.Send)[-1].message
    assert (reply["status"], reply["first-seq"], reply["last-seq"]) == (["replay-gap", "done"], 5, 7)
    # The next one begins there, and misses nothing.
    attach(bench, id="b", since=4)
    assert room(bench)[-1]["status"] == ["done"]


@pytest.mark.parametrize("since", [-1, 2, 1 << 62])
def test_a_number_never_reached(bench: Bench, since: int) -> None:
    (reply,) = attach(bench, since=since)
    assert reply["status"] == ["error", "bad-since", "done"]
    assert bench.of(do.Room) == []


def test_a_second_attach_replaces_the_first(bench: Bench) -> None:
    bench.eval("e")
    attach(bench, id="a", since=0)
    assert status(attach(bench, id="b", since=2)) == [("a", ["done"])]
    room(bench)
    assert sent(bench, 2) == [3, "b"]
    prints(bench)
    assert sent(bench, 2) == [4]


def test_to_stay_or_not_to_stay_is_answered_after_a_replay(bench: Bench) -> None:
    attach(bench, id="a", since=1)
    bench.eval("e", connection=2)
    for number, op in enumerate(("attach", "detach", "detach", "attach")):
        assert bench.ask(op, 2, session=bench.session, id=f"{number}") == []
    room(bench)
    assert sent(bench, 2) == [2, 3, "a", "0", "1", "2", "3"]
    prints(bench)
    assert sent(bench, 2) == [4]


def test_who_detaches_during_a_replay_misses_nothing_it_asked_for(bench: Bench) -> None:
    attach(bench, id="a", since=0)
    bench.eval("e", connection=2)
    bench.ask("detach", 2, session=bench.session, id="d")
    bench.ends(1)
    room(bench)
    assert sent(bench, 2) == [1, 2, 3, 4, "a", "d"]
    assert sent(bench, 1) == [5]
    bench.eval("f")
    assert sent(bench, 2) == []


def test_detaching_tells_the_others(bench: Bench) -> None:
    attach(bench)
    bench.ask("detach", 2, session=bench.session, id="d")
    assert sent(bench, 2) == ["d"]
    assert sent(bench, 1) == [3]
    assert bench.of(do.Send)[1].message["count"] == 1
    assert status(bench.ask("detach", 2, session=bench.session, id="again")) == [("again", ["done"])]
    assert len(bench.did) == 1


def test_leaving_is_told_and_ends_a_replay(bench: Bench) -> None:
    attach(bench, id="a", since=0)
    (event,) = bench.note(bench.router.disconnected(2))
    assert (event["event"], event["count"]) == ("clients", 1)
    assert bench.router.room(2) == []


def test_a_replay_outlives_its_session(bench: Bench) -> None:
    bench.eval("e")
    attach(bench, id="a", since=1)
    bench.ask("close", session=bench.session)
    room(bench)
    assert sent(bench, 2) == [2, 3, 4, 5, "a"]
    assert bench.of(do.Send)[-2].message["event"] == "closed"


def test_who_leaves_a_closed_session_while_it_is_replayed(bench: Bench) -> None:
    attach(bench, id="a", since=0)
    bench.ask("close", session=bench.session)
    assert bench.note(bench.router.disconnected(2)) == []


def test_only_so_many_clients_are_named(bench: Bench) -> None:
    for number in range(3, 3 + MAX_NAMED):
        bench.router.connected(number, ANN)
        (_, event) = attach(bench, number)
    assert event["count"] == MAX_NAMED + 1
    assert [client["number"] for client in event["clients"]] == list(range(3, 3 + MAX_NAMED))


def test_strangers_do_not_attach(bench: Bench) -> None:
    bench.router.connected(3, BOB)
    for op in ("attach", "detach"):
        (reply,) = bench.ask(op, 3, session=bench.session)
        assert reply["status"] == ["error", "unknown-session", "done"]


# -- who waits for whom ---------------------------------------------------------------------------


def test_a_full_observer_is_dropped_when_something_is_said(bench: Bench) -> None:
    attach(bench)
    bench.eval("e")
    bench.note(bench.router.congested(2, True))
    assert bench.did == []
    prints(bench)
    assert bench.of(do.Disconnect) == [do.Disconnect(2, *do.TOO_SLOW)]
    assert [send.connections for send in bench.of(do.Send)] == [(1,)]
    assert bench.of(do.Hold) == []


def test_a_full_asker_is_waited_for(bench: Bench) -> None:
    bench.eval("e", connection=2)
    bench.note(bench.router.congested(2, True))
    assert bench.did == [do.Hold(bench.ref, True)]
    prints(bench)  # what was already on its way
    assert sent(bench, 2) == [3]
    assert bench.of(do.Disconnect) == []


def test_late_output_of_an_eval_is_observed(bench: Bench) -> None:
    bench.eval("e", connection=2)
    bench.ends(1)
    bench.eval("f", connection=1)
    bench.note(bench.router.congested(2, True))
    prints(bench, 1)
    assert bench.of(do.Disconnect) == [do.Disconnect(2, *do.TOO_SLOW)]


def test_who_comes_back_is_waited_for_while_it_catches_up(bench: Bench) -> None:
    bench.eval("e")
    bench.eval("f")
    bench.router.disconnected(1)
    attach(bench, since=1)
    assert bench.of(do.Hold) == [do.Hold(bench.ref, True)]
    room(bench)
    assert bench.of(do.Hold) == [do.Hold(bench.ref, False)]
    bench.note(bench.router.congested(2, True))
    assert bench.did == [do.Hold(bench.ref, True)]
    bench.ends(1)
    assert bench.of(do.Hold) == []  # the next one is its own too


@pytest.mark.parametrize(("principal", "since"), [(EYE, 1), (ANN, None)])
def test_an_observer_takes_nothing_over(bench: Bench, principal: Any, since: int | None) -> None:
    bench.router.connected(3, principal)
    bench.eval("e")
    bench.router.disconnected(1)
    attach(bench, 3, **({} if since is None else {"since": since}))
    room(bench, 3)
    assert bench.note(bench.router.congested(3, True)) == []
    prints(bench)
    assert bench.of(do.Disconnect) == [do.Disconnect(3, *do.TOO_SLOW)]


def test_nothing_is_taken_from_who_is_there(bench: Bench) -> None:
    bench.eval("e")
    attach(bench, since=1)
    assert bench.of(do.Hold) == []
    bench.note(bench.router.congested(1, True))
    assert bench.did == [do.Hold(bench.ref, True)]
