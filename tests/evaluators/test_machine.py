"""What a machine lacks for a tier is told: what, why, with what effect, and what to change."""

from __future__ import annotations

import os
from typing import Any

import pytest

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators import bundle, machine
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.local import LocalEvaluator
from nrepl_py.evaluators.policy import Policy
from nrepl_py.ops import Sandbox

ALL: dict[str, str | None] = {"namespaces": None, "landlock": None, "seccomp": None, "cgroups": None}


async def test_the_probes_are_done_for_real() -> None:
    source = bundle.open_bundle()
    try:
        found = await machine.probe(source)
    finally:
        os.close(source)
    # Wherever these tests run at all, they confine sessions: see tests/evaluators/test_contract.py.
    assert found | {"cgroups": None} == ALL
    assert found["cgroups"] is None or "group" in found["cgroups"]


async def test_probes_that_do_not_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(bundle, "command", lambda *arguments: ["sh", "-c", "sleep 600 & wait"])
    found = await machine.probe(0)
    assert found["namespaces"] == found["seccomp"] == "trying it out had not ended after 0.2 s"


def test_each_tier_needs_what_it_stands_on() -> None:
    assert [machine.missing(tier, ALL) for tier in machine.NEEDS] == [[]] * 5
    denied = ALL | {"namespaces": "unshare: Operation not permitted"}
    assert {tier: [one.what for one in machine.missing(tier, denied)] for tier in machine.NEEDS} == {
        "none": [], "process": [], "landlock": [], "sandbox": ["namespaces"], "strict": ["namespaces"],
    }  # fmt: skip
    assert [one.what for one in machine.missing("strict", ALL | {"cgroups": "no"})] == ["cgroups"]
    assert machine.best("strict", ALL | {"cgroups": "no"}) == "sandbox"
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


async def _without_groups(source: int) -> dict[str, str | None]:
    return ALL | {"cgroups": "they are root's to make"}


async def test_a_clone_that_asks_for_more_than_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "probe", _without_groups)
    spec = Spec(Ref("more", 1), sandbox=Sandbox(tier="strict"))
    evaluator = LocalEvaluator(policy=Policy(tier="sandbox"))
    try:
        with pytest.raises(StartFailed, match="cannot confine sessions to 'strict': cgroups: they are root's to make"):
            await evaluator.start(spec)
    finally:
        await evaluator.aclose()
    evaluator = LocalEvaluator(policy=Policy(tier="process", allow_degraded=True))
    try:
        told = (await evaluator.start(spec)).sandbox
        assert (told["tier"], told["requested"]) == ("sandbox", "strict")
        assert [one["what"] for one in told["missing"]] == ["cgroups"]
        assert all(one[key] for one in told["missing"] for key in ("why", "effect", "advice"))
        assert await evaluator.stop(spec.ref, 1)
    finally:
        await evaluator.aclose()
