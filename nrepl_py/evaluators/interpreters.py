"""Which interpreter is meant by a name or a path, and of what kind it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from typing import Final

from nrepl_py.errors import StartFailed

_PROBE: Final = "import sys;print(sys.implementation.name)"


class Interpreters:
    """Those that sessions may ask for; without a word it is `default`."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._implementations: dict[str, str] = {}

    def resolve(self, python: str | None) -> str:
        """Its absolute path. Raises `StartFailed` where there is none."""
        wanted = os.path.expanduser(python or self._default)
        found = shutil.which(wanted)
        if found is None:
            raise StartFailed(f"no interpreter {wanted!r}: give a path, or a name on the server's PATH")
        return os.path.abspath(found)

    async def implementation(self, executable: str) -> str:
        """Its `sys.implementation.name`: it is run for that, once. Raises `StartFailed` with its own words."""
        if executable == sys.executable:
            return sys.implementation.name
        if executable not in self._implementations:
            try:
                process = await asyncio.create_subprocess_exec(
                    executable, "-I", "-S", "-c", _PROBE,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
            except OSError as error:
                raise StartFailed(f"cannot run {executable}: {error.strerror or error}") from None
            out, err = await process.communicate()
            if process.returncode != 0:
                text = err.decode("utf-8", "backslashreplace").strip()
                raise StartFailed(f"{executable} ended with code {process.returncode}\n{text}".strip())
            self._implementations[executable] = out.decode("utf-8", "replace").strip()
        return self._implementations[executable]
