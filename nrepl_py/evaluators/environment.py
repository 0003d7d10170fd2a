"""The environment variables of a session: a small base of the server's, what it is given, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nrepl_py.evaluators.base import Spec

BASE_ENVIRONMENT = (
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER",
)  # fmt: skip
"""The server's variables every session gets (and all `LC_*`): what programs need to find their way,
and nothing that usually holds a secret. Others come by `inherit-env` and `env`."""

PRIVATE_ENVIRONMENT: dict[str, str | None] = {
    "HOME": "/home/session", "USER": "session", "LOGNAME": "session", "TMPDIR": None, "TEMP": None, "TMP": None,
}  # fmt: skip
"""What of it differs where a session has files of its own."""


def environment(spec: Spec, private: Mapping[str, str | None]) -> dict[str, str]:
    """All that the session gets. `private`: what differs for it; None removes."""
    env = {name: value for name, value in os.environ.items() if is_base(name) or name in spec.inherit_env}
    for name, value in private.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env | spec.env


def is_base(name: str) -> bool:
    """Whether every session gets this variable of the server's."""
    return name in BASE_ENVIRONMENT or name.startswith("LC_")
