"""A test of the tests: the properties notice each of a list of bugs, and nothing where there is none."""

from __future__ import annotations

import random

import pytest

from nrepl_py.server.router import Router

from .mutants import MUTANTS, Mutant, load
from .world import World

pytestmark = pytest.mark.once

SCHEDULES = 2000
"""Enough for the shyest mutant with room to spare; the seed is fixed, so that a miss is no accident."""


def first_failure(router: object) -> int | None:
    """The number of the first schedule that fails."""
    source = random.Random(7)
    for number in range(SCHEDULES):
        try:
            World(router).play(source.randbytes(400))
        except (AssertionError, KeyError):
            return number
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_the_properties_catch(mutant: Mutant) -> None:
    assert first_failure(load(mutant)) is not None


def test_the_core_as_it_is_passes() -> None:
    assert first_failure(Router) is None
