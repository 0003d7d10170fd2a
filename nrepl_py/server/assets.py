"""The page for browsers, as it was built from `editors/browser`: its files, as they are and compressed, read once."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

DIRECTORY: Final = Path(__file__).parent / "page"


class Asset(NamedTuple):
    """A file's bytes, the same by gzip, and a tag that changes with them."""

    body: bytes
    packed: bytes
    etag: str


@cache
def asset(name: str) -> Asset:
    """The file of that name. Raises OSError where the page was not built."""
    body = (DIRECTORY / name).read_bytes()
    # Weak: it stands for both forms.
    return Asset(body, gzip.compress(body, 6, mtime=0), f'W/"{hashlib.sha256(body).hexdigest()[:32]}"')
