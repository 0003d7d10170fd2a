from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py import ops
from nrepl_py.errors import NreplError
from nrepl_py.server.describe import describe_ops
from nrepl_py.server.requests import to_request, valid_id

EVAL = {"op": "eval", "id": "1", "code": "1"}


def test_a_message_becomes_its_ops_record() -> None:
    request = to_request(EVAL | {"file": "a.py", "line": 3, "allow-stdin": False, "timeout": 2, "what-is-this": 1})
    assert request == ops.Eval(id="1", code="1", file="a.py", line=3, allow_stdin=False, timeout=2.0)


@pytest.mark.parametrize(
    ("id", "valid"), [("1", True), ("é" * 128, True), ("x" * 129, False), ("", False), (1, False), (None, False)]
)
def test_ids(id: Any, valid: bool) -> None:
    assert valid_id({"id": id}) == (id if valid else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({field for described in describe_ops().values() for field in described["fields"]})


@given(st.sampled_from(sorted(ops.OPS)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_whatever_comes_is_a_request_or_a_sentence(op: str, fields: dict[str, Any]) -> None:
    try:
        request = to_request({"op": op, "id": "1", "code": "", "session": "s"} | fields)
    except NreplError as error:
        assert "does not fit the op" not in str(error)
        assert str(error).isprintable()
    else:
        assert isinstance(request, ops.OPS[op])


def test_describe_says_all_of_every_op() -> None:
    described = describe_ops()
    assert list(described) == list(ops.OPS)
    line = described["eval"]["fields"]["line"]
    assert line == {"type": "an integer from 1 to 10000000", "required": False, "default": 1}
    assert described["eval"]["fields"]["code"]["required"]
    assert described["eval"]["doc"] == "Run code and relay what it says."
    assert described["eval"]["capability"] == "eval"
    assert "eval-error" in described["eval"]["statuses"]
    assert {"busy", "invalid-message", "internal"} <= set(described["eval"]["errors"])
