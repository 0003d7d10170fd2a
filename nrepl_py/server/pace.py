"""How often something may happen: turns that are spent, and come back at a steady rate."""

from __future__ import annotations


class Pace:
    """Some turns at once, and more with time. `now` is seconds of any clock that only goes forward."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = self._left = float(burst)
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a turn; 0 where there is one now."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        return 0.0 if self._left >= 1 else (1 - self._left) / self._per_second

    def take(self, now: float) -> float:
        """Spend a turn, where there is one; returns what `wait` does."""
        left = self._left + (now - self._at) * self._per_second
        if left < 1:
            return self.wait(now)
        # For each message of each client: the whole of `wait`, where it need not be waited.
        self._left = (left if left < self._burst else self._burst) - 1
        self._at = now
        return 0.0


class Paces:
    """A pace for each key, in bounded memory: of more than `most` keys, the one not used for longest starts anew."""

    def __init__(self, per_second: float, burst: float, most: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._of: dict[str, Pace] = {}

    def __len__(self) -> int:
        return len(self._of)

    def wait(self, key: str, now: float) -> float:
        """As `Pace.wait`."""
        pace = self._of.get(key)
        return 0.0 if pace is None else pace.wait(now)

    def take(self, key: str, now: float) -> float:
        """As `Pace.take`."""
        pace = self._of.pop(key) if key in self._of else Pace(self._per_second, self._burst)
        self._of[key] = pace
        if len(self._of) > self._most:
            del self._of[next(iter(self._of))]
        return pace.take(now)
