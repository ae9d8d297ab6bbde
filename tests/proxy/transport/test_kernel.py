"""What a backend may send ahead of a slow client is bounded, in the proxy and in the kernel; of a fast one not."""

import array
import fcntl
import socket
import sys
import termios

import pytest

from milliroute.proxy.transport import kernel
from milliroute.proxy.upstream.h1 import Upstream
from tests.proxy.backends import Origin, Visit
from tests.proxy.serving import Proxy, get, on_loop, serving, to, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a receive buffer stays as it was made")

KIB, MIB = 1024, 1024 * 1024
# Of the most that a worker holds for a client that reads nothing, and the kernel of what came from its backend.
MOST = 64 * KIB


async def large(visit: Visit) -> None:
    while await visit.request():
        await visit.answer(b"x" * 4 * MIB)


def upstream_socket(proxy: Proxy) -> socket.socket:
    """Of the one connection to a backend: busy, else idle."""
    for exchange in (connection._exchange for connection in proxy.downstreams()):
        if exchange is not None:
            assert isinstance(exchange._upstream, Upstream)
            return _socket(exchange._upstream)
    return _socket(proxy.pools()[0].idle[0])


def _socket(connection: Upstream) -> socket.socket:
    found: socket.socket = connection._transport.get_extra_info("socket")
    return found


def unread(sock: socket.socket) -> int:
    """Man 7 tcp, SIOCINQ: what has come and nobody has read."""
    size = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, size)
    return size[0]


@on_loop
async def test_slow_reader_costs_a_bounded_sum_in_the_proxy_and_in_its_kernel() -> None:
    async with Origin(large) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await until(lambda: bool(proxy.downstreams()))
        (connection,) = proxy.downstreams()
        accepted = connection._transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)  # as the agent's listeners have their own bound
        await client.send(get())
        await until(lambda: connection._is_write_paused)
        held = upstream_socket(proxy)
        await until(lambda: unread(held) > 0)
        assert 0 < connection.queued_bytes() <= MOST
        assert unread(held) <= MOST
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= MOST
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.reply()).body) == 4 * MIB


@on_loop
async def test_buffer_grows_freely_once_a_client_has_taken_much() -> None:
    async with Origin(large) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        assert len((await client.get()).body) == 4 * MIB
        sock = upstream_socket(proxy)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 2 * kernel.RESTRAINED_BYTES
        assert sock.getsockopt(socket.SOL_SOCKET, kernel.SO_BUF_LOCK) == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) >= kernel.GROWN_BYTES


@on_loop
async def test_small_answers_never_make_it_grow() -> None:
    async def small(visit: Visit) -> None:
        while await visit.request():
            await visit.answer(b"x" * KIB)

    async with Origin(small) as origin, serving("fast", to(origin)) as proxy:
        client = await proxy.client()
        for _ in range(20):
            assert (await client.get()).status == 200
        sock = upstream_socket(proxy)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * kernel.RESTRAINED_BYTES
        assert sock.getsockopt(socket.SOL_SOCKET, kernel.SO_BUF_LOCK) != 0
