"""Listening sockets: made once, in the agent, before any worker exists.

One socket per worker and listener, joined by SO_REUSEPORT. The agent keeps them open, so the connections of a killed
worker wait in its backlog until its successor accepts them, and none is refused. Nothing is accepted here.
"""

import os
import socket
import sys
from collections.abc import Sequence

from milliroute.proxy.config import HostPort, Listener
from milliroute.proxy.errors import ListenError

# Linux cuts it to net.core.somaxconn (4096 since 5.4): what a restart of a worker may have to hold.
BACKLOG = 4096
# What the kernel takes of us for a client beyond what it can send. Its own limit is 4 MiB, and some hundred clients who
# do not read would fill all memory that there is for TCP. Accepted connections inherit it from their listener.
MAX_UNSENT_BYTES = 128 * 1024


def open_group(address: HostPort, count: int) -> list[socket.socket]:
    """count listening, non-blocking sockets of one address; port 0 takes one free port for all.

    Raises ListenError when the address cannot be had, also when another process holds it with SO_REUSEPORT.
    """
    sockets: list[socket.socket] = []
    try:
        family, target = _resolve(address)
        # Bound without SO_REUSEPORT, so that a port in use is an error and not a silent share of its traffic.
        sockets.append(_bind(family, target, is_shared=False))
        if count > 1:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            target = (target[0], sockets[0].getsockname()[1], *target[2:])
            sockets.extend(_bind(family, target, is_shared=True) for _ in range(count - 1))
        for sock in sockets:
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {_reason(error)}") from error
    return sockets


def open_groups(listeners: Sequence[Listener], count: int) -> list[tuple[Listener, list[socket.socket]]]:
    """All but the optional ones whose family this machine does not have. Raises ListenError."""
    return [
        (listener, open_group(listener.address, count))
        for listener in listeners
        if not (listener.is_optional and _has_no_family(listener.address))
    ]


def _has_no_family(address: HostPort) -> bool:
    """A kernel without IPv6, or a network namespace where it is switched off."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((address.host, 0))
    except OSError:
        return True
    return False


def bound_address(sock: socket.socket) -> HostPort:
    host, port = sock.getsockname()[:2]
    return HostPort(host, port)


def describe(listener: Listener, address: HostPort) -> str:
    """ "HOST:PORT" or "HOST:PORT=APEX", with the port that was really taken."""
    return f"{address}={listener.apex}" if listener.apex else str(address)


def _resolve(address: HostPort) -> tuple[int, tuple[str | int | bytes, ...]]:
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, target = infos[0]
    return family, target


def _bind(family: int, target: tuple[str | int | bytes, ...], *, is_shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restarted proxy must not wait for the TIME_WAIT of its own old connections.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno:
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()
