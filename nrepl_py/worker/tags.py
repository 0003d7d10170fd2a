"""Whose output it is: every piece of it carries its eval's tag.

A tag says which eval (serial) of which worker (relay) some code belongs to. It travels in a context
variable: the main thread's is set when an eval starts, tasks inherit it, and `carry_tags` makes
threads and thread pools inherit it too. So the output of a thread that an eval left behind still
has that eval's serial.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, copy_context
from typing import Any, Callable, NamedTuple, Optional


class Tag(NamedTuple):
    """Whose output this is; `serial` None where no eval can be named."""

    relay: Any
    """An `output.Relay`."""
    serial: Optional[int]


TAG: ContextVar[Optional[Tag]] = ContextVar("nrepl_py.tag", default=None)


def carry_tags(begin: Callable[[], object] = bool) -> Callable[[], None]:
    """Make threads inherit the tag of those who start them; gives a function that undoes it. `begin` is called first
    of all in each of them."""
    start, bootstrap = threading.Thread.start, threading.Thread._bootstrap  # type: ignore[attr-defined]

    def tagged_start(self: Any) -> None:
        self._nrepl_py_tag = TAG.get()
        start(self)

    def tagged_bootstrap(self: Any) -> None:
        begin()
        TAG.set(getattr(self, "_nrepl_py_tag", None))
        bootstrap(self)

    threading.Thread.start = tagged_start  # type: ignore[method-assign]
    threading.Thread._bootstrap = tagged_bootstrap  # type: ignore[attr-defined]

    def undo() -> None:
        threading.Thread.start = start  # type: ignore[method-assign]
        threading.Thread._bootstrap = bootstrap  # type: ignore[attr-defined]

    return undo


def carry_through_pools(module: Any) -> None:
    """The same for `concurrent.futures.thread`, whose threads outlive the eval that made them."""
    submit = module.ThreadPoolExecutor.submit

    def tagged_submit(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        tag = TAG.get()
        return submit(self, fn if tag is None else _Tagged(tag, fn), *args, **kwargs)

    module.ThreadPoolExecutor.submit = tagged_submit


class _Tagged:
    """A call that runs under the tag of the one who submitted it."""

    def __init__(self, tag: Tag, fn: Callable[..., Any]) -> None:
        self._tag = tag
        self._fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        context.run(TAG.set, self._tag)
        return context.run(self._fn, *args, **kwargs)
