"""The sans-I/O connection: ids, what answers what, and that every request ends exactly once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py import errors
from nrepl_py.client.connection import Connection, ConnectionLost, Incoming, ReplayGap


@pytest.fixture
def connection() -> Connection:
    return Connection("p")


def test_a_request_has_its_op_a_fresh_id_and_the_fields_given(connection):
    first = connection.request("eval", {"code": "1", "store_history": False, "session": None})
    second = connection.request("describe", {})
    assert first == {"op": "eval", "id": "p-1", "code": "1", "store-history": False}
    assert second == {"op": "describe", "id": "p-2"}
    assert dict(connection.open) == {"p-1": "eval", "p-2": "describe"}


def test_replies_find_their_request_until_done(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    out = {"id": id, "out": "x"}
    done = {"id": id, "value": "1", "status": ["done"]}
    assert connection.received(out) == [Incoming(id, out)]
    assert connection.received(done) == [Incoming(id, done, last=True)]
    assert not connection.open


def test_a_second_done_answers_nothing(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    done = {"id": id, "status": ["done"]}
    (incoming,) = connection.received(done)
    assert incoming.last
    assert connection.received(done) == [Incoming(None, done)]


@pytest.mark.parametrize(
    "message",
    [
        {"session": "s", "seq": 1, "event": "died"},
        {"id": "p-1", "session": "s", "event": "restarted"},
        {"out": "nobody's"},
        {"id": "somebody-else", "value": "1", "status": ["done"]},
        {"id": 7, "status": ["done"]},
        {"status": ["error", "unparseable", "done"], "message": "no"},
    ],
)
def test_what_answers_no_open_request_is_told_apart(connection, message):
    connection.request("eval", {"code": "1"})
    assert connection.received(message) == [Incoming(None, message)]
    assert len(connection.open) == 1


def test_late_output_answers_nothing(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    connection.received({"id": id, "status": ["done"]})
    (incoming,) = connection.received({"id": id, "late": True, "out": "x"})
    assert incoming.id is None


@pytest.mark.parametrize("code", sorted(errors.ERRORS))
def test_an_error_reply_is_its_class(connection, code):
    id = connection.request("eval", {"code": "1"})["id"]
    (incoming,) = connection.received({"id": id, "status": ["error", code, "done"], "message": "why"})
    assert type(incoming.error) is errors.ERRORS[code]
    assert str(incoming.error) == "why"


def test_an_unknown_error_code_is_still_an_error(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    (incoming,) = connection.received({"id": id, "status": ["error", "of-tomorrow", "done"], "message": "why"})
    assert type(incoming.error) is errors.NreplError


def test_a_lost_connection_ends_every_request_and_refuses_new_ones(connection):
    ids = [connection.request("eval", {"code": "1"})["id"] for _ in range(3)]
    ended, error = connection.lost("gone")
    assert ended == ids
    assert isinstance(error, ConnectionLost)
    assert connection.lost("again") == ([], error)
    with pytest.raises(ConnectionLost, match="gone"):
        connection.request("describe", {})


def test_an_unsent_request_is_forgotten(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    connection.unsent(id)
    connection.unsent(id)
    assert connection.lost("gone")[0] == []


STATUS = st.lists(st.sampled_from(["done", "error", "busy", "need-input", "of-tomorrow"]), unique=True)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([*(f"p-{n}" for n in range(1, 8)), "other", 3]),
        "status": st.none() | STATUS,
        "event": st.just("died"),
        "out": st.text(max_size=3),
        "late": st.booleans(),
    },
)
STEP = st.one_of(
    st.tuples(st.just("request"), st.sampled_from(["eval", "interrupt"])),
    st.tuples(st.just("message"), MESSAGE),
    st.tuples(st.just("lost"), st.none()),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_arrives_each_request_ends_once_and_nothing_follows(steps: list[tuple[str, Any]]):
    connection = Connection("p")
    asked: list[str] = []
    ended: list[str] = []
    lost = False
    for kind, what in steps:
        if kind == "request":
            try:
                asked.append(connection.request(what, {})["id"])
                assert not lost
            except ConnectionLost:
                assert lost
        elif kind == "message":
            (incoming,) = connection.received(what)
            assert incoming.message is what
            assert incoming.id is None or (incoming.id in asked and incoming.id not in ended)
            assert incoming.error is None or incoming.last
            if incoming.last:
                ended.append(incoming.id or "")
        else:
            lost = True
            ended += connection.lost("gone")[0]
        assert [id for id in asked if id not in ended] == list(connection.open)
    ended += connection.lost("the end")[0]
    assert sorted(ended) == sorted(asked)
    assert len(set(asked)) == len(asked)


# -- coming back: the way of one request; all of them together are in test_resume.py ------------------


@pytest.fixture
def attached(connection) -> Connection:
    """It has made the session `s`, and seen its first two messages."""
    id = connection.request("clone", {"name": "work"})["id"]
    connection.received({"id": id, "new-session": "s", "status": ["done"]})
    for seq in (1, 2):
        connection.received({"session": "s", "seq": seq, "event": "clients"})
    return connection


def resumed(connection: Connection, **reply: Any) -> tuple[list[Incoming], list[dict[str, Any]]]:
    """What follows from the answer to the first request of a connection that has come back."""
    first = connection.resume()[0]
    assert first == {"op": "attach", "id": first["id"], "session": "s", "since": 2}
    return connection.received({"id": first["id"], "session": "s", "status": ["done"]} | reply), connection.take()


def test_what_was_seen_is_not_told_again(attached):
    again = {"session": "s", "seq": 2, "event": "clients"}
    new = {"session": "s", "seq": 3, "event": "clients"}
    assert attached.received(again) == []
    assert attached.received(new) == [Incoming(None, new)]


@pytest.mark.parametrize(
    ("op", "fields"),
    [("eval", {"code": "1"}), ("stdin", {"stdin": "x"}), ("clone", {}), ("close", {"session": "s"}), ("interrupt", {})],
)
def test_what_ends_with_its_connection(connection, op, fields):
    id = connection.request(op, fields)["id"]
    ended, error = connection.broken("it broke")
    assert (ended, str(error)) == ([id], "it broke")
    assert connection.resume() == []


@pytest.mark.parametrize(
    ("op", "fields"),
    [("describe", {}), ("completions", {"session": "s"}), ("interrupt", {"interrupt-id": "x"}), ("ls-sessions", {})],
)
def test_what_is_asked_again(connection, op, fields):
    request = connection.request(op, fields)
    assert connection.broken("")[0] == []
    assert connection.resume() == [request]


def test_what_is_asked_while_it_is_down_waits(attached):
    attached.broken("")
    request = attached.request("stdin", {"session": "s", "stdin": "x"})
    assert attached.is_held(request["id"])
    assert request in attached.resume()
    assert not attached.is_held(request["id"])
    assert attached.broken("")[0] == [request["id"]]


@pytest.mark.parametrize("ref", ["s", "work"])
def test_an_eval_that_had_not_arrived_is_sent_again(attached, ref):
    request = attached.request("eval", {"session": ref, "code": "1"})
    attached.broken("")
    told, sent = resumed(attached, **{"last-seq": 3, "open": []})
    assert (told, sent) == ([], [request])
    echo = {"id": request["id"], "session": "s", "status": ["error", "duplicate-id", "done"]}
    assert attached.received(echo) == []
    assert [message["op"] for message in attached.take()] == ["attach"]


def test_nothing_overtakes_what_is_sent_again(attached):
    first = attached.request("eval", {"session": "s", "code": "1"})
    attached.broken("")
    (attach,) = attached.resume()
    second = attached.request("eval", {"session": "work", "code": "2"})
    assert attached.is_held(second["id"])
    attached.received({"id": attach["id"], "session": "s", "status": ["done"], "open": []})
    assert attached.take() == [first, second]


def test_an_eval_that_had_arrived_goes_on(attached):
    id = attached.request("eval", {"session": "s", "code": "1"})["id"]
    attached.broken("")
    told, sent = resumed(attached, open=[id])
    assert (told, sent) == ([], [])
    done = {"id": id, "session": "s", "seq": 3, "started": {}, "status": ["done"]}
    assert attached.received(done) == [Incoming(id, done, last=True)]


def test_an_eval_whose_end_is_gone_ends(attached):
    id = attached.request("eval", {"session": "s", "code": "1"})["id"]
    attached.broken("")
    told, sent = resumed(attached, status=["replay-gap", "done"], open=[])
    assert sent == []
    gap, end = told
    assert (gap.id, gap.message["status"]) == (None, ["replay-gap", "done"])
    assert (end.id, end.last, type(end.error)) == (id, True, ReplayGap)
    assert not attached.open


def test_an_eval_that_missed_something_is_told(attached):
    id = attached.request("eval", {"session": "s", "code": "1"})["id"]
    attached.received({"id": id, "session": "s", "seq": 3, "started": {}})
    attached.broken("")
    attached.resume()
    out = {"id": id, "session": "s", "seq": 9, "out": "x"}
    gap, said = attached.received(out)
    assert (gap.id, gap.message["status"], gap.last) == (id, ["replay-gap"], False)
    assert said == Incoming(id, out)


def test_a_session_that_is_gone_takes_its_evals_with_it(attached):
    id = attached.request("eval", {"session": "s", "code": "1"})["id"]
    attached.broken("")
    told, _ = resumed(attached, status=["error", "unknown-session", "done"], message="no session 's'")
    assert [(incoming.id, type(incoming.error)) for incoming in told] == [
        (None, type(None)),
        (id, errors.UnknownSession),
    ]
    attached.broken("")
    assert attached.resume() == []


def test_a_session_attached_to_for_an_eval_is_left_after_it(connection):
    id = connection.request("eval", {"session": "s", "code": "1"})["id"]
    connection.received({"id": id, "session": "s", "seq": 1, "started": {}})
    connection.received({"id": id, "session": "s", "seq": 2, "out": "x"})
    connection.broken("")
    told, sent = resumed(connection, open=[id])
    assert (told, sent) == ([], [])
    assert connection.received({"id": "other", "session": "s", "seq": 3, "out": "not ours"}) == []
    connection.received({"id": id, "session": "s", "seq": 4, "status": ["done"]})
    assert [message["op"] for message in connection.take()] == ["detach"]
