"""Who confines itself in the tests of this directory, and where."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.child import USERS


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> int:
    """Each user there is to be, by number."""
    number: int = request.param
    return number


@pytest.fixture
def place(user: int) -> Iterator[Path]:
    """An empty directory of that user's, below directories that anyone may pass."""
    path = Path(tempfile.mkdtemp(prefix="nrepl-sandbox-", dir="/tmp"))
    os.chown(path, user, -1)
    yield path.resolve()
    shutil.rmtree(path)
