"""Who may ask, and for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token stands for. Sessions belong to the principal; `capabilities` bounds the ops."""

    name: str
    capabilities: frozenset[str]
