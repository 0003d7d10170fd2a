"""What is promised holds under every order of events; the promises are in `world.py`."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrepl_py.server.router import Router

from .world import World


@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=160, max_size=400))
def test_every_schedule_keeps_the_promises(schedule: bytes) -> None:
    World(Router).play(schedule)
