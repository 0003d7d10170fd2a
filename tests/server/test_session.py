"""What a session promises, one by one; `test_properties.py` has them all in every order."""

from __future__ import annotations

import pytest

from nrepl_py import codec
from nrepl_py.errors import NoCapacity, StartFailed
from nrepl_py.evaluators.base import Ask, Run
from nrepl_py.evaluators.frames import Answer, Display, End, Failure, Finished, NeedInput, Output, Ready, Value
from nrepl_py.limits import Limits
from nrepl_py.ops import ErrorInfo
from nrepl_py.server import instructions as do
from nrepl_py.server import session as session_module
from nrepl_py.server.messages import PIECE

from .bench import READY, Bench, status
from .world import ANN


@pytest.fixture
def bench() -> Bench:
    return Bench().clone()


# -- the way of an eval


def test_an_eval_runs_at_once_and_says_so(bench: Bench) -> None:
    bench.eval("a", file="x.py", line=3, column=2, values="all", mime=["text/html"], data=True, module="m")
    tell, started = bench.did
    assert isinstance(tell, do.Tell)
    assert isinstance(tell.message, Run)
    assert tell.message == Run(1, "a", "x.py", 3, 2, "m", "all", ("text/html",), True, tell.message.max_data)
    message = {
        "id": "a",
        "session": bench.session,
        "started": {"code": "a", "file": "x.py", "line": 3, "client": None},
        "seq": 2,
    }
    assert started == do.Send((1,), message, codec.encode(message, "msgpack"))


def test_a_short_eval_is_one_message(bench: Bench) -> None:
    bench.hasty = True
    assert bench.eval("a") == []
    (message,) = bench.says(Value(serial=1, text="2", end=End()))
    assert (message["started"]["code"], message["value"], message["seq"]) == ("a", "2", 2)
    assert message["status"] == ["done"]


def test_an_opening_comes_before_the_word_of_another(bench: Bench) -> None:
    bench.eval("early")
    bench.ends(1)
    bench.hasty = True
    bench.eval("a")
    opening, late = bench.says(Output(serial=1, text="late"))
    assert ("started" in opening, opening["id"], late["late"]) == (True, "a", True)


def test_an_opening_and_its_message_may_both_be_cut(bench: Bench) -> None:
    bench.hasty = True
    bench.eval("long", code="x" * 100_000)
    (message,) = bench.says(Value(serial=1, text="2", truncated=True, end=End()))
    assert message["status"] == ["truncated", "done"]


def test_a_long_eval_is_told_to_have_started(bench: Bench) -> None:
    bench.hasty = True
    bench.eval("a")
    (message,) = bench.timer("tick", bench.session)
    assert "started" in message
    assert bench.timer("tick", bench.session) == []
    (last,) = bench.ends(1)
    assert "started" not in last


def test_a_value_and_the_end_are_one_message(bench: Bench) -> None:
    bench.eval("a")
    (message,) = bench.says(Value(serial=1, text="2", end=End()))
    expected = {
        "id": "a",
        "session": bench.session,
        "seq": 3,
        "value": "2",
        "line": 1,
        "end-line": 1,
        "status": ["done"],
    }
    assert message == expected


def test_load_file_starts_at_line_1_as_a_file(bench: Bench) -> None:
    bench.ask("load-file", session=bench.session, code="x", file="a.py")
    (run,) = bench.told(Run)
    assert (run.values, run.line, run.column) == ("none", 1, 0)


def test_long_code_is_cut_where_it_is_announced(bench: Bench) -> None:
    (message,) = bench.eval("a", code="x" * (PIECE + 1))
    assert message["started"]["code"] == "x" * PIECE
    assert message["status"] == ["truncated"]


def test_evals_queue_in_order(bench: Bench) -> None:
    bench.eval("a")
    assert bench.eval("b") == bench.eval("c") == []
    bench.ends(1)
    assert bench.ran == ["b"]
    bench.ends(2)
    assert bench.ran == ["c"]


def test_the_queue_is_bounded() -> None:
    bench = Bench(Limits(max_queue_evals=2)).clone()
    for id in "abc":
        bench.eval(id)
    assert status(bench.eval("d")) == [("d", ["error", "busy", "done"])]
    bench.ends(1)
    assert bench.eval("d") == []


def test_an_id_that_is_open_or_in_the_log_is_taken() -> None:
    bench = Bench(Limits(log_bytes=1024)).clone()
    bench.eval("a")
    assert status(bench.eval("a")) == [("a", ["error", "duplicate-id", "done"])]
    bench.ends(1)
    assert status(bench.eval("a")) == [("a", ["error", "duplicate-id", "done"])]
    bench.eval("b")
    bench.says(Output(serial=2, text="x" * 2000))
    bench.ends(2)
    bench.eval("a")
    assert bench.ran == ["a"]


def test_output_is_tagged_and_late_output_says_so(bench: Bench) -> None:
    bench.eval("a")
    (now,) = bench.says(Output(stream="out", serial=1, text="x"))
    bench.ends(1)
    (late,) = bench.says(Output(stream="err", serial=1, text="y"))
    (nobody,) = bench.says(Output(serial=None, text="z"))
    assert now == {"id": "a", "session": bench.session, "out": "x", "seq": 3}
    assert late == {"id": "a", "session": bench.session, "late": True, "err": "y", "seq": 5}
    assert nobody == {"session": bench.session, "out": "z", "seq": 6}


def test_late_output_is_tagged_beside_the_next_eval(bench: Bench) -> None:
    bench.eval("a")
    bench.ends(1)
    bench.eval("b")
    (late,) = bench.says(Display(serial=1, mime={"text/plain": "x"}))
    assert (late["id"], late["late"]) == ("a", True)


def test_only_so_many_ended_evals_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_RECENT", 2)
    for serial, id in enumerate("abc", 1):
        bench.eval(id)
        bench.ends(serial)
    assert "id" not in bench.says(Output(serial=1, text="x"))[0]
    assert bench.says(Output(serial=2, text="x"))[0]["id"] == "b"


def test_long_output_is_several_messages(bench: Bench) -> None:
    bench.eval("a")
    messages = bench.says(Output(serial=1, text="x" * (2 * PIECE + 5)))
    assert [len(message["out"]) for message in messages] == [PIECE, PIECE, 5]
    assert [message["seq"] for message in messages] == [3, 4, 5]


def test_an_error_comes_with_its_traceback_and_done(bench: Bench) -> None:
    bench.eval("a")
    error = ErrorInfo(type="E", module=None, message="m")
    (message,) = bench.says(Failure(serial=1, error=error, traceback="E: m\n", end=End(("eval-error",))))
    assert (message["err"], message["error"]["type"], message["status"]) == ("E: m\n", "E", ["eval-error", "done"])


def test_a_worker_cannot_speak_for_what_does_not_run(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    for serial in (0, 2, 99):
        error = ErrorInfo(type="E", module=None, message="m")
        for report in (Value(serial=serial, text="1", end=End()), Failure(serial=serial, error=error, end=End())):
            assert bench.says(report) == []
        assert bench.ends(serial) == []
    assert bench.says(READY) == []


def test_exit_does_not_end_the_session(bench: Bench) -> None:
    bench.eval("a")
    (message,) = bench.ends(1, "exit", exit_code=3)
    assert (message["status"], message["exit-code"]) == (["exit", "done"], 3)
    bench.eval("b")
    assert bench.ran == ["b"]


# -- timeout and interrupt


def test_a_timeout_interrupts_and_is_said(bench: Bench) -> None:
    bench.eval("a", timeout=5)
    key = ("timeout", bench.session, 1)
    assert bench.of(do.SetTimer) == [do.SetTimer(key, 5.0)]
    bench.timer(*key)
    assert bench.of(do.Signal) == [do.Signal(bench.ref, 1)]
    (message,) = bench.ends(1, "interrupted")
    assert message["status"] == ["timeout", "interrupted", "done"]


def test_a_timeout_counts_from_the_start_and_ends_with_the_eval(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b", timeout=5)
    assert bench.of(do.SetTimer) == []
    bench.ends(1)
    assert bench.of(do.SetTimer) == [do.SetTimer(("timeout", bench.session, 2), 5.0)]
    bench.ends(2)
    assert bench.of(do.CancelTimer) == [do.CancelTimer(("timeout", bench.session, 2))]
    assert bench.timer("timeout", bench.session, 2) == []


def test_the_ladder(bench: Bench) -> None:
    bench.eval("a")
    assert bench.ask("interrupt", id="i", session=bench.session) == []
    grace, giveup = ("grace", bench.session, 1), ("giveup", bench.session, 1, 1)
    assert bench.did == [do.Signal(bench.ref, 1), do.SetTimer(grace, 2), do.SetTimer(giveup, 5)]
    bench.timer(*grace)
    assert bench.did == [do.Signal(bench.ref, 1)]
    done, reply = bench.ends(1, "interrupted")
    assert done["status"] == ["interrupted", "done"]
    assert reply == {"id": "i", "session": bench.session, "stages": ["sigint"], "status": ["done"]}
    assert do.CancelTimer(giveup) in bench.did


def test_the_last_rung_replaces_the_worker(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    assert bench.ask("interrupt", id="i", session=bench.session, kill_after=3) == []
    kill = ("kill", bench.session, 1)
    assert bench.of(do.SetTimer) == [do.SetTimer(("grace", bench.session, 1), 2), do.SetTimer(kill, 3)]
    assert status(bench.timer(*kill)) == [("b", ["cancelled", "done"])]
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 0)]
    assert bench.says(Output(serial=1, text="last words"))[0]["out"] == "last words"
    assert bench.ends(1) == bench.says(NeedInput(serial=1)) == []
    old = bench.ref
    done, reply = bench.dies(kind="killed")
    assert done["status"] == ["interrupted", "session-restarted", "done"]
    assert reply == {"id": "i", "session": bench.session, "stages": ["sigint", "kill"], "status": ["done"]}
    assert [start.spec.ref for start in bench.of(do.Start)] == [old._replace(epoch=2)]
    (event,) = bench.note(bench.router.started(bench.ref, READY))
    assert (event["event"], event["epoch"]) == ("restarted", 2)
    bench.eval("c")
    assert bench.ran == ["c"]


def test_a_timeout_has_the_rungs_of_its_eval(bench: Bench) -> None:
    bench.eval("a", timeout=5, kill_after=1)
    bench.timer("timeout", bench.session, 1)
    assert do.SetTimer(("kill", bench.session, 1), 1) in bench.did
    bench.timer("kill", bench.session, 1)
    (done,) = bench.dies(kind="killed")
    assert done["status"] == ["timeout", "interrupted", "session-restarted", "done"]


def test_the_first_deadline_of_several_counts() -> None:
    now = [0.0]
    bench = Bench(monotonic=lambda: now[0]).clone()
    bench.eval("a")
    kill = ("kill", bench.session, 1)
    for at, after, sets in ((0, 10, True), (2, 9, False), (3, 5, True), (4, 0, True), (4, 0, False)):
        now[0] = at
        bench.ask("interrupt", session=bench.session, kill_after=after)
        assert (do.SetTimer(kill, after) in bench.did) is sets
    bench.ends(1)
    assert do.CancelTimer(kill) in bench.did


def test_an_eval_that_ends_in_time_is_not_killed(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("interrupt", id="i", session=bench.session, kill_after=3)
    assert status(bench.ends(1, "interrupted")) == [("a", ["interrupted", "done"]), ("i", ["done"])]
    assert bench.timer("kill", bench.session, 1) == bench.did == []


def test_who_waits_without_a_kill_is_told_of_it_too(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("interrupt", id="k", session=bench.session, kill_after=3)
    bench.timer("kill", bench.session, 1)
    assert bench.ask("interrupt", id="late", session=bench.session) == []
    messages = bench.dies(kind="killed")
    assert [(m["id"], m["stages"], m["status"]) for m in messages[1:]] == [
        (id, ["sigint", "kill"], ["done"]) for id in ("i", "k", "late")
    ]


def test_stages_of_an_eval_that_cannot_notice() -> None:
    bench = Bench(stages=lambda ref, serial: ()).clone()
    bench.eval("a")
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("interrupt", id="k", session=bench.session, kill_after=9)
    assert bench.timer("giveup", bench.session, 1, 1)[0]["stages"] == ["sigint"]
    bench.timer("kill", bench.session, 1)
    assert bench.dies(kind="killed")[1]["stages"] == ["sigint", "kill"]
    bench.note(bench.router.started(bench.ref, READY))
    bench.eval("b")
    bench.ask("interrupt", id="i", session=bench.session)
    assert bench.ends(2)[1]["stages"] == []  # it ended by itself


def test_an_interrupt_gives_up_and_the_eval_goes_on(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("interrupt", id="i", session=bench.session)
    (reply,) = bench.timer("giveup", bench.session, 1, 1)
    assert (reply["id"], reply["status"], reply["stages"]) == ("i", ["still-running", "done"], ["sigint"])
    assert status(bench.ends(1)) == [("a", ["done"])]


def test_each_interrupt_signals_and_is_answered(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("interrupt", id="j", session=bench.session, interrupt_id="a")
    assert bench.of(do.Signal) == [do.Signal(bench.ref, 1)]
    assert status(bench.ends(1)) == [("a", ["done"]), ("i", ["done"]), ("j", ["done"])]


def test_interrupts_that_wait_are_bounded(bench: Bench) -> None:
    bench.eval("a")
    for number in range(32):
        assert bench.ask("interrupt", id=f"i{number}", session=bench.session) == []
    assert status(bench.ask("interrupt", id="more", session=bench.session)) == [("i0", ["still-running", "done"])]


def test_a_queued_eval_is_cancelled_alone(bench: Bench) -> None:
    for id in "abc":
        bench.eval(id)
    messages = bench.ask("interrupt", id="i", session=bench.session, interrupt_id="b")
    assert status(messages) == [("b", ["cancelled", "done"]), ("i", ["done"])]
    assert bench.of(do.Signal) == []
    bench.ends(1)
    assert bench.ran == ["c"]


def test_all_cancels_the_queue_too(bench: Bench) -> None:
    for id in "abc":
        bench.eval(id)
    messages = bench.ask("interrupt", id="i", session=bench.session, all=True)
    assert status(messages) == [("b", ["cancelled", "done"]), ("c", ["cancelled", "done"])]
    assert status(bench.ends(1, "interrupted")) == [("a", ["interrupted", "done"]), ("i", ["done"])]


def test_an_interrupt_that_reaches_nothing_says_why(bench: Bench) -> None:
    (idle,) = bench.ask("interrupt", session=bench.session)
    (mismatch,) = bench.ask("interrupt", session=bench.session, interrupt_id="gone")
    assert (idle["status"], idle["stages"]) == (["session-idle", "done"], [])
    assert mismatch["status"] == ["interrupt-id-mismatch", "done"]


def test_a_mismatch_cancels_nothing(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    messages = bench.ask("interrupt", id="i", session=bench.session, interrupt_id="gone", all=True)
    assert status(messages) == [("i", ["interrupt-id-mismatch", "done"])]


# -- input


def test_input_that_waits_is_fed_at_once(bench: Bench) -> None:
    bench.eval("a")
    for text in ("x\n", ""):
        assert status(bench.ask("stdin", session=bench.session, stdin=text, id="s")) == [("s", ["done"])]
    assert bench.says(NeedInput(serial=1, prompt="? ")) == []
    assert bench.fed == ["x\n"]
    bench.says(NeedInput(serial=1))
    assert bench.fed == [""]


def test_who_waits_for_input_says_so(bench: Bench) -> None:
    bench.eval("a")
    (message,) = bench.says(NeedInput(serial=1, prompt="pw: ", password=True))
    assert (message["prompt"], message["password"], message["status"]) == ("pw: ", True, ["need-input"])
    given = bench.ask("stdin", session=bench.session, stdin="x\n", id="s")
    assert status(given) == [("a", ["input-done"]), ("s", ["done"])]
    assert bench.fed == ["x\n"]


def test_input_that_nobody_reads_dies_with_its_eval(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("stdin", session=bench.session, stdin="x\n")
    bench.ends(1)
    bench.eval("b")
    assert status(bench.says(NeedInput(serial=2))) == [("b", ["need-input"])]


def test_input_is_bounded() -> None:
    bench = Bench(Limits(max_stdin_bytes=1024)).clone()
    bench.eval("a")
    assert status(bench.ask("stdin", session=bench.session, stdin="é" * 500, id="s")) == [("s", ["done"])]
    assert status(bench.ask("stdin", session=bench.session, stdin="é" * 500, id="s")) == [
        ("s", ["error", "busy", "done"])
    ]


def test_input_for_nobody(bench: Bench) -> None:
    assert status(bench.ask("stdin", session=bench.session, stdin="x", id="s")) == [("s", ["session-idle", "done"])]


def test_a_thread_left_behind_reads_the_end_of_file(bench: Bench) -> None:
    bench.eval("a")
    bench.ends(1)
    assert bench.says(NeedInput(serial=1)) == []
    assert bench.fed == [""]


# -- introspection


def test_questions_are_answered_beside_an_eval(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("completions", id="c", session=bench.session, code="ab", cursor=1)
    (ask,) = bench.told(Ask)
    assert (ask.what, ask.fields["code"], ask.fields["cursor"], ask.seconds) == ("completions", "ab", 1, 1)
    assert "id" not in ask.fields
    assert "session" not in ask.fields
    entry = {"candidate": "abc", "type": "function", "start": 0}
    (reply,) = bench.says(Answer(number=ask.number, body={"completions": [entry]}))
    assert reply == {"id": "c", "session": bench.session, "completions": [entry], "status": ["done"]}
    assert bench.of(do.CancelTimer) == [do.CancelTimer(("answer", bench.session, 1))]


def test_an_answer_cannot_forge_a_reply(bench: Bench) -> None:
    bench.ask("is-complete", id="c", session=bench.session, code="x")
    body = {"state": "incomplete", "indent": "  ", "id": "other", "status": ["error"], "session": "s", "seq": 9}
    (reply,) = bench.says(Answer(number=1, body=body))
    assert reply == {"id": "c", "session": bench.session, "state": "incomplete", "indent": "  ", "status": ["done"]}


@pytest.mark.parametrize("body", [3, {"completions": "x"}, {"completions": [{"candidate": 1}]}, ["x"]])
def test_an_answer_of_the_wrong_shape_is_internal(bench: Bench, body: object) -> None:
    bench.ask("completions", id="c", session=bench.session, code="", cursor=0)
    assert status(bench.says(Answer(number=1, body=body))) == [("c", ["error", "internal", "done"])]


def test_nothing_found(bench: Bench) -> None:
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    assert status(bench.says(Answer(number=1))) == [("l", ["error", "not-found", "done"])]


def test_a_worker_that_could_not_answer(bench: Bench) -> None:
    bench.ask("completions", id="c", session=bench.session, code="", cursor=0)
    assert status(bench.says(Answer(number=1))) == [("c", ["error", "unavailable", "done"])]


def test_an_answer_may_be_the_value_alone(bench: Bench) -> None:
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    (reply,) = bench.says(Answer(number=1, body={"name": "x", "type": "int"}))
    assert reply["info"] == {"name": "x", "type": "int"}


def test_no_answer_in_time(bench: Bench) -> None:
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    assert bench.of(do.SetTimer) == [do.SetTimer(("answer", bench.session, 1), 1)]
    assert status(bench.timer("answer", bench.session, 1)) == [("l", ["error", "unavailable", "done"])]
    assert bench.says(Answer(number=1)) == []


def test_questions_are_bounded() -> None:
    bench = Bench(Limits(max_open_questions=1)).clone()
    bench.ask("lookup", session=bench.session, sym="x")
    assert status(bench.ask("lookup", id="l", session=bench.session, sym="x")) == [("l", ["error", "busy", "done"])]


# -- death, restart, close


def test_a_death_ends_all_that_is_open(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    messages = bench.dies(kind="signal", signal="SIGSEGV")
    died = ["session-died", "done"]
    assert status(messages) == [("a", died), ("i", died), ("b", died), ("l", died)]
    assert all(message["cause"] == {"kind": "signal", "code": 1, "signal": "SIGSEGV"} for message in messages)
    assert (messages[-1]["event"], messages[-1]["epoch"]) == ("died", 1)


def test_out_of_memory_is_said(bench: Bench) -> None:
    bench.eval("a")
    assert bench.dies(kind="oom")[0]["status"] == ["session-died", "oom", "done"]


def test_the_next_eval_starts_a_fresh_worker(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    old = bench.ref
    bench.dies()
    assert bench.eval("c") == []
    (start,) = bench.of(do.Start)
    assert start.spec.ref == old._replace(epoch=2)
    event, started = bench.note(bench.router.started(bench.ref, READY))
    assert (event["event"], event["epoch"], event["seq"]) == ("restarted", 2, 6)
    assert bench.ran == ["c"]
    assert started["started"]["code"] == "c"
    bench.ref, new = old, bench.ref
    assert bench.ends(3) == []
    bench.ref = new
    assert status(bench.ends(3)) == [("c", ["done"])]


def test_a_dead_session_answers_no_questions(bench: Bench) -> None:
    bench.dies()
    asked = bench.ask("lookup", id="l", session=bench.session, sym="x")
    assert status(asked) == [("l", ["error", "unavailable", "done"])]


def test_a_restart_that_fails_refuses_what_waited(bench: Bench) -> None:
    bench.dies()
    bench.eval("a")
    bench.eval("b")
    messages = bench.note(bench.router.start_failed(bench.ref, NoCapacity("full")))
    refused = ["error", "no-capacity", "done"]
    assert status(messages) == [("a", refused), ("b", refused)]
    assert ["seq" in message for message in messages] == [False, False, True]
    assert (messages[2]["event"], messages[2]["cause"]["by"]) == ("died", "start")
    bench.eval("a")
    assert [start.spec.ref.epoch for start in bench.of(do.Start)] == [3]


def test_a_worker_may_end_before_its_start_is_told(bench: Bench) -> None:
    bench.dies()
    bench.eval("a")
    assert status(bench.dies(last_stderr="no module named x")) == [("a", ["error", "start-failed", "done"])]
    bench.note(bench.router.started(bench.ref, READY))
    assert bench.did == [do.Stop(bench.ref, 1)]


def test_a_restart_ends_all_and_is_answered_when_the_worker_is_up(bench: Bench) -> None:
    for id in "ab":
        bench.eval(id)
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    restarted = ["session-restarted", "done"]
    assert status(bench.ask("restart", id="r", session=bench.session)) == [("b", restarted)]
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 0)]
    (entry,) = bench.ask("ls-sessions")[0]["sessions"]
    assert entry["state"] == "busy"
    assert bench.eval("c") == []
    assert bench.says(Value(serial=1, text="1", end=End()))[0]["value"] == "1"
    assert status(bench.dies(kind="killed")) == [("a", restarted), ("i", restarted), ("l", restarted)]
    (entry,) = bench.ask("ls-sessions")[0]["sessions"]
    assert (entry["state"], entry["epoch"]) == ("starting", 2)
    event, reply, started = bench.note(bench.router.started(bench.ref, READY))
    assert (event["event"], event["epoch"]) == ("restarted", 2)
    assert (reply["id"], reply["epoch"], reply["info"]["pid"], reply["status"]) == ("r", 2, 7, ["done"])
    assert started["started"]["code"] == "c"


def test_an_idle_worker_is_asked_to_end(bench: Bench) -> None:
    bench.ask("restart", session=bench.session)
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    (entry,) = bench.ask("ls-sessions")[0]["sessions"]
    assert entry["state"] == "starting"
    assert bench.ask("restart", id="too", session=bench.session) == []
    assert bench.of(do.Stop) == []
    bench.dies(kind="killed")
    messages = bench.note(bench.router.started(bench.ref, READY))
    assert [message.get("epoch") for message in messages] == [2, 2, 2]


def test_a_restart_while_one_starts_is_good_for_the_next(bench: Bench) -> None:
    bench.ask("restart", id="r", session=bench.session)
    bench.dies(kind="killed")
    bench.eval("a")
    assert status(bench.ask("restart", id="s", session=bench.session)) == [("a", ["session-restarted", "done"])]
    event, reply = bench.note(bench.router.started(bench.ref, READY))
    assert (event["epoch"], reply["id"], reply["epoch"]) == (2, "r", 2)
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    bench.dies(kind="killed")
    event, reply = bench.note(bench.router.started(bench.ref, READY))
    assert (event["epoch"], reply["id"], reply["epoch"]) == (3, "s", 3)


def test_a_crash_loop_is_stopped_until_a_restart() -> None:
    bench = Bench(Limits(max_crashes_in_a_row=3)).clone()
    for epoch in (1, 2, 3):
        bench.eval(f"e{epoch}")
        if epoch > 1:
            bench.note(bench.router.started(bench.ref, READY))
        event = bench.dies(last_stderr="boom")[-1]
        assert (event["event"], event.get("crash-loop", False)) == ("died", epoch == 3)
    (reply,) = bench.eval("more")
    assert reply["status"] == ["error", "start-failed", "done"]
    assert "3 times in a row" in reply["message"]
    assert "boom" in reply["message"]
    assert "'restart'" in reply["message"]
    assert bench.of(do.Start) == []
    bench.ask("restart", id="r", session=bench.session)
    bench.note(bench.router.started(bench.ref, READY))
    bench.dies()
    bench.eval("more")
    assert len(bench.of(do.Start)) == 1


def test_starts_that_fail_are_a_loop_too(bench: Bench) -> None:
    bench.dies()
    for number in range(4):
        bench.eval(f"e{number}")
        event = bench.note(bench.router.start_failed(bench.ref, StartFailed("no module named x")))[-1]
    assert event["crash-loop"]
    assert "no module named x" in bench.eval("more")[0]["message"]


def test_want_of_room_is_no_crash(bench: Bench) -> None:
    bench.dies()
    for number in range(9):
        bench.eval(f"e{number}")
        bench.note(bench.router.start_failed(bench.ref, NoCapacity("full")))
    bench.eval("more")
    assert len(bench.of(do.Start)) == 1


def test_a_worker_proves_itself_by_an_eval_or_by_time() -> None:
    now = [0.0]
    bench = Bench(Limits(max_crashes_in_a_row=2, crash_seconds=10), monotonic=lambda: now[0]).clone()
    for serial in range(1, 9):
        bench.eval(f"e{serial}")
        if serial > 1:
            bench.note(bench.router.started(bench.ref, READY))
        if serial % 2:
            bench.ends(serial)
        assert "crash-loop" not in bench.dies()[-1]
    for serial in range(9, 12):
        bench.eval(f"e{serial}")
        bench.note(bench.router.started(bench.ref, READY))
        now[0] += 10
        assert "crash-loop" not in bench.dies()[-1]


def test_a_dead_session_is_restarted(bench: Bench) -> None:
    bench.dies()
    assert bench.ask("restart", id="r", session=bench.session) == []
    assert [start.spec.ref.epoch for start in bench.of(do.Start)] == [2]
    assert bench.note(bench.router.started(bench.ref, READY))[1]["epoch"] == 2


def test_a_restart_that_comes_to_nothing_says_why_and_can_be_tried_again(bench: Bench) -> None:
    bench.ask("restart", id="r", session=bench.session)
    bench.dies(kind="killed")
    bench.ask("restart", id="s", session=bench.session)
    bench.eval("a")
    refused = ["error", "start-failed", "done"]
    messages = bench.note(bench.router.start_failed(bench.ref, StartFailed("no")))
    assert status(messages) == [("r", refused), ("s", refused), ("a", refused)]
    (entry,) = bench.ask("ls-sessions")[0]["sessions"]
    assert entry["state"] == "dead"
    bench.ask("restart", id="t", session=bench.session)
    assert bench.note(bench.router.started(bench.ref, READY))[1]["epoch"] == 3


def test_restarts_that_wait_are_bounded(bench: Bench) -> None:
    for number in range(32):
        assert bench.ask("restart", id=f"r{number}", session=bench.session) == []
    bench.eval("a")
    assert status(bench.ask("restart", id="more", session=bench.session)) == [("more", ["error", "busy", "done"])]


def test_closing_what_is_being_restarted(bench: Bench) -> None:
    bench.eval("a")
    bench.ask("restart", id="r", session=bench.session)
    closed = ["session-closed", "done"]
    messages = bench.ask("close", id="c", session=bench.session)
    assert status(messages) == [("r", closed), ("a", closed), ("c", closed)]
    assert bench.of(do.Stop) == []
    assert bench.dies(kind="killed") == bench.did == []


def test_input_for_an_eval_whose_worker_is_stopping(bench: Bench) -> None:
    bench.eval("a")
    bench.says(NeedInput(serial=1, prompt="? "))
    bench.ask("restart", session=bench.session)
    assert status(bench.ask("stdin", id="s", session=bench.session, stdin="x\n")) == [("s", ["done"])]
    assert bench.fed == []


def test_close_ends_all(bench: Bench) -> None:
    bench.eval("a")
    bench.eval("b")
    bench.ask("interrupt", id="i", session=bench.session)
    bench.ask("lookup", id="l", session=bench.session, sym="x")
    messages = bench.ask("close", id="c", session=bench.session)
    closed = ["session-closed", "done"]
    assert status(messages) == [("a", closed), ("i", closed), ("b", closed), ("l", closed), ("c", closed)]
    event = messages[4]
    assert (event["event"], event["cause"]) == ("closed", {"kind": "killed", "by": "close"})
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    assert bench.dies() == []
    assert status(bench.eval("d")) == [("d", ["error", "unknown-session", "done"])]


# -- without a session


def alone(bench: Bench, id: str = "t") -> None:
    bench.ask("eval", id=id, code="x")
    bench.ref = bench.of(do.Start)[0].spec.ref


def test_an_eval_alone_has_a_worker_of_its_own(bench: Bench) -> None:
    alone(bench)
    (started,) = bench.note(bench.router.started(bench.ref, READY))
    assert started == {"id": "t", "seq": 1, "started": {"code": "x", "file": None, "line": 1, "client": None}}
    (out,) = bench.says(Output(serial=None, text="x"))
    (done,) = bench.says(Value(serial=1, text="1", end=End()))
    assert out == {"id": "t", "seq": 2, "out": "x"}
    assert done == {"id": "t", "seq": 3, "value": "1", "line": 1, "end-line": 1, "status": ["done"]}
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    assert bench.dies() == []


def test_it_is_no_session_to_anyone(bench: Bench) -> None:
    alone(bench)
    assert status(bench.ask("eval", id="e", session=bench.ref.id, code="x")) == [
        ("e", ["error", "unknown-session", "done"])
    ]
    assert bench.ref.id not in {entry["id"] for entry in bench.ask("ls-sessions")[0]["sessions"]}


def test_it_is_interrupted_and_fed_by_its_id(bench: Bench) -> None:
    alone(bench)
    assert status(bench.ask("stdin", id="s", eval="t", stdin="x\n")) == [("s", ["done"])]
    bench.note(bench.router.started(bench.ref, READY))
    bench.says(NeedInput(serial=1))
    assert bench.fed == ["x\n"]
    assert bench.ask("interrupt", id="i", interrupt_id="t") == []
    assert bench.of(do.Signal) == [do.Signal(bench.ref, 1)]
    _, reply = bench.ends(1, "interrupted")
    assert reply == {"id": "i", "stages": ["sigint"], "status": ["done"]}


def test_it_is_killed_and_not_replaced(bench: Bench) -> None:
    bench.ask("eval", id="t", code="x", timeout=1, kill_after=1)
    bench.ref = bench.of(do.Start)[0].spec.ref
    bench.note(bench.router.started(bench.ref, READY))
    bench.timer("timeout", bench.ref.id, 1)
    bench.timer("kill", bench.ref.id, 1)
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 0)]
    (done,) = bench.dies(kind="killed")
    assert done["status"] == ["timeout", "interrupted", "session-closed", "done"]
    assert bench.of(do.Start) == []
    bench.ask("eval", id="t", code="x")
    assert len(bench.of(do.Start)) == 1


def test_it_is_cancelled_before_it_runs(bench: Bench) -> None:
    alone(bench)
    messages = bench.ask("interrupt", id="i", interrupt_id="t")
    assert status(messages) == [("t", ["cancelled", "done"]), ("i", ["done"])]
    bench.note(bench.router.started(bench.ref, READY))
    assert bench.did == [do.Stop(bench.ref, 1)]
    alone(bench)


def test_its_id_is_taken_while_it_is_open(bench: Bench) -> None:
    alone(bench)
    assert status(bench.ask("eval", id="t", code="x")) == [("t", ["error", "duplicate-id", "done"])]


def test_it_ends_with_its_client(bench: Bench) -> None:
    alone(bench)
    bench.note(bench.router.started(bench.ref, READY))
    bench.note(bench.router.disconnected(1))
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    assert bench.of(do.Send) == []


def test_its_death_and_its_failed_start_are_told(bench: Bench) -> None:
    alone(bench)
    bench.note(bench.router.started(bench.ref, READY))
    (died,) = bench.dies()
    assert (died["id"], died["status"], "session" in died) == ("t", ["session-died", "done"], False)
    alone(bench, "u")
    (failed,) = bench.note(bench.router.start_failed(bench.ref, StartFailed("no")))
    assert failed == {"id": "u", "status": ["error", "start-failed", "done"], "message": "no"}


# -- who sees it, and who holds it


def test_each_message_is_sent_once_to_each(bench: Bench) -> None:
    bench.router.connected(2, ANN)
    bench.eval("a", connection=2)
    assert bench.of(do.Send)[0].connections == (1, 2)
    bench.ends(1)
    bench.eval("b")
    assert bench.of(do.Send)[0].connections == (1,)


def test_a_session_outlives_its_connections(bench: Bench) -> None:
    bench.eval("a")
    bench.note(bench.router.disconnected(1))
    assert bench.did == []
    assert bench.ends(1) == []
    bench.router.connected(2, ANN)
    (reply,) = bench.ask("ls-sessions", connection=2)
    assert (reply["sessions"][0]["state"], reply["sessions"][0]["clients"]) == ("ready", 0)


def test_a_full_connection_holds_the_worker_it_asked(bench: Bench) -> None:
    bench.eval("a")
    bench.note(bench.router.congested(1, True))
    assert bench.did == [do.Hold(bench.ref, True)]
    assert bench.note(bench.router.congested(1, True)) == []
    bench.note(bench.router.congested(1, False))
    assert bench.did == [do.Hold(bench.ref, False)]


def test_an_observer_holds_nobody_and_the_hold_ends_with_its_cause(bench: Bench) -> None:
    bench.router.connected(2, ANN)
    bench.eval("a", connection=2)
    bench.note(bench.router.congested(1, True))
    assert bench.did == []
    bench.note(bench.router.congested(2, True))
    assert bench.did == [do.Hold(bench.ref, True)]
    bench.note(bench.router.disconnected(2))
    assert bench.did == [do.Hold(bench.ref, False)]


def test_a_full_connection_holds_what_it_asks_next(bench: Bench) -> None:
    bench.router.congested(1, True)
    bench.eval("a")
    assert bench.of(do.Hold) == [do.Hold(bench.ref, True)]
    bench.router.connected(2, ANN)
    bench.eval("b", connection=2)
    bench.ends(1)
    assert bench.of(do.Hold) == [do.Hold(bench.ref, False)]


def test_ready_is_heard_once(bench: Bench) -> None:
    assert bench.says(Ready()) == []
    bench.note(bench.router.started(bench.ref, READY))
    assert bench.did == [do.Stop(bench.ref, 1)]


def test_an_eval_that_writes_too_much_is_interrupted_and_the_rest_dropped() -> None:
    bench = Bench(Limits(session_output_bytes=10)).clone()
    bench.eval("a")
    assert (
        "".join(m.get("out", "") for m in bench.says(Output(serial=1, text="0123456789", blobs=(10,)))) == "0123456789"
    )
    assert bench.says(Output(serial=1, text="x", blobs=(1,))) == []
    assert bench.of(do.Signal) == [do.Signal(bench.ref, 1)]
    assert bench.says(Output(serial=1, text="more", blobs=(4,))) == []
    assert bench.of(do.Signal) == []
    (message,) = bench.says(Finished(serial=1, end=End(status=("interrupted",))))
    assert message["status"] == ["output-limit", "interrupted", "done"]
    bench.eval("b")
    (message,) = bench.says(Output(serial=2, text="fresh", blobs=(5,)))
    assert message["out"] == "fresh"
