"""All who watch a server: counters always, the audit where it was asked for, and the page that shows the counters."""

from __future__ import annotations

from collections.abc import Callable

from nrepl_py.config import Settings
from nrepl_py.server import logs
from nrepl_py.server.audit import Audit
from nrepl_py.server.counters import Counters, Sample
from nrepl_py.server.observers import Observer, Observers


class Watching:
    """`observer` is who is to be told; `secrets` are never written down."""

    def __init__(self, settings: Settings, secrets: tuple[str, ...]) -> None:
        self.counters = Counters()
        self.audit = Audit(settings.audit_file, settings.audit_code, secrets) if settings.audit_file else None
        self.observer: Observer = Observers(self.counters, self.audit) if self.audit else self.counters
        self._page: Callable[[], tuple[str, str]] | None = None

    def open(self) -> None:
        """Begin to write. Raises `ConfigError` where that cannot be."""
        if self.audit is not None:
            self.audit.open()

    def close(self) -> None:
        """Write what is to be written, and no more."""
        if self.audit is not None:
            self.audit.close()

    def lost(self) -> dict[str, int]:
        """How many lines of each file could not be written."""
        return {"log": logs.lost(), "audit": self.audit.lost if self.audit else 0}

    def page(self, sample: Callable[[], Sample]) -> tuple[str, str]:
        """The page of metrics, and its type."""
        if self._page is None:
            # Loaded with the first scrape: it takes longer than all else that answers one.
            from nrepl_py.server.metrics import Page

            self._page = Page(self.counters, sample)
        return self._page()
