"""Who may ask, what each op answers, and that nothing a client or a worker does raises."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py import ops
from nrepl_py.errors import NoCapacity, StartFailed, Unparseable
from nrepl_py.evaluators.base import Exited, Lost, Ref, Said
from nrepl_py.evaluators.frames import Output, Ready
from nrepl_py.limits import Limits
from nrepl_py.ops import Cause
from nrepl_py.server import handlers
from nrepl_py.server import instructions as do
from nrepl_py.server.principals import Principal
from nrepl_py.server.router import Router

from .bench import READY, Bench, status
from .world import BOB, make_router

REFUSED = ["error", "unauthorized", "done"]


@pytest.fixture
def bench() -> Bench:
    return Bench().clone()


# -- who may ask


def test_a_connection_without_a_token_has_so_long_to_say_hello(bench: Bench) -> None:
    bench.note(bench.router.connected(2, None))
    assert bench.did == [do.SetTimer(("hello", 2), 10)]
    bench.timer("hello", 2)
    assert bench.did == [do.Disconnect(2, 4401, "no hello in time")]


@pytest.mark.parametrize(
    "message", [{"op": "describe", "id": "1"}, {"op": "nonsense", "id": "1"}, {"op": "eval", "id": "1", "code": 3}]
)
def test_before_hello_everything_is_refused(bench: Bench, message: dict[str, Any]) -> None:
    bench.router.connected(2, None)
    (reply,) = bench.note(bench.router.received(2, message))
    assert (reply["id"], reply["status"]) == ("1", REFUSED)
    assert bench.of(do.Disconnect) == [do.Disconnect(2, 4401, "unauthorized")]


def test_hello_with_the_token(bench: Bench) -> None:
    bench.router.connected(2, None)
    (reply,) = bench.ask(
        "hello", connection=2, id="h", token="ann", client_name="ed", max_frame=70_000, max_value=1 << 40
    )
    assert reply == {
        "id": "h",
        "principal": "ann",
        "capabilities": ["eval"],
        "quota": {},
        "server": {"name": "nrepl-py", "version": "1"},
        "protocol": {"min": 1, "max": 1},
        "status": ["done"],
    }
    assert do.CancelTimer(("hello", 2)) in bench.did
    assert bench.timer("hello", 2) == bench.did == []
    assert bench.router.bounds(2) == (70_000, Limits().max_value_bytes)
    (message,) = bench.eval("a", connection=2)
    assert message["started"]["client"] == "ed"


@pytest.mark.parametrize("fields", [{}, {"token": "wrong"}, {"token": ""}])
def test_hello_without_the_token(bench: Bench, fields: dict[str, Any]) -> None:
    bench.router.connected(2, None)
    assert status(bench.ask("hello", connection=2, id="h", **fields)) == [("h", REFUSED)]
    assert bench.of(do.Disconnect)


def test_a_second_hello_is_fine_but_not_with_a_wrong_token(bench: Bench) -> None:
    assert status(bench.ask("hello", id="h")) == [("h", ["done"])]
    assert status(bench.ask("hello", id="h", token="ann")) == [("h", ["done"])]
    assert status(bench.ask("hello", id="h", token="bob")) == [("h", ["error", "forbidden", "done"])]
    assert status(bench.ask("hello", id="h", token="x")) == [("h", REFUSED)]
    assert bench.of(do.Disconnect)


def test_another_version_is_told_ours(bench: Bench) -> None:
    bench.router.connected(2, None)
    (reply,) = bench.ask("hello", connection=2, token="ann", protocol=2)
    assert reply["status"] == ["error", "unsupported-version", "done"]
    assert "version 1" in reply["message"]
    assert not bench.of(do.Disconnect)


def test_a_capability_is_needed() -> None:
    bench = Bench()
    bench.router.connected(2, Principal("guest", frozenset()))
    assert status(bench.ask("clone", connection=2, id="c")) == [("c", ["error", "forbidden", "done"])]
    assert status(bench.ask("ls-sessions", connection=2, id="l")) == [("l", ["done"])]


def test_sessions_of_others_do_not_exist(bench: Bench) -> None:
    bench.router.connected(2, BOB)
    bench.clone(name="mine")
    for op, fields in {
        "close": {},
        "eval": {"code": "1"},
        "interrupt": {},
        "stdin": {"stdin": ""},
        "lookup": {"sym": "x"},
    }.items():
        for ref in (bench.session, "mine"):
            asked = bench.ask(op, connection=2, id="x", session=ref, **fields)
            assert status(asked) == [("x", ["error", "unknown-session", "done"])]
    assert bench.ask("ls-sessions", connection=2)[0]["sessions"] == []


# -- messages


def test_a_frame_that_was_no_message_is_answered_without_an_id(bench: Bench) -> None:
    (reply,) = bench.note(bench.router.unparseable(1, Unparseable("no")))
    assert reply == {"status": ["error", "unparseable", "done"], "message": "no"}


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ({}, {"status": ["error", "invalid-message", "done"]}),
        ({"op": "eval", "id": 5, "code": ""}, {"status": ["error", "invalid-message", "done"]}),
        ({"op": "evl", "id": "1"}, {"id": "1", "status": ["error", "unknown-op", "done"]}),
        (
            {"op": "eval", "id": "1", "session": "S"},
            {"id": "1", "session": "S", "status": ["error", "invalid-message", "done"]},
        ),
        (
            {"op": "eval", "id": "1", "session": 3, "code": ""},
            {"id": "1", "status": ["error", "invalid-message", "done"]},
        ),
        (
            {"op": "close", "id": "1", "session": "S"},
            {"id": "1", "session": "S", "status": ["error", "unknown-session", "done"]},
        ),
    ],
)
def test_a_refusal_repeats_what_it_can(bench: Bench, message: dict[str, Any], reply: dict[str, Any]) -> None:
    ((sent),) = bench.note(bench.router.received(1, message))
    assert sent.pop("message")
    assert sent == reply


def test_a_refusal_names_the_session_by_id(bench: Bench) -> None:
    bench.clone(name="main")
    (reply,) = bench.ask("eval", session="main")
    assert reply["session"] == bench.session


def test_every_op_has_its_handler() -> None:
    assert set(handlers.HANDLERS) == set(ops.OPS.values())


def test_a_bug_is_an_internal_error_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bugs: list[tuple[str, BaseException]] = []
    bench = Bench(on_bug=lambda where, bug: bugs.append((where, bug))).clone()

    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(handlers, "_ops", broken)
    (reply,) = bench.ask("describe", id="d")
    assert (reply["id"], reply["status"]) == ("d", ["error", "internal", "done"])
    monkeypatch.setattr("nrepl_py.server.session.Session._whose", broken)
    assert bench.says(Output(text="x")) == []
    assert [(where, type(bug)) for where, bug in bugs] == [
        ("op 'describe'", ZeroDivisionError),
        (f"worker {bench.ref}", ZeroDivisionError),
    ]


def test_strangers_are_not_heard(bench: Bench) -> None:
    router = bench.router
    assert router.received(9, {"op": "describe", "id": "1"}) == []
    assert router.disconnected(9) == router.congested(9, True) == router.unparseable(9, Unparseable("")) == []
    assert (
        router.worker(Said(Ref("x", 1), Output(text="x"))) == router.worker(Lost(Ref("x", 1), Cause(kind="lost"))) == []
    )
    assert router.start_failed(Ref("x", 1), NoCapacity("")) == []
    assert router.started(Ref("x", 1), Ready()) == [do.Stop(Ref("x", 1), 1)]
    assert router.timer(("hello", 9)) == router.timer(("grace", "x", 1)) == []
    assert router.bounds(9) == (Limits().max_frame_bytes, 0)


# -- ops


def test_describe(bench: Bench) -> None:
    (reply,) = bench.ask("describe")
    assert set(reply["ops"]) == set(ops.OPS)
    assert reply["versions"] == {"nrepl-py": "1", "protocol": {"min": 1, "max": 1}}
    assert reply["limits"]["max-frame"] == 4 << 20
    assert reply["limits"]["max-queue-evals"] == 128
    assert reply["sandbox"] == {"tier": "none", "capabilities": ["clone", "interrupt", "kill"]}
    assert reply["transports"] == ["ws"]


def test_clone_starts_a_worker_as_asked() -> None:
    bench = Bench()
    bench.ask("clone", python="py", cwd="/w", env={"A": "1"}, inherit_env=["B"], preload=["re", "numpy"])
    (start,) = bench.of(do.Start)
    spec = start.spec
    assert (spec.python, spec.cwd, spec.env, spec.inherit_env) == ("py", "/w", {"A": "1"}, ("B",))
    assert spec.preload == ("re", "numpy")
    assert spec.ref.epoch == 1


def test_clone_is_answered_when_the_worker_is_up() -> None:
    bench = Bench()
    assert bench.ask("clone", id="c", python="python3.9") == []
    ref = bench.of(do.Start)[0].spec.ref
    reply, event = bench.note(bench.router.started(ref, READY))
    assert (reply["id"], reply["new-session"], reply["status"]) == ("c", ref.id, ["done"])
    assert (reply["info"]["python"], reply["info"]["version"], reply["info"]["sandbox"]) == (
        "/usr/bin/python3",
        "3.11.7",
        {"tier": "none"},
    )
    assert event == {"session": ref.id, "event": "started", "epoch": 1, "seq": 1}


def test_a_clone_that_fails_says_why() -> None:
    bench = Bench()
    bench.ask("clone", id="c", name="main")
    ref = bench.of(do.Start)[0].spec.ref
    (reply,) = bench.note(bench.router.start_failed(ref, StartFailed("no such file")))
    assert reply == {"id": "c", "status": ["error", "start-failed", "done"], "message": "no such file"}
    bench.ask("clone", id="c", name="main")
    ref = bench.of(do.Start)[0].spec.ref
    (reply,) = bench.note(bench.router.worker(Exited(ref, Cause(kind="exit", last_stderr="boom"))))
    assert "boom" in reply["message"]
    assert bench.ask("ls-sessions")[0]["sessions"] == []


def test_a_clone_nobody_hears_of_is_undone() -> None:
    for name, kept in ((None, False), ("main", True)):
        bench = Bench()
        bench.ask("clone", name=name)
        ref = bench.of(do.Start)[0].spec.ref
        bench.router.disconnected(1)
        bench.note(bench.router.started(ref, READY))
        assert (bench.of(do.Stop) == []) is kept


def test_copies_where_there_are_none() -> None:
    bench = Bench(evaluator_capabilities=frozenset({"kill"})).clone()
    for op, fields in (("clone", {}), ("restart", {"from": bench.session})):
        (reply,) = bench.ask(op, session=bench.session, **fields)
        assert reply["status"] == ["error", "not-supported", "done"]
    assert bench.of(do.Start) == bench.of(do.Stop) == []


def test_names(bench: Bench) -> None:
    bench.clone(name="main")
    bench.ask("eval", id="a", session="main", code="1")
    assert bench.did
    (taken,) = bench.ask("clone", name="main")
    assert taken["status"] == ["error", "invalid-message", "done"]
    assert bench.ask("clone", name=bench.session)[0]["status"] == ["error", "invalid-message", "done"]
    bench.router.connected(2, BOB)
    assert bench.ask("clone", connection=2, name="main") == []
    bench.ask("close", session="main")
    assert bench.ask("clone", name="main") == []


def test_sessions_are_counted() -> None:
    bench = Bench(Limits(max_sessions_per_principal=1)).clone()
    assert status(bench.ask("clone", id="c")) == [("c", ["error", "quota-exceeded", "done"])]
    assert status(bench.ask("eval", id="e", code="1")) == [("e", ["error", "busy", "done"])]
    bench.ask("close", session=bench.session)
    assert bench.ask("clone") == []


def test_a_session_closed_while_it_starts_is_stopped_when_it_has() -> None:
    bench = Bench()
    bench.ask("clone", id="c", name="main")
    ref = bench.of(do.Start)[0].spec.ref
    bench.ask("eval", id="e", session="main", code="1")
    messages = bench.ask("close", id="x", session="main")
    closed = ["session-closed", "done"]
    assert status(messages) == [("c", ["error", "start-failed", "done"]), ("e", closed), ("x", closed)]
    assert bench.of(do.Stop) == []
    bench.note(bench.router.started(ref, READY))
    assert bench.did == [do.Stop(ref, 1)]


def test_ls_sessions(bench: Bench) -> None:
    bench.clone(name="main")
    bench.eval("a")
    bench.eval("b")
    first, second = bench.ask("ls-sessions")[0]["sessions"]
    assert (first["name"], first["state"], first["running"], first["memory"]) == (None, "ready", None, 1000)
    assert second["created"] <= second["last-active"]
    del second["created"], second["last-active"]
    assert second == {
        "id": bench.session, "name": "main", "state": "busy", "epoch": 1, "python": "/usr/bin/python3", "cwd": "/w",
        "running": "a", "queued": 1, "clients": 1, "memory": 1000,
        "principal": "ann",
    }  # fmt: skip
    bench.dies()
    assert bench.ask("ls-sessions")[0]["sessions"][1]["state"] == "dead"
    bench.eval("c")
    assert bench.ask("ls-sessions")[0]["sessions"][1]["state"] == "starting"


@pytest.mark.parametrize(
    ("op", "fields", "code"),
    [
        ("restart", {"from": "other"}, "unknown-session"),
        ("lookup", {}, "invalid-message"),
        ("lookup", {"code": "x"}, "invalid-message"),
        ("completions", {"code": "x", "cursor": 2}, "invalid-message"),
    ],
)
def test_what_ops_refuse(bench: Bench, op: str, fields: dict[str, Any], code: str) -> None:
    (reply,) = bench.ask(op, session=bench.session, **fields)
    assert reply["status"] == ["error", code, "done"]


@pytest.mark.parametrize(("op", "fields"), [("eval", {"code": "1", "timeout": 1}), ("interrupt", {})])
def test_what_cannot_be_killed_is_not_interrupted_either(op: str, fields: dict[str, Any]) -> None:
    bench = Bench(evaluator_capabilities=frozenset({"interrupt"})).clone()
    bench.eval("a")
    assert status(bench.ask(op, id="k", session=bench.session, kill_after=1, **fields)) == [
        ("k", ["error", "not-supported", "done"])
    ]
    assert len(bench.did) == 1


@pytest.mark.parametrize(("op", "fields"), [("interrupt", {}), ("stdin", {"stdin": ""})])
def test_an_eval_or_a_session_must_be_named(bench: Bench, op: str, fields: dict[str, Any]) -> None:
    assert bench.ask(op, **fields)[0]["status"] == ["error", "invalid-message", "done"]


def test_an_eval_alone_that_is_not_open(bench: Bench) -> None:
    assert bench.ask("interrupt", interrupt_id="x")[0]["status"] == ["interrupt-id-mismatch", "done"]
    assert bench.ask("stdin", eval="x", stdin="")[0]["status"] == ["session-idle", "done"]


def test_is_complete_needs_no_session(bench: Bench) -> None:
    (reply,) = bench.ask("is-complete", id="i", code="if x:")
    assert reply == {"id": "i", "state": "incomplete", "indent": "    ", "status": ["done"]}
    (reply,) = bench.ask("is-complete", code="x" * 65_537)
    assert reply["status"] == ["error", "not-supported", "done"]


def test_data_is_bounded_by_what_the_client_takes(bench: Bench) -> None:
    bench.eval("a", data=True)
    assert bench.did[0].message.max_data == (4 << 20) * 3 // 4 - 4096
    bench.ask("hello", max_value=100 << 20)
    bench.ends(1)
    bench.eval("b", data=True)
    assert bench.did[0].message.max_data == 100 << 20


# -- shutdown


def test_drain_answers_everything_and_refuses_the_rest(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("clone", id="c")
    bench.ask("eval", id="t", code="1")
    messages = bench.note(bench.router.drain())
    closed = ["session-closed", "done"]
    assert status(messages) == [("a", closed), ("c", ["error", "start-failed", "done"]), ("t", closed)]
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    assert status(bench.ask("describe", id="d")) == [("d", ["error", "unavailable", "done"])]


def test_a_router_needs_nobody_to_tell_of_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    router = make_router(Router)
    arguments = dict.fromkeys(("stages", "memory", "new_id", "check_token"))
    context = router._context
    quiet = Router(
        evaluator_describe=dict,
        evaluator_capabilities=frozenset(),
        limits=context.limits,
        clock=context.clock,
        monotonic=context.monotonic,
        defaults={},
        **arguments,  # type: ignore[arg-type]
    )
    quiet.connected(1, BOB)
    (send,) = quiet.received(1, {"op": "clone", "id": "1"})
    assert isinstance(send, do.Send)
    assert send.message["status"] == ["error", "internal", "done"]
