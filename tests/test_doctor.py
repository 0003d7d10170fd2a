"""`nrepl-py doctor`: what this machine can do, for a person and for a program."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nrepl_py import doctor
from nrepl_py.evaluators import machine


def test_it_probes_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "namespaces  works" in said
    assert "(the default)" in said
    assert doctor.main(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["missing"]["sandbox"] == []


def test_it_says_what_is_missing_and_what_to_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def denied(source: int) -> dict[str, Any]:
        return {
            "namespaces": "unshare: denied",
            "landlock": None,
            "seccomp": None,
            "cgroups": "they are root's to make",
        }

    monkeypatch.setattr(machine, "probe", denied)
    assert doctor.main() == 1
    said = capsys.readouterr().out
    assert "fails: unshare: denied" in said
    assert machine.ADVICE["namespaces"] in said
    assert "cgroups     fails: they are root's to make" in said
    assert "systemd-run" in said
    assert "sandbox     no: needs namespaces" in said
    assert "strict      no: needs namespaces, cgroups" in said
    assert "landlock    yes" in said
