"""Who a token stands for: the owner's own, and those of the tokens file, which may change at any time.

The file is looked at with every token that is shown, and when a signal says so; a file that cannot be
believed changes nothing. Wrong tokens are counted for each peer, and a peer that has shown too many is
told to wait: nobody else notices, and neither does who shows a right one.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from nrepl_py import tokens
from nrepl_py.config import ConfigError
from nrepl_py.errors import Unauthorized
from nrepl_py.limits import Limits
from nrepl_py.ops import CAPABILITIES
from nrepl_py.server.auth import MAX_TOKEN
from nrepl_py.server.pace import Paces
from nrepl_py.server.principals import Principal

log = logging.getLogger(__name__)

MAX_PEERS: Final = 4096
"""Peers whose failures are remembered, some 200 bytes each."""

WRONG_AT_ONCE: Final = 10
"""Wrong tokens a peer may show before it is slowed down: a person who pastes the wrong one a few times
never notices."""


class TooMany(Unauthorized):
    """This peer has shown too many wrong tokens, and the one it shows now is wrong too."""

    def __init__(self, seconds: float) -> None:
        self.seconds = math.ceil(seconds)
        super().__init__(f"too many wrong tokens came from this address; try again in {self.seconds} s")


class Door:
    """`path` is the tokens file, or None; `changed` is called when it no longer says the same."""

    def __init__(self, token: str, path: str | None, limits: Limits, changed: Callable[[], object]) -> None:
        self.wrong_tokens = 0
        """Tokens that stood for nobody."""
        self.too_many = 0
        """More of them, from peers that had shown too many."""
        digest = tokens.digest(token)
        self._owner = Principal(tokens.OWNER, frozenset(CAPABILITIES), token=tokens.OWNER, digest=digest, owner=True)
        self._path = path
        self._changed = changed
        self._identity: tokens.Identity | None = None
        self._known = [(self._owner, math.inf)]
        per_minute = limits.max_wrong_tokens_per_minute
        self._paces = Paces(per_minute / 60, min(WRONG_AT_ONCE, per_minute), MAX_PEERS)

    def open(self) -> None:
        """Read the tokens file for the first time. Raises `ConfigError`."""
        if self._path is not None:
            self._identity = tokens.identity(self._path)
            self._load(self._path)

    def authenticate(self, token: str, peer: str) -> Principal | None:
        """Who the token stands for. Raises `TooMany`."""
        self.refresh()
        principal = self._find(token)
        if principal is None:
            # A right one is always heard: an editor that goes on showing an old token must lock nobody out, and
            # 256 bits are not guessed at any rate.
            now = time.monotonic()
            if wait := self._paces.wait(peer, now):
                self.too_many += 1
                raise TooMany(wait)
            self.wrong_tokens += 1
            self._paces.take(peer, now)
            log.info("a wrong token was shown", extra={"peer": peer})
        return principal

    def stands(self, principal: Principal) -> bool:
        """Whether that principal's token still stands for exactly this."""
        return any(principal == one for one in self._valid() if one.digest == principal.digest)

    def refresh(self) -> None:
        """Read the file again if it is another than before. What cannot be believed changes nothing, and is logged."""
        if self._path is None or (identity := tokens.identity(self._path)) == self._identity:
            return
        self._identity = identity
        try:
            self._load(self._path)
        except ConfigError as error:
            log.error("the tokens stay as they were", extra={"why": str(error)})
            return
        log.info("tokens read again", extra={"path": self._path, "tokens": len(self._known) - 1})
        self._changed()

    def next_expiry(self) -> float | None:
        """Seconds until the next token expires; None where none will."""
        now = time.time()
        return min((expires - now for _, expires in self._known if now < expires < math.inf), default=None)

    def _load(self, path: str) -> None:
        known = [
            (_principal(entry), math.inf if entry.expires is None else entry.expires) for entry in tokens.read(path)
        ]
        self._known = [(self._owner, math.inf), *known]

    def _find(self, token: str) -> Principal | None:
        # Every one is compared, and hashes at that: how long it takes tells nothing.
        given = tokens.digest(token[:MAX_TOKEN])
        found = [one for one in self._valid() if hmac.compare_digest(given, one.digest)]
        return found[0] if found and len(token) <= MAX_TOKEN else None

    def _valid(self) -> list[Principal]:
        now = time.time()
        return [principal for principal, expires in self._known if expires > now]


def _principal(entry: tokens.Entry) -> Principal:
    tiers = None if entry.tiers is None else frozenset(entry.tiers)
    name = entry.principal or entry.name
    owner = name == tokens.OWNER  # by `--principal`, in a file that is the owner's alone
    return Principal(name, frozenset(entry.capabilities), entry.quota, tiers, entry.name, entry.sha256, owner)
