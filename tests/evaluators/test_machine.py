"""What a machine lacks for a tier is told: what, why, with what effect, and what to change."""

from __future__ import annotations

import os
from typing import Any

import pytest

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators import bundle, machine
from nrepl_py.evaluators.local import LocalEvaluator
from nrepl_py.evaluators.policy import Policy

ALL: dict[str, str | None] = {"namespaces": None, "landlock": None, "seccomp": None}


async def test_the_probes_are_done_for_real() -> None:
    source = bundle.open_bundle()
    try:
        found = await machine.probe(source)
    finally:
        os.close(source)
    # Wherever these tests run at all, they confine sessions: see tests/evaluators/test_contract.py.
    assert found == ALL


def test_each_tier_needs_what_it_stands_on() -> None:
    assert [machine.missing(tier, ALL) for tier in machine.NEEDS] == [[]] * 5
    denied = ALL | {"namespaces": "unshare: Operation not permitted"}
    assert {tier: [one.what for one in machine.missing(tier, denied)] for tier in machine.NEEDS} == {
        "none": [], "process": [], "landlock": [], "sandbox": ["namespaces"], "strict": ["namespaces"],
    }  # fmt: skip
    assert machine.best("strict", denied) == "landlock"
    assert machine.best("sandbox", denied | {"seccomp": "no"}) == "process"
    assert machine.best("none", denied) == "none"


async def _denied(source: int) -> dict[str, str | None]:
    return ALL | {"namespaces": "unshare: Operation not permitted"}


async def test_what_cannot_be_had_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "probe", _denied)
    evaluator = LocalEvaluator(policy=Policy(tier="sandbox"))
    try:
        with pytest.raises(StartFailed) as refused:
            await evaluator.open()
    finally:
        await evaluator.aclose()
    for part in ("'sandbox'", "Operation not permitted", "--sandbox landlock", "--allow-degraded", "doctor"):
        assert part in str(refused.value)


async def test_degraded_service_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "probe", _denied)
    evaluator = LocalEvaluator(policy=Policy(tier="sandbox", allow_degraded=True))
    try:
        await evaluator.open()
        said: dict[str, Any] = evaluator.describe()
    finally:
        await evaluator.aclose()
    assert (said["tier"], said["requested"]) == ("landlock", "sandbox")
    assert [sorted(one) for one in said["missing"]] == [["advice", "effect", "what", "why"]]
