"""For every file, in each place of its `PLACES`, one server with the limits in its `LIMITS`, and one witness; for every
test one attack."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import harness
from tests.hostile.places import Place, User, ordinary_user


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a file in each of its places. Where there are all four, half of them has each tier and each user,
    which is enough where Python is another and the rest is the same."""
    if "victim" in metafunc.fixturenames:
        places = metafunc.module.PLACES
        twice = len(places) == 4
        params = [
            pytest.param(place, marks=pytest.mark.once if twice and place.user == (place.tier == "landlock") else ())
            for place in places
        ]
        metafunc.parametrize("victim", params, ids=str, indirect=True, scope="module")


@pytest.fixture(scope="session")
def ordinary() -> Iterator[User]:
    """A user made for this run."""
    with ordinary_user() as user:
        yield user


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest) -> Iterator[harness.Victim]:
    """The server of this file, in one of its places."""
    place: Place = request.param
    user = request.getfixturevalue("ordinary") if place.user else None
    directory = Path(tempfile.mkdtemp())
    victim = harness.Victim(directory, tier=place.tier, user=user, **getattr(request.module, "LIMITS", {}))
    yield victim
    victim.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def witness(victim: harness.Victim) -> Iterator[harness.Witness]:
    """The innocent session of this file."""
    witness = harness.Witness(victim)
    yield witness
    witness.close()


@pytest.fixture
def attack(
    victim: harness.Victim, witness: harness.Witness, request: pytest.FixtureRequest
) -> Iterator[harness.Attack]:
    """What the test attacks with; after it, everything must be as before."""
    attack = harness.Attack(victim, witness, request.node.name)
    yield attack
    attack.end()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where files run in processes of their own, tell the one that speaks what is to be told at the end."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["not-held"] = {what: sorted(tiers) for what, tiers in harness.NOT_HELD.items()}
        output["slowest"] = harness.SLOWEST


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it."""
    output = getattr(node, "workeroutput", {})
    for what, tiers in output.get("not-held", {}).items():
        harness.NOT_HELD.setdefault(what, set()).update(tiers)
    harness.SLOWEST.update(output.get("slowest", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How long the innocent sessions waited: told, since a loaded machine is no bug. And what tiers do not hold."""
    for what, tiers in sorted(harness.NOT_HELD.items()):
        terminalreporter.write_line(f"not held by {', '.join(sorted(tiers))}: {what}")
    if not harness.SLOWEST:
        return
    name, seconds = max(harness.SLOWEST.items(), key=lambda item: item[1])
    terminalreporter.write_line(f"innocent sessions under attack: the slowest answer took {seconds:.2f} s ({name})")
    for name, seconds in harness.SLOWEST.items():
        if seconds > harness.PROMISED_SECONDS:
            terminalreporter.write_line(f"  longer than {harness.PROMISED_SECONDS} s: {seconds:.2f} s in {name}")
