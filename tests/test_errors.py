"""One class for one code, the reply it becomes, and the way back."""

from __future__ import annotations

import pytest

from nrepl_py import errors

CODES = {
    "unparseable", "invalid-message", "unknown-op", "unknown-session", "duplicate-id", "unauthorized", "forbidden",
    "busy", "quota-exceeded", "start-failed", "no-capacity", "not-supported", "unsupported-version", "not-found",
    "unavailable", "bad-since", "internal",
}  # fmt: skip


def test_the_codes_are_the_protocols() -> None:
    assert set(errors.ERRORS) == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_survives_the_way_there_and_back(code: str) -> None:
    kind = errors.ERRORS[code]
    message = errors.reply(kind("say what to do"), "7", "s1")
    assert message == {"id": "7", "session": "s1", "status": ["error", code, "done"], "message": "say what to do"}
    back = errors.from_reply(message)
    assert type(back) is kind
    assert str(back) == "say what to do"


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_says_what_it_means(code: str) -> None:
    doc = errors.ERRORS[code].__doc__
    assert doc is not None
    assert doc != errors.NreplError.__doc__
    assert doc.endswith(".")


def test_a_reply_names_only_what_is_known() -> None:
    assert errors.reply(errors.Unparseable("no JSON")) == {
        "status": ["error", "unparseable", "done"],
        "message": "no JSON",
    }


@pytest.mark.parametrize("status", [["done"], ["eval-error", "done"], ["session-idle", "done"], []])
def test_an_outcome_is_no_error(status: list[str]) -> None:
    assert errors.from_reply({"id": "1", "status": status}) is None


def test_a_message_without_status_is_no_error() -> None:
    assert errors.from_reply({"id": "1", "out": "x"}) is None


def test_a_code_of_a_later_version_is_still_an_error() -> None:
    back = errors.from_reply({"status": ["error", "too-cold", "done"]})
    assert type(back) is errors.NreplError
    assert str(back)


def test_the_tree_atop_the_module_is_whole() -> None:
    tree = errors.__doc__ or ""
    for code, kind in errors.ERRORS.items():
        assert any(line.split()[-2:] == [kind.__name__, code] for line in tree.splitlines() if "── " in line)
