"""How the children of one zygote end: each of them told once, whatever is said of them. Sans-I/O.

A *family* is a worker and its live clones. Where they have an init it says how one of several has `left` and how the
last one `ended`; then the zygote says that the init has `exited`, and with it are gone all members, whether anything
was said of them or not. Without an init each member `exited` by itself.

    expected ──left──▶ told                    by its init, while others go on
       │ └────ended──▶ ending ──exited──▶ told     with the status that its init said
       └──exited──▶ told                       with that status: the init's, which took it along, or its own
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnExit: TypeAlias = Callable[[int], None]
"""Gets the raw wait status."""


class Exits:
    """The children that have not ended. A number that is not known, or is known to have ended, is a KeyError."""

    def __init__(self) -> None:
        self._on_exit: dict[int, OnExit] = {}
        self._family_of: dict[int, int] = {}
        self._families: dict[int, set[int]] = {}
        """Members by the number of their init's first."""
        self._ended: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._on_exit)

    def __contains__(self, number: int) -> bool:
        return number in self._on_exit

    def expect(self, number: int, on_exit: OnExit, family: int | None = None) -> None:
        """A child of that number is on its way. `family`: the number of the one whose init has it, if one has."""
        if family is not None:
            self._families.setdefault(family, set()).add(number)
            self._family_of[number] = family
        self._on_exit[number] = on_exit

    def forget(self, number: int) -> None:
        """It never came to be, and nobody is told."""
        self._take(number)
        if not self._families.get(number, True):
            del self._families[number]

    def left(self, number: int, status: int) -> list[tuple[OnExit, int]]:
        """A member ended, and others go on: whom to tell what, now."""
        if number not in self._family_of or number in self._ended:
            raise KeyError(number)
        return [(self._take(number), status)]

    def ended(self, number: int, status: int) -> None:
        """The last member ended, and its init is about to."""
        if number not in self._on_exit or number in self._ended:
            raise KeyError(number)
        self._ended[number] = status

    def exited(self, number: int, status: int) -> list[tuple[OnExit, int]]:
        """A child of the zygote's own has been reaped: whom to tell what, now."""
        members = self._families.pop(number, None)
        if members is None:
            if self._family_of.get(number, number) != number:
                raise KeyError(number)
            members = {number}
        told = []
        for member in sorted(members):
            own = self._ended.pop(member, status)
            told.append((self._take(member), own))
        return told

    def _take(self, number: int) -> OnExit:
        on_exit = self._on_exit.pop(number)
        family = self._family_of.pop(number, None)
        self._ended.pop(number, None)
        if family in self._families:
            self._families[family].discard(number)
        return on_exit
