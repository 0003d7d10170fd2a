"""The tokens file: who else may use a server, and for what.

JSON, because it is programs that write it, and the standard library writes no TOML. It holds no
token, only its SHA-256: a token is 256 random bits, which no one can guess from a hash however fast;
slow hashes are for passwords, and would only let strangers keep the server busy. Whoever can write
the file can let themselves in, and who can read it learns who there is: its mode is 0600.

Changed by `nrepl-py token`, read by the server; neither imports the other.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from nrepl_py import connection_file
from nrepl_py.config import ConfigError
from nrepl_py.limits import Quota

TOKEN_BYTES: Final = 32
"""Bytes of randomness in a token; 256 bits cannot be guessed at any rate."""

MAX_FILE: Final = 4 << 20
"""Bytes; thousands of tokens, and the server reads them all at once."""

OWNER: Final = "owner"
"""The principal of the server's own token, the one in the connection file."""

Capability: TypeAlias = Literal["observe", "eval", "admin"]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*\Z")]


class Entry(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One token: whom it stands for (`principal`, by default its own name) and what it allows. Times
    are seconds since 1970. A field we do not know might restrict it, so such a file is refused."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    capabilities: Annotated[tuple[Capability, ...], Meta(min_length=1)] = ("eval",)
    principal: Name | None = None
    quota: Quota = Quota()
    tiers: tuple[str, ...] | None = None
    created: float
    expires: float | None = None


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tokens: tuple[Entry, ...] = ()


class Identity(NamedTuple):
    """What tells one state of the file from the next."""

    device: int
    inode: int
    changed: int
    size: int


def new_token() -> str:
    """A random token; safe in a header and in a file."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def default_path() -> str:
    """The file in the user's configuration directory, whether it exists or not."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(Path.home(), ".config")
    return os.path.join(base, "nrepl-py", "tokens.json")


def identity(path: str) -> Identity | None:
    """Which state the file is in; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Identity(status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)


def read(path: str) -> tuple[Entry, ...]:
    """The tokens in the file; none where there is no file. Raises `ConfigError` where it cannot be believed."""
    try:
        # A FIFO put in its place must not block us.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the tokens file {path} cannot be read: {error.strerror}") from None
    try:
        _check(path, os.fstat(descriptor))
        data = os.read(descriptor, MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"the tokens file {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return _entries(path, data)


@contextmanager
def editing(path: str) -> Iterator[list[Entry]]:
    """The tokens in the file, to be changed in place; written back at the end, all or nothing. Who else
    wants to waits meanwhile. Raises `ConfigError` where the file cannot be believed or written."""
    path = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with _locked(path):
            entries = list(read(path))
            yield entries
            connection_file.write_private(path, {"tokens": [msgspec.to_builtins(entry) for entry in entries]})
    except OSError as error:
        raise ConfigError(f"the tokens file {path} cannot be written: {error.strerror}") from None


def _entries(path: str, data: bytes) -> tuple[Entry, ...]:
    if len(data) > MAX_FILE:
        raise ConfigError(f"the tokens file {path} is larger than {MAX_FILE} bytes")
    try:
        entries = msgspec.json.decode(data, type=_File).tokens
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the tokens file {path} is not valid: {error}") from None
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ConfigError(f"the tokens file {path} is not valid: there are two tokens named {entry.name!r}")
        seen.add(entry.name)
    return entries


def _check(path: str, status: os.stat_result) -> None:
    """Nobody else may read or change the file. Windows has no such bits."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"the tokens file {path} is not a file")
    if os.name == "nt":
        return
    if status.st_uid != os.geteuid():
        raise ConfigError(f"the tokens file {path} belongs to another user (uid {status.st_uid}); it must be yours")
    if status.st_mode & 0o177:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"the tokens file {path} has mode {mode:04o}, and others may use it; chmod 600 it")


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Nobody else edits it: the lock is a file beside it, which stays, since the file itself is replaced."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.name != "nt":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
