"""Who may speak: how a token is shown, and the exact lists of Host and Origin.

Pure functions and one frozen record; nothing here does I/O. A page in a browser can open sockets to
this machine, so `Origin` must be absent or on the list; a name that is made to resolve to this
machine (DNS rebinding) is stopped by `Host`; everything else by the token.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MAX_TOKEN: Final = 4096
"""Characters; what `hello` takes, so that comparing costs the same little everywhere."""

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443
"""The ports a client leaves out of `Host` and `Origin`."""


def bearer(values: Sequence[str]) -> str | None:
    """The token in the `Authorization` headers; None unless there is one, and it is a Bearer one."""
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and token and " " not in token else None


@dataclass(frozen=True, slots=True)
class Guard:
    """The exact values of `Host` and `Origin` one listener takes, and on a Unix socket its users."""

    hosts: frozenset[str]
    origins: frozenset[str]
    uids: frozenset[int] | None = None

    def refusal(self, hosts: Sequence[str], origins: Sequence[str]) -> str | None:
        """Why a request with these `Host` and `Origin` headers is refused, or None."""
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return "This name is not one this server is reached by; add it with --allow-host."
        if origins and (len(origins) != 1 or origins[0] not in self.origins):
            return "This web page may not connect to this server; add its origin with --allow-origin."
        return None


def tcp_guard(
    host: str, port: int, allow_hosts: Iterable[str] = (), allow_origins: Iterable[str] = (), *, tls: bool = False
) -> Guard:
    """The guard of a listener bound to `host` and `port` (the real one, never 0)."""
    scheme, default = ("https", HTTPS_PORT) if tls else ("http", HTTP_PORT)
    names = set() if is_wildcard(host) else {bracketed(host)}
    if is_loopback(host) or is_wildcard(host):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    own = {form for name in names for form in _with_port(name.lower(), port, default)}
    allowed = {form for name in allow_hosts for form in _allowed(name.lower(), port)}
    # The page this server itself serves is of its own origin.
    return Guard(frozenset(own | allowed), frozenset({f"{scheme}://{name}" for name in own} | set(allow_origins)))


def unix_guard(uids: frozenset[int], allow_hosts: Iterable[str] = (), allow_origins: Iterable[str] = ()) -> Guard:
    """The guard of a Unix socket: no browser reaches one, and clients write `Host: localhost`."""
    return Guard(frozenset({"localhost"} | {name.lower() for name in allow_hosts}), frozenset(allow_origins), uids)


def exposure(host: str, insecure: bool, tls: bool = False) -> str | None:
    """Why the server must not listen on `host`, or None."""
    if tls or insecure or is_loopback(host):
        return None
    return (
        f"refusing to listen on {host}: anyone on the network could read the token and run code, since there is no "
        "TLS. Give --certfile and --keyfile, listen on 127.0.0.1 and use an SSH tunnel, or pass --insecure."
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


def _with_port(name: str, port: int, default: int) -> set[str]:
    return {f"{name}:{port}"} | ({name} if port == default else set())


def _allowed(name: str, port: int) -> set[str]:
    # A name without a port is reached at ours, or through a proxy at the default one.
    has_port = name.rpartition(":")[2].isdigit() and not name.endswith("]")
    return {name} if has_port else {name, f"{name}:{port}"}
