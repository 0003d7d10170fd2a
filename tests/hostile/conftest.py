"""For every file one server, with the limits the file names in `LIMITS`, and one witness; for every test one attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile import harness


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Victim]:
    """The server of this file."""
    victim = harness.Victim(tmp_path_factory.mktemp("victim"), **getattr(request.module, "LIMITS", {}))
    yield victim
    victim.stop()


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How long the innocent sessions waited: told, since a loaded machine is no bug."""
    if not harness.SLOWEST:
        return
    name, seconds = max(harness.SLOWEST.items(), key=lambda item: item[1])
    terminalreporter.write_line(f"innocent sessions under attack: the slowest answer took {seconds:.2f} s ({name})")
    for name, seconds in harness.SLOWEST.items():
        if seconds > harness.PROMISED_SECONDS:
            terminalreporter.write_line(f"  longer than {harness.PROMISED_SECONDS} s: {seconds:.2f} s in {name}")
