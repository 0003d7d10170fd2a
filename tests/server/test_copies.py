"""Copies of live sessions, as the router owns them: what they are of, when they are refused, and what waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Ref, Run
from nrepl_py.server import instructions as do

from .bench import READY, Bench, status

BUSY = ["error", "busy", "done"]


@pytest.fixture
def bench() -> Bench:
    return Bench().clone(python="py", cwd="/w")


def copy(bench: Bench, **fields: Any) -> Ref:
    """Asks for one of the session; gives the ref it is to have."""
    assert bench.ask("clone", session=bench.session, **fields) == []
    (start,) = bench.of(do.Start)
    ref: Ref = start.spec.ref
    return ref


def test_a_copy_is_of_the_worker_and_as_it_was_made(bench: Bench) -> None:
    copy(bench, name="copy", force=True)
    (start,) = bench.of(do.Start)
    spec = start.spec
    assert (spec.origin, spec.force, spec.python, spec.cwd) == (bench.ref, True, "py", "/w")
    (reply, event) = bench.note(bench.router.started(spec.ref, READY))
    assert (reply["new-session"], event["seq"], event["event"]) == (spec.ref.id, 1, "started")
    assert "left-behind" not in reply["info"]


def test_what_is_left_behind_is_told(bench: Bench) -> None:
    ref = copy(bench)
    left = {"threads": ("a",), "children": 1, "sockets": 0, "files": 2}
    ready = type(READY)(copied=left, start="clone")
    (reply, _) = bench.note(bench.router.started(ref, ready))
    assert reply["info"]["left-behind"] == left


def test_evals_wait_until_the_copy_is_made(bench: Bench) -> None:
    first, second = copy(bench), copy(bench)
    bench.eval("a")
    assert bench.ran == []
    bench.note(bench.router.started(first, READY))
    assert bench.ran == []
    bench.note(bench.router.start_failed(second, StartFailed("no")))
    assert bench.ran == ["a"]


def test_a_copy_that_is_closed_before_it_is_made_holds_nobody_up(bench: Bench) -> None:
    ref = copy(bench, name="copy")
    bench.ask("close", session="copy")
    bench.eval("a")
    assert bench.ran == []
    bench.note(bench.router.started(ref, READY))
    assert bench.ran == ["a"]
    assert bench.of(do.Stop) == [do.Stop(ref, 1)]


def test_its_evals_are_counted_on(bench: Bench) -> None:
    for serial in (1, 2, 3):
        bench.eval(f"e{serial}")
        bench.ends(serial)
    ref = copy(bench)
    bench.note(bench.router.started(ref, READY))
    bench.eval("first", session=ref.id)
    assert [run.serial for run in bench.told(Run)] == [4]


def test_one_that_is_busy_is_not_copied(bench: Bench) -> None:
    bench.eval("a")
    for fields in ({}, {"force": True}):
        assert status(bench.ask("clone", id="c", session=bench.session, **fields)) == [("c", BUSY)]
    bench.ends(1)
    copy(bench)


def test_one_that_is_not_there_is_not_copied(bench: Bench) -> None:
    bench.dies()
    (reply,) = bench.ask("clone", session=bench.session)
    assert reply["status"] == ["error", "unavailable", "done"]
    bench.eval("a")
    (reply,) = bench.ask("clone", session=bench.session)
    assert reply["status"] == ["error", "unavailable", "done"]


def test_a_copy_that_dies_starts_afresh(bench: Bench) -> None:
    ref = copy(bench)
    bench.note(bench.router.started(ref, READY))
    bench.session, bench.ref = ref.id, ref
    bench.dies()
    bench.eval("a")
    (start,) = bench.of(do.Start)
    assert (start.spec.origin, start.spec.force, start.spec.python) == (None, False, "py")


def snapshot(bench: Bench) -> Ref:
    ref = copy(bench, name="snapshot")
    bench.note(bench.router.started(ref, READY))
    return ref


def test_going_back(bench: Bench) -> None:
    ref = snapshot(bench)
    for epoch in (2, 3):
        bench.ask("restart", id="r", session=bench.session, **{"from": "snapshot"})
        assert bench.of(do.Start) == []
        bench.dies(kind="killed")
        (start,) = bench.of(do.Start)
        assert (start.spec.ref, start.spec.origin, start.spec.force) == (Ref(bench.session, epoch), ref, True)
        (event, reply) = bench.note(bench.router.started(start.spec.ref, READY))
        assert (event["event"], reply["epoch"], reply["status"]) == ("restarted", epoch, ["done"])


def test_what_waits_is_counted_on_too(bench: Bench) -> None:
    ref = snapshot(bench)
    for serial in (1, 2):
        bench.eval(f"s{serial}", session=ref.id)
        bench.session, own = ref.id, (bench.session, bench.ref)
        bench.ref = ref
        bench.ends(serial)
        bench.session, bench.ref = own
    bench.ask("restart", session=bench.session, **{"from": "snapshot"})
    bench.eval("a")
    bench.eval("b")
    bench.dies(kind="killed")
    bench.note(bench.router.started(bench.ref, READY))
    assert [(run.code, run.serial) for run in bench.told(Run)] == [("a", 3)]
    bench.ends(3)
    assert [(run.code, run.serial) for run in bench.told(Run)] == [("b", 4)]


def test_restarts_that_want_something_else(bench: Bench) -> None:
    ref = snapshot(bench)
    bench.ask("restart", id="fresh", session=bench.session)
    bench.ask("restart", id="back", session=bench.session, **{"from": "snapshot"})
    assert status(bench.ask("restart", id="other", session=bench.session)) == []  # as the first
    bench.dies(kind="killed")
    (start,) = bench.of(do.Start)
    assert start.spec.origin is None
    told = bench.note(bench.router.started(bench.ref, READY))
    assert [id for id, _ in status(told)] == ["fresh", "other"]
    bench.dies(kind="killed")
    (start,) = bench.of(do.Start)
    assert start.spec.origin == ref
    assert [id for id, _ in status(bench.note(bench.router.started(bench.ref, READY)))] == ["back"]


def test_no_third_place_to_go_back_to_at_once(bench: Bench) -> None:
    snapshot(bench)
    bench.note(bench.router.started(copy(bench, name="another"), READY))
    bench.ask("restart", id="a", session=bench.session)
    bench.ask("restart", id="b", session=bench.session, **{"from": "snapshot"})
    refused = bench.ask("restart", id="c", session=bench.session, **{"from": "another"})
    assert status(refused) == [("c", BUSY)]


def test_going_back_to_where_one_cannot_changes_nothing(bench: Bench) -> None:
    ref = snapshot(bench)
    (reply,) = bench.ask("restart", session=bench.session, **{"from": bench.session})
    assert reply["status"] == ["error", "invalid-message", "done"]
    bench.eval("busy", session=ref.id)
    (reply,) = bench.ask("restart", session=bench.session, **{"from": "snapshot"})
    assert reply["status"] == BUSY
    assert bench.of(do.Stop) == []


def test_a_copy_that_cannot_be_had_is_a_death(bench: Bench) -> None:
    snapshot(bench)
    bench.ask("restart", id="r", session=bench.session, **{"from": "snapshot"})
    bench.dies(kind="killed")
    told = bench.note(bench.router.start_failed(bench.ref, StartFailed("it ended")))
    assert status(told)[0] == ("r", ["error", "start-failed", "done"])
    bench.eval("a")
    (start,) = bench.of(do.Start)
    assert start.spec.origin is None
