"""Where a redirected connection was really going: SO_ORIGINAL_DST of netfilter, for IPv4 and IPv6.

In: an accepted socket. Out: an address and port, None where the kernel has redirected nothing. Asked once for each
connection: 1 us.
"""

import socket
import struct
from typing import NamedTuple, Protocol

# linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h; both are 80. The socket module names neither.
SO_ORIGINAL_DST = 80
# struct sockaddr_in: family, port, address, padding.
_V4 = struct.Struct("!2xH4s8x")
# struct sockaddr_in6: family, port, flow, address, scope.
_V6 = struct.Struct("!2xH4x16s4x")


class Target(NamedTuple):
    """host: an address as text."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Accepted(Protocol):
    """A socket, or what uvloop shows of one."""

    @property
    def family(self) -> int: ...

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...

    def getsockname(self) -> tuple[str, int]: ...


def original_destination(sock: Accepted) -> Target | None:
    """None: nothing was redirected, or this kernel does not track connections."""
    is_v6 = sock.family == socket.AF_INET6
    level, form = (socket.IPPROTO_IPV6, _V6) if is_v6 else (socket.IPPROTO_IP, _V4)
    try:
        raw = sock.getsockopt(level, SO_ORIGINAL_DST, form.size)
        port, address = form.unpack(raw)
    except (OSError, struct.error):
        return None
    return Target(socket.inet_ntop(sock.family, address), port)


def own_address(sock: Accepted) -> Target:
    """At which it was accepted."""
    host, port = sock.getsockname()[:2]
    return Target(host, port)


def is_local(host: str) -> bool:
    """Whether this network namespace has the address."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
