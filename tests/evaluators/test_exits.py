"""Each child of a zygote is told its end once, in every order of honest words; and lies are KeyErrors, which end it."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.evaluators.exits import Exits


class Model:
    """A zygote, inits and workers that are honest, and who was told what."""

    def __init__(self, family_class: type[Exits] = Exits) -> None:
        self.exits = family_class()
        self.told: Counter[int] = Counter()
        self.said: dict[int, int] = {}
        self.families: dict[int, set[int]] = {}
        """The living members of each init, by its first one's number."""
        self.alone: set[int] = set()
        self.number = 0

    def start(self, confined: bool) -> int:
        self.number += 1
        if confined:
            self.families[self.number] = {self.number}
        else:
            self.alone.add(self.number)
        self._expect(self.number, self.number if confined else None)
        return self.number

    def clone(self, choice: int) -> None:
        """Of a member of some family; or of a worker that has no init, whose clone has none either."""
        self.number += 1
        family = self._pick(sorted(self.families), choice)
        if family is None or choice % 3 == 0:
            self.alone.add(self.number)
            self._expect(self.number, None)
        else:
            self.families[family].add(self.number)
            self._expect(self.number, family)

    def refuse(self, choice: int) -> None:
        """A clone that is no child of its init's."""
        family = self._pick(sorted(self.families), choice)
        if family is not None:
            self.number += 1
            self._expect(self.number, family)
            self.exits.forget(self.number)

    def end(self, choice: int) -> None:
        """One ends by itself."""
        everyone = sorted(self.alone) + sorted(member for members in self.families.values() for member in members)
        number = self._pick(everyone, choice)
        if number is None:
            return
        self.said[number] = choice + 1
        if number in self.alone:
            self.alone.remove(number)
            self._tell(self.exits.exited(number, choice + 1))
            return
        family = next(first for first, members in self.families.items() if number in members)
        self.families[family].remove(number)
        if self.families[family]:
            self._tell(self.exits.left(number, choice + 1))
        else:
            del self.families[family]
            self.exits.ended(number, choice + 1)
            assert not self.told[number]
            self._tell(self.exits.exited(family, 0))

    def kill_init(self, choice: int) -> None:
        family = self._pick(sorted(self.families), choice)
        if family is not None:
            self.said.update(dict.fromkeys(self.families.pop(family), 9))
            self._tell(self.exits.exited(family, 9))

    def check(self) -> None:
        assert max(self.told.values(), default=1) == 1
        assert set(self.told) == set(self.said)
        alive = self.alone.union(*self.families.values())
        assert len(self.exits) == len(alive)
        assert all(number in self.exits for number in alive)

    def _expect(self, number: int, family: int | None) -> None:
        def on_exit(status: int) -> None:
            self.told[number] += 1
            assert status == self.said[number]

        self.exits.expect(number, on_exit, family)

    @staticmethod
    def _tell(told: list[tuple[object, int]]) -> None:
        for on_exit, status in told:
            on_exit(status)  # type: ignore[operator]

    @staticmethod
    def _pick(things: list[int], choice: int) -> int | None:
        return things[choice % len(things)] if things else None


def play(model: Model, schedule: bytes) -> None:
    for action, choice in zip(schedule[::2], schedule[1::2], strict=False):
        if action % 6 == 0:
            model.start(bool(choice % 2))
        else:
            (model.clone, model.clone, model.refuse, model.end, model.kill_init)[action % 6 - 1](choice)
        model.check()


@given(st.binary(max_size=120))
def test_each_end_is_told_once_and_truly(schedule: bytes) -> None:
    play(Model(), schedule)


WORDS = ("left", "ended", "exited")


@given(st.binary(max_size=60), st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 12)), max_size=20))
def test_a_liar_tells_each_end_once_at_most(schedule: bytes, lies: list[tuple[str, int]]) -> None:
    """Whatever it says; and once it has said that all are gone, nothing of them stays."""
    exits, told = Exits(), Counter[int]()
    known = 0
    for action, choice in zip(schedule[::2], schedule[1::2], strict=False):
        known += 1
        family = 1 + choice % known if action % 2 else None
        exits.expect(known, lambda status, known=known: told.update([known]), family)
    for word, number in lies:
        with contextlib.suppress(KeyError):
            for on_exit, status in getattr(exits, word)(number, 0) or []:
                on_exit(status)
    assert max(told.values(), default=1) == 1
    assert len(exits) == known - len(told)


@pytest.mark.parametrize(
    ("old", "new"),
    [("left", "exited"), ("ended", "left"), ("exited", "left")],
)
def test_mutants_are_caught(old: str, new: str) -> None:
    """A model whose words are mixed up breaks the promises, so the properties can fail."""
    mixed = type("Mixed", (Exits,), {old: getattr(Exits, new)})
    model = Model(mixed)
    with pytest.raises((AssertionError, KeyError, TypeError)):
        for schedule in (b"\0\1\1\1\4\0\4\1", b"\0\1\1\1\4\1\4\0", b"\0\1\1\1\5\0", b"\0\0\4\0", b"\0\1\4\0"):
            play(model := Model(mixed), schedule)
    assert model.number


def test_unknown_numbers() -> None:
    exits = Exits()
    exits.expect(1, lambda status: None, 1)
    exits.expect(2, lambda status: None, 1)
    exits.expect(3, lambda status: None)
    for attempt in (
        lambda: exits.left(3, 0),  # it has no init
        lambda: exits.left(9, 0),
        lambda: exits.ended(9, 0),
        lambda: exits.exited(2, 0),  # it is no child of the zygote's
        lambda: exits.exited(9, 0),
    ):
        with pytest.raises(KeyError):
            attempt()
    exits.ended(2, 5)
    for again in (lambda: exits.ended(2, 5), lambda: exits.left(2, 5)):
        with pytest.raises(KeyError):
            again()
    assert [status for _, status in exits.exited(1, 7)] == [7, 5]
    assert len(exits) == 1
