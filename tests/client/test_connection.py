"""The sans-I/O connection: ids, what answers what, and that every request ends exactly once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py import errors
from nrepl_py.client.connection import Connection, ConnectionLost, Incoming


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
    assert connection.received(out) == Incoming(id, out)
    assert connection.received(done) == Incoming(id, done, last=True)
    assert not connection.open


def test_a_second_done_answers_nothing(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    done = {"id": id, "status": ["done"]}
    assert connection.received(done).last
    assert connection.received(done) == Incoming(None, done)


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
    assert connection.received(message) == Incoming(None, message)
    assert len(connection.open) == 1


def test_late_output_answers_nothing(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    connection.received({"id": id, "status": ["done"]})
    assert connection.received({"id": id, "late": True, "out": "x"}).id is None


@pytest.mark.parametrize("code", sorted(errors.ERRORS))
def test_an_error_reply_is_its_class(connection, code):
    id = connection.request("eval", {"code": "1"})["id"]
    incoming = connection.received({"id": id, "status": ["error", code, "done"], "message": "why"})
    assert type(incoming.error) is errors.ERRORS[code]
    assert str(incoming.error) == "why"


def test_an_unknown_error_code_is_still_an_error(connection):
    id = connection.request("eval", {"code": "1"})["id"]
    incoming = connection.received({"id": id, "status": ["error", "of-tomorrow", "done"], "message": "why"})
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
            incoming = connection.received(what)
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
