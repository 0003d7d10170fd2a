"""Where attacks are tried: the tiers, for a server of the user that runs the tests and for one of an ordinary user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conftest import need

ROOT = Path(__file__).resolve().parents[2]


class Place(NamedTuple):
    """A tier, and whether the server is an ordinary user's while the tests are root's."""

    tier: str
    user: bool = False

    def __str__(self) -> str:
        return f"{self.tier}-{'user' if self.user else 'self'}"


def places(*tiers: str, users: tuple[bool, ...] = (False, True)) -> list[Place]:
    """Each of the tiers for each of the users; of whom there is one only where the tests are not root's."""
    return [Place(tier, user) for user in users for tier in tiers if os.geteuid() == 0 or not user]


class User(NamedTuple):
    """Who runs a server."""

    uid: int
    gid: int

    def command(self, command: list[str]) -> list[str]:
        """What runs it as this user."""
        return [sys.executable, "-m", "tests.hostile.ordinary", str(self.uid), str(self.gid), *command]


@contextmanager
def ordinary_user() -> Iterator[User]:
    """A user of this machine, for as long as the tests run."""
    name = f"nrepl-{os.getpid()}"
    subprocess.run([need("useradd"), "--no-create-home", "--no-log-init", name], check=True)
    try:
        entry = pwd.getpwnam(name)
        yield User(entry.pw_uid, entry.pw_gid)
    finally:
        subprocess.run([need("userdel"), name], check=True, capture_output=True)
