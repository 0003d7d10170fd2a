"""Who may speak: the token, and the exact lists of Host and Origin.

Pure functions and one frozen record; nothing here does I/O. A page in a browser can open sockets to
this machine, so `Origin` must be absent or on the list; a name that is made to resolve to this
machine (DNS rebinding) is stopped by `Host`; everything else by the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

TOKEN_BYTES: Final = 32
"""Bytes of randomness in a token; 256 bits cannot be guessed at any rate."""

MAX_TOKEN: Final = 4096
"""Characters; what `hello` takes, so that comparing costs the same little everywhere."""

HTTP_PORT: Final = 80
"""The port a client leaves out of `Host` and `Origin`."""


def new_token() -> str:
    """A token for one run of the server; safe in a header and in a file."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def same_token(given: str, expected: str) -> bool:
    """Whether the tokens are the same, in time that does not depend on where they differ."""
    return len(given) <= MAX_TOKEN and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )


def bearer(values: Sequence[str]) -> str | None:
    """The token in the `Authorization` headers; None unless there is one, and it is a Bearer one."""
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and token and " " not in token else None


@dataclass(frozen=True, slots=True)
class Guard:
    """The exact values of `Host` and `Origin` one listener takes."""

    hosts: frozenset[str]
    origins: frozenset[str]

    def refusal(self, hosts: Sequence[str], origins: Sequence[str]) -> str | None:
        """Why a request with these `Host` and `Origin` headers is refused, or None."""
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return "This name is not one this server is reached by; add it with --allow-host."
        if origins and (len(origins) != 1 or origins[0] not in self.origins):
            return "This web page may not connect to this server; add its origin with --allow-origin."
        return None


def tcp_guard(host: str, port: int, allow_hosts: Iterable[str] = (), allow_origins: Iterable[str] = ()) -> Guard:
    """The guard of a listener bound to `host` and `port` (the real one, never 0)."""
    names = set() if is_wildcard(host) else {bracketed(host)}
    if is_loopback(host) or is_wildcard(host):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    own = {form for name in names for form in _with_port(name.lower(), port)}
    allowed = {form for name in allow_hosts for form in _allowed(name.lower(), port)}
    # The page this server itself serves is of its own origin.
    return Guard(frozenset(own | allowed), frozenset({f"http://{name}" for name in own} | set(allow_origins)))


def unix_guard(allow_hosts: Iterable[str] = (), allow_origins: Iterable[str] = ()) -> Guard:
    """The guard of a Unix socket: no browser reaches one, and clients write `Host: localhost`."""
    return Guard(frozenset({"localhost"} | {name.lower() for name in allow_hosts}), frozenset(allow_origins))


def exposure(host: str, insecure: bool) -> str | None:
    """Why the server must not listen on `host` without TLS, or None."""
    if insecure or is_loopback(host):
        return None
    return (
        f"refusing to listen on {host}: anyone on the network could read the token and run code, since this server "
        "has no TLS. Listen on 127.0.0.1 and use an SSH tunnel or a TLS proxy, or pass --insecure."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name is looked up nowhere: only `localhost` is one."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_wildcard(host: str) -> bool:
    """Whether `host` means every address of the machine."""
    address = _address(host)
    return address is not None and address.is_unspecified


def bracketed(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _with_port(name: str, port: int) -> set[str]:
    return {f"{name}:{port}"} | ({name} if port == HTTP_PORT else set())


def _allowed(name: str, port: int) -> set[str]:
    # A name without a port is reached at ours, or through a proxy at the default one.
    has_port = name.rpartition(":")[2].isdigit() and not name.endswith("]")
    return {name} if has_port else {name, f"{name}:{port}"}
