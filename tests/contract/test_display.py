"""Values for the eye and for programs: bounded text, MIME bundles, `display`, plain data."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.contract.driver import Session


class TestText:
    def test_print_quota(self, any_session: Session) -> None:
        run = any_session.ok("'x' * 1000", print_quota=100)
        assert run.value == "'" + "x" * 99
        assert "truncated" in run.status
        assert "truncated" not in any_session.ok("'x' * 98", print_quota=100).status

    def test_a_quota_never_splits_a_character(self, any_session: Session) -> None:
        assert any_session.ok("'☃' * 100", print_quota=9).value == "'☃☃"

    @pytest.mark.parametrize(
        "code",
        ["'x' * 10**8", "b'x' * 10**8", "list(range(10**6))", "dict.fromkeys(range(10**6))", "set(range(10**6))"],
    )
    def test_huge_values_are_cut_to_the_default(self, any_session: Session, code: str) -> None:
        run = any_session.ok(code)
        assert len((run.value or "").encode()) <= 1 << 20
        assert "truncated" in run.last["status"]

    def test_a_repr_that_returns_a_gigabyte(self, any_session: Session) -> None:
        run = any_session.ok("class Big:\n    def __repr__(self): return 'b' * 10**9\nBig()")
        assert run.value == "b" * (1 << 20)
        assert "truncated" in run.status

    def test_a_repr_that_raises_is_the_evals_error(self, any_session: Session) -> None:
        run = any_session.eval("class Bad:\n    def __repr__(self): raise RuntimeError('no repr')\nBad()")
        assert (run.error["type"], run.values) == ("RuntimeError", [])

    def test_a_repr_that_is_no_text(self, any_session: Session) -> None:
        assert any_session.eval("class Bad:\n    def __repr__(self): return 7\nBad()").error["type"] == "TypeError"

    def test_a_repr_that_recurses(self, any_session: Session) -> None:
        run = any_session.eval("class Loop:\n    def __repr__(self): return repr(self)\nLoop()")
        assert run.error["type"] == "RecursionError"
        assert any_session.ok("a = []; a.append(a); a").value == "[[...]]"

    def test_a_repr_that_sleeps_can_be_interrupted(self, any_session: Session) -> None:
        id = any_session.start(
            "import time\nclass Slow:\n    def __repr__(self):\n        print('in repr')\n"
            "        while True: time.sleep(0.01)\nSlow()"
        )
        any_session.peer.until(id, key="out")
        any_session.send("interrupt", interrupt_id=id)
        assert "interrupted" in any_session.peer.until(id).last["status"]

    def test_a_lone_surrogate(self, any_session: Session) -> None:
        any_session.ok("class S:\n    def __repr__(self): return 'a\\ud800b'")
        assert any_session.ok("S()").value == "a\\ud800b"


class TestMime:
    def test_only_what_is_wanted(self, any_session: Session) -> None:
        any_session.ok(
            "class Rich:\n    def _repr_html_(self): return '<b>rich</b>'\n"
            "    def _repr_png_(self): return b'\\x89PNG...'\n    def _repr_json_(self): return {'a': [1, None]}\n"
        )
        run = any_session.ok("Rich()", mime=["text/html", "application/json"])
        assert run.last["mime"] == {"text/html": "<b>rich</b>", "application/json": {"a": [1, None]}}
        assert "mime" not in any_session.ok("Rich()").last
        (image,) = any_session.ok("Rich()", mime=["image/png"]).last["mime"].values()
        expected = b"\x89PNG..."
        assert image == (base64.b64encode(expected).decode() if any_session.peer.codec == "json" else expected)

    def test_a_mimebundle(self, any_session: Session) -> None:
        any_session.ok(
            "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'text/markdown': '*m*', 'text/html': '<i>'}, {'meta': 1}\n"
        )
        assert any_session.ok("B()", mime=["text/markdown"]).last["mime"] == {"text/markdown": "*m*"}

    def test_a_proxy_has_no_representations(self, any_session: Session) -> None:
        any_session.ok("class Proxy:\n    def __getattr__(self, name): return lambda *a, **k: 'everything'\n")
        assert any_session.ok("Proxy()", mime=["text/html"]).last.get("mime", {}) == {}

    def test_a_class_is_not_its_instances(self, any_session: Session) -> None:
        any_session.ok("class Rich:\n    def _repr_html_(self): return '<b>'\n")
        assert any_session.ok("Rich", mime=["text/html"]).last.get("mime", {}) == {}


class TestDisplay:
    def test_it_comes_while_the_code_runs(self, any_session: Session) -> None:
        any_session.ok("class H:\n    def __repr__(self): return 'H()'\n    def _repr_html_(self): return '<h>'")
        run = any_session.ok("print(1); display(H()); print(2); 'value'")
        (shown,) = run.all("display")
        assert shown["mime"] == {"text/html": "<h>", "text/plain": "H()"}
        keys = [key for message in run.messages for key in ("out", "display", "value") if key in message]
        assert keys == ["out", "display", "out", "value"]

    def test_updates(self, any_session: Session) -> None:
        code = "handle = display('first', display_id=True)\nhandle.update('second')\ndisplay(clear=True)"
        first, second, clear = any_session.ok(code).all("display")
        assert first["display-id"] == second["display-id"]
        assert (first.get("update"), second["update"], clear["clear"]) == (None, True, True)
        assert second["mime"]["text/plain"] == "'second'"

    def test_raw_and_metadata(self, any_session: Session) -> None:
        (shown,) = any_session.ok("display({'text/x': 't'}, raw=True, metadata={'w': 3})").all("display")
        assert (shown["mime"], shown["metadata"]) == ({"text/x": "t"}, {"w": 3})

    def test_a_bundle_that_is_none_is_the_evals_error(self, any_session: Session) -> None:
        assert any_session.eval("display({'text/html': 7}, raw=True)").error["type"] == "TypeError"


PLAIN: list[tuple[str, Any]] = [
    ("None", None),
    ("[True, False]", [True, False]),
    ("[0, -1, 2**63 - 1, -2**63]", [0, -1, 2**63 - 1, -(2**63)]),
    ("[0.5, -0.0, 1e308]", [0.5, -0.0, 1e308]),
    ("'text ☃ 😀'", "text ☃ 😀"),
    ("(1, (2, [3]))", [1, [2, [3]]]),
    ("{'a': {'b': []}, '': None}", {"a": {"b": []}, "": None}),
    ("'x' * 70_000", "x" * 70_000),
    ("list(range(70_000))", list(range(70_000))),
    ("{str(i): i for i in range(300)}", {str(i): i for i in range(300)}),
]
NOT_PLAIN = [
    "object()", "{1: 2}", "2**64", "-2**63 - 1", "float('nan')", "float('inf')", "{1, 2}", "[object()]", "1j",
    "type('S', (str,), {})('x')", "__import__('enum').IntEnum('E', 'A').A", "__import__('collections').OrderedDict(a=1)",
    "(a := []) or a.append(a) or a",
]  # fmt: skip


class TestData:
    @pytest.mark.parametrize(("code", "expected"), PLAIN)
    def test_plain_data(self, any_session: Session, code: str, expected: Any) -> None:
        run = any_session.ok(code, data=True)
        assert run.last["data"] == expected
        assert "not-plain" not in run.status

    def test_none_has_data_but_no_value(self, any_session: Session) -> None:
        run = any_session.ok("None", data=True)
        assert (run.values, run.all("data")) == ([], [None])

    def test_bytes(self, any_session: Session) -> None:
        sent = any_session.ok(r"[b'\x00\xff', {'$bytes': 'x'}]", data=True).last["data"][0]
        assert sent == ({"$bytes": "AP8="} if any_session.peer.codec == "json" else b"\x00\xff")

    @pytest.mark.parametrize("code", NOT_PLAIN)
    def test_what_is_not_plain_says_so(self, any_session: Session, code: str) -> None:
        run = any_session.ok(code, data=True)
        assert "not-plain" in run.last["status"]
        assert "data" not in run.last
        assert run.value is not None

    def test_data_beyond_the_frame_is_truncated(self, any_session: Session) -> None:
        run = any_session.ok("b'x' * (5 << 20)", data=True)
        assert "truncated" in run.status
        assert not run.all("data")
        assert any_session.ok("1").value == "1"

    def test_bulk_data_when_hello_allows_it(self, any_session: Session) -> None:
        any_session.peer.request("hello", max_value=64 << 20)
        (data,) = any_session.ok("b'x' * (20 << 20)", data=True, print_quota=10).all("data")
        if any_session.peer.codec == "json":
            data = base64.b64decode(data["$bytes"])
        assert data == b"x" * (20 << 20)
