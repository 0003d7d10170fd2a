"""Who is at the other end of a socket, as far as the kernel tells.

A Unix socket's peer is a user, known for certain; a TCP peer is an address.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any, Final

_UCRED: Final = struct.Struct("=iII")
"""Linux's `struct ucred`: pid, uid, gid."""

_XUCRED: Final = struct.Struct("=IIh2x16I")
"""macOS' and BSD's `struct xucred`: version, uid, number of groups, groups."""

_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
"""From macOS' <sys/un.h>; Python has no names for them."""

IPV6_NETWORK_BITS: Final = 64
"""Of an IPv6 address, what names its owner: everybody has 2^64 addresses to choose from."""


def uid(peer: socket.socket) -> int | None:
    """The user at the other end of a Unix socket; None where this system does not tell. Raises OSError."""
    if sys.platform == "linux":
        return int(_UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1])
    if sys.platform == "darwin":
        return int(_XUCRED.unpack(peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))[1])
    return None


def allowed(uids: Iterable[int] = ()) -> frozenset[int]:
    """The users that a Unix socket is open to: ourselves, root, who can be anybody anyway, and those listed."""
    return frozenset({os.geteuid(), 0, *uids}) if hasattr(os, "geteuid") else frozenset(uids)


def is_stranger(peer: Any, uids: frozenset[int]) -> bool:
    """Whether the socket's other end is a user not among these. Where the system tells nothing, the
    socket's mode decides alone."""
    try:
        user = uid(peer)
    except OSError:
        return True
    return user is not None and user not in uids


def name(peer: Any) -> str:
    """What failures of this peer are counted under: its user or its address; never empty."""
    try:
        if peer.family == getattr(socket, "AF_UNIX", None):
            return f"uid {uid(peer)}"
        return network(str(peer.getpeername()[0]))
    except OSError:
        return "unknown"


def network(host: str) -> str:
    """An address, or of an IPv6 one the network it is in."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))
