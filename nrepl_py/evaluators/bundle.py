"""The worker's source as one script in an inherited descriptor.

Read once when the server starts: sessions started after an upgrade of the installation still run
the version their router speaks, and an interpreter that cannot read our files can run it.
"""

from __future__ import annotations

import os
import tempfile
from importlib import resources

_BOOT = "import os,sys;exec(compile(os.pread(int(sys.argv[1]),1<<24,0),'<nrepl-py>/boot.py','exec'))"


def open_bundle() -> int:
    """A descriptor that holds the script."""
    sources = modules()
    boot = sources.pop("worker.boot")
    # After the `from __future__` import, which must come first.
    script = boot.replace("SOURCES: Dict[str, str]", f"SOURCES: Dict[str, str] = {sources!r}", 1).encode()
    return sealed_file("nrepl-py-worker", script)


def modules() -> dict[str, str]:
    """The sources of all that a worker may need, by module name below `boot.PACKAGE`."""
    found = {"": ""}
    for package in ("worker", "introspection", "sandbox"):
        for file in resources.files(f"nrepl_py.{package}").iterdir():
            if file.name.endswith(".py"):
                name = f"{package}.{file.name[:-3]}".removesuffix(".__init__")
                found[name] = file.read_text("utf-8")
    return found


def anonymous_file(name: str) -> int:
    """A descriptor of an empty file in memory, or of an unlinked temporary one where there is no memfd."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)
    return fd


def sealed_file(name: str, contents: bytes) -> int:
    """One that nobody can change any more, at its beginning: what it says is run outside of any sandbox, and it passes
    through the hands of interpreters that are not ours."""
    fd = anonymous_file(name)
    os.pwrite(fd, contents, 0)
    if hasattr(os, "memfd_create"):  # where there is none, there is no sandbox either
        import fcntl

        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def command(executable: str, bundle: int, kind: str, *descriptors: int) -> list[str]:
    """The command line of a zygote or a cold worker. `-I -S`: nothing of the user's runs before us."""
    return [executable, "-I", "-S", "-c", _BOOT, str(bundle), kind, *map(str, descriptors)]
