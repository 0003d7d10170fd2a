"""What stays at its line while the user types, and what goes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.lsp.results import HINT_CHARACTERS, Results, brief, changed


def error(*lines: int, **fields: Any) -> dict[str, Any]:
    frames = [
        {"file": "/a.py", "line": line, "column": 4, "end-line": line, "end-column": 9, "function": "f"}
        for line in lines
    ]
    return {"type": "ValueError", "message": "no", "traceback": frames, **fields}


def shown(results: Results) -> list[tuple[int, str]]:
    return [(hint.span.end - 1, hint.label) for hint in results.hints]


def places(results: Results) -> list[int]:
    return [failure.place.start for failure in results.failures]


def test_a_result_follows_its_line_and_goes_with_it() -> None:
    results = Results()
    span = results.begin(2, 5)
    results.show(span, 3, 4, "=> 1")
    results.edited(0, 0, 2)
    assert shown(results) == [(5, "=> 1")]
    results.show(span, 4, 5, "=> 2")  # the session counts as it was when it began
    assert shown(results) == [(5, "=> 1"), (6, "=> 2")]
    results.end(span, clean=True)
    results.edited(5, 6, 6)
    assert shown(results) == [(6, "=> 2")]
    results.begin(0, 9)
    assert shown(results) == []


def test_what_is_edited_while_it_runs_shows_nothing_more() -> None:
    results = Results()
    span = results.begin(0, 3)
    results.edited(1, 2, 2)
    results.show(span, 0, 1, "=> 1")
    results.end(span, clean=True)
    assert results.hints == []


def test_a_failure_is_at_the_deepest_frame_of_the_document() -> None:
    results = Results()
    span = results.begin(9, 10)
    results.fail(span, error(10, 3) | {"notes": ["a note"]}, "/a.py")
    results.end(span, clean=False)
    (failure,) = results.failures
    assert (failure.place.start, failure.column, failure.end_column) == (2, 4, 9)
    assert failure.message == "ValueError: no\na note"
    assert len(failure.frames) == 2


def test_a_failure_elsewhere_is_at_what_was_run() -> None:
    results = Results()
    results.fail(results.begin(9, 10), error(3), "/b.py")
    assert places(results) == [9]


def test_a_failure_goes_when_its_code_or_its_place_runs_clean() -> None:
    for start, end, left in (9, 10, []), (1, 4, []), (5, 9, [2]):
        results = Results()
        first = results.begin(9, 10)
        results.fail(first, error(10, 3), "/a.py")
        results.end(first, clean=False)
        results.end(results.begin(start, end), clean=True)
        assert places(results) == left


def test_a_failure_stays_when_its_line_is_edited_and_goes_with_the_line() -> None:
    results = Results()
    results.fail(results.begin(2, 3), error(3), "/a.py")
    results.edited(2, 3, 3)
    assert places(results) == [2]
    results.edited(1, 3, 1)
    assert places(results) == []


def test_a_failure_follows_what_was_typed_while_it_ran() -> None:
    results = Results()
    span = results.begin(2, 3)
    results.edited(0, 0, 4)
    results.fail(span, error(3), "/a.py")
    assert places(results) == [6]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_a_change_makes_the_one_of_the_other(old: list[str], new: list[str]) -> None:
    change = changed(old, new)
    if change is None:
        assert old == new
        return
    first, end, new_end = change
    assert old[:first] + new[first:new_end] + old[end:] == new
    assert 0 <= first <= end <= len(old)
    assert first <= new_end


@given(st.data())
def test_spans_stay_in_the_document(data: st.DataObject) -> None:
    length = 12
    results = Results()
    span = results.begin(3, 7)
    results.show(span, 4, 6, "=> 1")
    results.fail(span, error(5), "/a.py")
    for _ in range(data.draw(st.integers(0, 5))):
        first = data.draw(st.integers(0, length))
        end = data.draw(st.integers(first, length))
        new_end = data.draw(st.integers(first, first + 3))
        results.edited(first, end, new_end)
        length += new_end - end
        for one in (span, *(hint.span for hint in results.hints), *(failure.place for failure in results.failures)):
            assert 0 <= one.start <= one.end <= length


def test_a_hint_is_one_short_line() -> None:
    assert brief("=> 1") == "=> 1"
    assert brief("=> a\nb\n") == "=> a …"
    assert len(brief("x" * 999)) == HINT_CHARACTERS
