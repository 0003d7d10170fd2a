"""One row a comparison, and the table they make."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Row:
    """`ours` and `theirs` are medians in `unit`; `goal` is what the ratio is hoped to be, as text."""

    what: str
    peer: str
    ours: float
    theirs: float | None
    unit: str
    goal: str

    @property
    def ratio(self) -> str:
        if self.theirs is None:
            return "–"
        less = self.theirs / self.ours
        better, worse = ("smaller", "as large") if self.unit == "MB" else ("faster", "as long")
        return f"{less:.1f}× {better}" if less >= 1 else f"{1 / less:.2f}× {worse}"

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self) | {"ratio": None if self.theirs is None else self.theirs / self.ours}


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ours | peer | ratio | goal |", "|---|---|---|---|---|"]
    for row in rows:
        theirs = "–" if row.theirs is None else f"{row.peer} {row.theirs:.2f} {row.unit}"
        lines.append(f"| {row.what} | {row.ours:.2f} {row.unit} | {theirs} | {row.ratio} | {row.goal} |")
    return "\n".join(lines)


def alternate(repeat: int, *actions: Callable[[], object]) -> list[float]:
    """The median time of each action in ms, taken in turns so that all see the same machine."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeat):
        for action, taken in zip(actions, times, strict=True):
            start = perf_counter()
            action()
            taken.append((perf_counter() - start) * 1000)
    return [statistics.median(taken) for taken in times]
