"""Several observers are told as one would be."""

from __future__ import annotations

import inspect
from typing import Any

from nrepl_py.server.context import Watch
from nrepl_py.server.observers import Observer, Observers


class Listener(Observer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []


def _listen(name: str) -> None:
    def told(self: Listener, *arguments: Any) -> None:
        self.told.append((name, *arguments))

    setattr(Listener, name, told)


EVENTS = {
    name: len(inspect.signature(method).parameters) - 1
    for name, method in inspect.getmembers(Observer, inspect.isfunction)
    if not name.startswith("_") and name != "now"
}
for event in EVENTS:
    _listen(event)


def test_each_is_told_everything_in_order() -> None:
    first, second = Listener(), Listener()
    both = Observers(first, second)
    for event, count in EVENTS.items():
        getattr(both, event)(*range(count))
    assert first.told == second.told == [(event, *range(count)) for event, count in EVENTS.items()]
    assert len(first.told) >= len([name for name in vars(Watch) if not name.startswith("_")])


def test_the_clock_goes_forward() -> None:
    assert Observers().now() <= Observer().now()
