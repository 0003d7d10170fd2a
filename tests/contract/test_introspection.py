"""Completions, signatures and lookups from the live session, beside a busy eval, running nothing of the user's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.driver import Session


def complete(session: Session, code: str, **options: object) -> list[str]:
    reply = session.ask("completions", code=code, cursor=len(code), **options).last
    assert reply["status"] == ["done"], reply
    return [completion["candidate"] for completion in reply["completions"]]


def test_live_names(any_session: Session) -> None:
    any_session.ok("some_variable = {}\nclass Some:\n    attribute = 1\nsome = Some()\nsome.dynamic = 2")
    assert "some_variable" in complete(any_session, "some_v")
    assert {"attribute", "dynamic"} <= set(complete(any_session, "some."))


def test_a_completion_says_what_it_replaces(any_session: Session) -> None:
    any_session.ok("import os")
    code = "é = os.pa"
    reply = any_session.ask("completions", code=code, cursor=len(code)).last
    (path,) = [entry for entry in reply["completions"] if entry["candidate"] == "path"]
    assert (path["start"], path["type"]) == (7, "module")


def test_what_only_analysis_knows(session: Session) -> None:
    assert "collections" in complete(session, "import collec")
    assert "upper" in complete(session, "'text'.up")
    assert "local_name" in complete(session, "def f():\n    local_name = 1\n    loc")


def test_in_a_module(session: Session) -> None:
    session.ok("import textwrap")
    assert "_whitespace" in complete(session, "_white", module="textwrap")


def test_signatures(any_session: Session) -> None:
    any_session.ok("def function(first, second=2, *rest, key=None): 'Doc.'")
    code = "function(1, "
    (signature,) = any_session.ask("signature", code=code, cursor=len(code)).last["signatures"]
    assert signature["label"].startswith("function(first, second=2")
    assert signature["parameters"][signature["active"]]["label"].startswith("second")
    assert any_session.ask("signature", code="1 + 1", cursor=5).last["signatures"] == []


def test_lookup(any_session: Session) -> None:
    any_session.ok("def function(first):\n    'Its documentation.'", file="/p/look.py", line=12)
    info = any_session.ask("lookup", sym="function").last["info"]
    assert info["doc"] == "Its documentation."
    assert (info["name"], info["type"], info["file"], info["line"]) == ("function", "function", "/p/look.py", 12)
    assert any_session.ask("lookup", code="x = function", cursor=8).last["info"]["name"] == "function"
    reply = any_session.ask("lookup", sym="no.such.name").last
    assert reply["status"] == ["error", "not-found", "done"]


@pytest.mark.parametrize(
    ("code", "state", "indent"),
    [
        ("1 + 1", "complete", None), ("", "complete", None), ("def f():", "incomplete", "    "),
        ("if x:\n    y = (1,", "incomplete", None), ("x = = 1", "invalid", None), ("'''open", "incomplete", None),
        ("for i in x:\n    for j in y:", "incomplete", "        "),
    ],
)  # fmt: skip
def test_is_complete(any_session: Session, code: str, state: str, indent: str | None) -> None:
    for reply in (
        any_session.request("is-complete", code=code).last,
        any_session.peer.request("is-complete", code=code).last,
    ):
        assert reply["state"] == state
        if indent is not None:
            assert reply["indent"] == indent


class TestBusy:
    @pytest.fixture
    def busy(self, any_session: Session) -> Iterator[Session]:
        any_session.ok("import os\ndef function(a): 'Doc.'")
        complete(any_session, "import o")  # the first use loads what is lent
        id = any_session.start("print('running')\nwhile True: pass")
        any_session.peer.until(id, key="out")
        yield any_session
        any_session.request("interrupt", interrupt_id=id)
        any_session.peer.until(id)

    def test_all_of_it_answers(self, busy: Session) -> None:
        assert "path" in complete(busy, "os.pa")
        assert busy.ask("lookup", sym="function").last["info"]["doc"] == "Doc."
        assert busy.ask("signature", code="function(", cursor=9).last["signatures"]
        assert busy.request("is-complete", code="(").last["state"] == "incomplete"


HOSTILE = """
ran = []
class Meta(type):
    def __getattr__(cls, name): ran.append(('meta', name)); raise AttributeError(name)
    @property
    def meta_property(cls): ran.append('meta_property'); return 1
class Hostile(metaclass=Meta):
    @property
    def prop(self): ran.append('property'); return self
    def __getattr__(self, name): ran.append(name); return self
    def __dir__(self): ran.append('__dir__'); return []
    def __repr__(self): ran.append('__repr__'); return 'r'
    def __call__(self): ran.append('__call__'); return self
    def __getitem__(self, key): ran.append('__getitem__'); return self
    def __eq__(self, other): ran.append('__eq__'); return True
    def __hash__(self): ran.append('__hash__'); return 1
    def __bool__(self): ran.append('__bool__'); return True
    def __len__(self): ran.append('__len__'); return 1
    def method(self): pass
    attribute = 1
hostile = Hostile()
ran.clear()
"""


@pytest.mark.parametrize(
    "code",
    [
        "hostile.",
        "hostile.prop.",
        "hostile.nothing.",
        "hostile().",
        "hostile[0].",
        "Hostile.",
        "Hostile.meta_property.",
        "(hostile or 1).",
        "hostile.method.",
    ],
)
def test_nothing_of_the_users_runs(session: Session, code: str) -> None:
    session.ok(HOSTILE)
    session.ask("completions", code=code, cursor=len(code))
    session.ask("lookup", code=code[:-1], cursor=len(code) - 1)
    session.ask("lookup", sym=code[:-1])
    call = code[:-1] + "("
    session.ask("signature", code=call, cursor=len(call))
    assert session.ok("ran").value == "[]"


def test_properties_and_attributes_are_listed(session: Session) -> None:
    session.ok(HOSTILE)
    assert {"prop", "method", "attribute"} <= set(complete(session, "hostile."))


def test_a_question_that_takes_long_keeps_no_input_waiting(session: Session) -> None:
    session.ask("lookup", sym="int")  # what answers is there
    session.ok(
        "import sys, threading\n"
        "answers = next(m for name, m in sys.modules.items() if name.endswith('introspection.answers')).ANSWERS\n"
        "asked, go_on, answer = threading.Event(), threading.Event(), answers['lookup']\n"
        "answers['lookup'] = lambda *args: asked.set() or go_on.wait(60) and answer(*args)"
    )
    session.peer.send("lookup", session=session.id, sym="int")
    id = session.start("asked.wait(60), input()")
    session.peer.until(id, status="need-input")
    assert session.request("stdin", stdin="yes\n").last["status"] == ["done"]
    assert session.peer.until(id).value == "(True, 'yes')"
    session.ok("go_on.set(); answers['lookup'] = answer")
    assert session.ask("lookup", sym="int").last["info"]["name"] == "int"
