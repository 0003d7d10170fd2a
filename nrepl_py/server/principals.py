"""Who may ask, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nrepl_py.limits import Quota
from nrepl_py.ops import Request

NO_QUOTA: Final = Quota()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token stands for. Sessions belong to `name`; `capabilities` bounds the ops, `quota` what is
    held at once, `tiers` the isolation to choose from (None: whatever the server allows)."""

    name: str
    capabilities: frozenset[str]
    quota: Quota = NO_QUOTA
    tiers: frozenset[str] | None = None
    token: str = ""
    """The name of the token that was shown; several may stand for one principal."""
    digest: str = ""
    """That token's hash: one made anew under the same name is another."""
    owner: bool = False
    """Whether it is who started the server."""

    def may(self, kind: type[Request]) -> bool:
        """Whether the capabilities allow the op."""
        return kind.capability is None or not self.capabilities.isdisjoint((kind.capability, kind.also))
