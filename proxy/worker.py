"""A worker process: owns its listening sockets, routes, and knows its agent only as a pipe of messages.

Everything is built here by hand. The rule not to break: nothing imported from here may import grpc, protobuf or
prometheus-client (tests/test_layers.py), which would cost memory and fight this process for the interpreter.
"""

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import uvloop

from milliroute.proxy import ipc
from milliroute.proxy.config import Listener, ProxyConfig, TlsFiles
from milliroute.proxy.context import ClientConnection, Context
from milliroute.proxy.dialer import Dialer
from milliroute.proxy.downstream import Downstream
from milliroute.proxy.errors import TlsFileError
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.router import Router
from milliroute.proxy.table import Endpoint

if TYPE_CHECKING:
    from milliroute.proxy.tls import ServerTls

log = logging.getLogger(__name__)

# How often idle connections, late heads and late backends are looked for; a time limit is overrun by at most this.
SWEEP_S = 0.25
# Counters go up the pipe this often.
STATS_S = 1.0
BACKLOG = 4096
# Allocations between looks for cyclic garbage; connections leave few cycles, and at 700 the looks cost 3 % of CPU.
GC_THRESHOLD = 50_000


class Worker(asyncio.Protocol):
    """Implements the worker's end of the pipe. listen: one socket per configured listener, in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: ProxyConfig,
        listen: Sequence[socket.socket],
        *,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._loop = loop
        self._config = config
        self._sweep_s = sweep_s
        self._listen = list(listen)
        self._router = Router(random.Random(), time.monotonic, time.time)
        dialer = Dialer(loop, config.codec, config.timeouts, TcpSeries("dst"), config.h2)
        self._context = Context(loop, self._router, dialer, self._ask)
        self._connections: set[ClientConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._tls = _server_tls(config.tls) if config.tls is not None else None
        self._frames = ipc.FrameBuffer()
        self._pipe: asyncio.Transport | None = None
        self._drain_deadline_s = 0.0
        self._pool_sweep_s = 0.0
        self._stats_s = 0.0
        self.done: asyncio.Future[None] = loop.create_future()

    async def listen(self) -> None:
        for listener, sock in zip(self._config.listeners, self._listen, strict=True):
            if self._context.is_draining:
                break  # told to end before it began
            make = self._door(listener)
            server = await self._loop.create_server(make, sock=sock, backlog=BACKLOG)
            self._servers.append(server)
        self._send(ipc.Ready(pid=os.getpid()))
        self._sweep()

    # The pipe

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._pipe = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            match ipc.decode_down(frame):
                case ipc.Alias(authority, key):
                    self._close_pools(self._router.alias(authority, key))
                    if self._router.has_state(key):
                        self._context.unpark(authority.encode())
                case ipc.Update() as update:
                    self._apply(update)
                case ipc.Forget(authority):
                    self._close_pools(self._router.forget(authority))
                case ipc.Drain(grace_s):
                    self.drain(grace_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The agent is gone: serve what runs by the last table, take nothing new, and end."""
        self._pipe = None
        self.drain(self._config.grace_s)

    def _apply(self, update: ipc.Update) -> None:
        # What was counted so far belongs to the old weights.
        self._report()
        error = ""
        try:
            self._close_pools(self._router.update(update.key, update.version, update.state))
        except Exception as exc:  # whatever a state holds, the old table must go on serving
            error = f"{exc.__class__.__name__}: {exc}"
        self._send(ipc.Applied(update.key, update.epoch, update.version, time.time_ns(), error))
        for authority in self._router.authorities_of(update.key):
            self._context.unpark(authority)

    def _ask(self, authority: bytes) -> None:
        self._send(ipc.Watch(authority.decode()))

    def _send(self, message: ipc.Up) -> None:
        if self._pipe is not None:
            self._pipe.write(ipc.encode(message))

    # Time

    def _sweep(self) -> None:
        if self.done.done():
            return
        # First of all: without the sweep no time limit holds and no counter is reported, whatever goes wrong below.
        self._loop.call_later(self._sweep_s, self._sweep)
        context = self._context
        now = context.now = time.monotonic()
        for connection in list(self._connections):
            connection.check_time(now)
        context.sweep_parked()
        context.ejections.sweep(now)
        if now - self._pool_sweep_s > self._config.timeouts.pool_idle_s / 2:
            self._pool_sweep_s = now
            context.dialer.sweep()
        if now - self._stats_s >= STATS_S:
            self._stats_s = now
            self._report()
        # A connection out of the backlog is a task of the dialer's until it is made.
        is_all_done = not self._connections and not context.dialer.tasks
        if context.is_draining and (is_all_done or now > self._drain_deadline_s):
            self._finish()

    def _report(self) -> None:
        context = self._context
        leaves = [delta for series in self._router.series() if (delta := series.take())]
        tcp = [level for side in (context.tcp, context.dialer.tcp) if (level := side.take())]
        errors = context.errors.take()
        if leaves or tcp or errors:
            self._send(ipc.Stats(leaves, tcp, errors))

    # The end

    def drain(self, grace_s: float) -> None:
        """Accepts what waits in the backlog, then nothing new; the sweep ends the worker when all is answered."""
        if self._context.is_draining:
            return
        now = time.monotonic()
        self._drain_deadline_s = now + grace_s
        self._context.is_draining = True
        # Not strict: the signal may come before all of them listen.
        for server, sock, listener in zip(self._servers, self._listen, self._config.listeners, strict=False):
            self._accept_backlog(sock, self._door(listener))
            server.close()
        for connection in list(self._connections):
            connection.drain(now)

    def _door(self, listener: Listener) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each connection of a listener."""
        apex = listener.apex.encode()
        if self._tls is None:
            return partial(Downstream, self._context, apex, self._connections)
        # Here, because a worker without TLS need not carry it.
        from milliroute.proxy.downstream_tls import TlsDoor

        return partial(TlsDoor, self._context, apex, self._connections, self._tls)

    def _accept_backlog(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """A connection the kernel has accepted would be reset by closing the socket under it."""
        while True:
            try:
                accepted, _ = sock.accept()
            except OSError:
                return
            accepted.setblocking(False)
            accept = self._loop.connect_accepted_socket(make, accepted)
            self._context.dialer.spawn(_attend(accept))

    def _finish(self) -> None:
        """What still runs is cut off by a reset, which nobody takes for the end of a response."""
        for connection in list(self._connections):
            connection.abort()
        self._report()
        if self._pipe is not None:
            self._pipe.close()
        if not self.done.done():
            self.done.set_result(None)

    def _close_pools(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            endpoint.close_pools()


def _server_tls(files: TlsFiles) -> "ServerTls":
    """Raises TlsFileError: the agent has looked, but a file may have changed since."""
    # Here, because a worker without TLS need not carry it.
    from milliroute.proxy.tls import ServerTls

    return ServerTls(files)


async def _attend(accept: Awaitable[object]) -> None:
    await accept


async def _serve(pipe: socket.socket, listen: Sequence[socket.socket], config: ProxyConfig) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(loop, config, listen)
    loop.add_signal_handler(signal.SIGTERM, worker.drain, config.grace_s)
    await loop.create_connection(lambda: worker, sock=pipe)
    await worker.listen()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    await worker.done


def main(pipe_fd: int, listen_fds: Sequence[int], config: ProxyConfig) -> None:
    """Runs until drained. The descriptors are inherited: a connected stream socket, and one per listener, in order.

    Ctrl-C reaches the whole process group, but only the agent decides: it sends Drain.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = socket.socket(fileno=pipe_fd)
    listen = [socket.socket(fileno=fd) for fd in listen_fds]
    for sock in (pipe, *listen):
        sock.setblocking(False)
    try:
        uvloop.run(_serve(pipe, listen, config))
    except TlsFileError as error:  # a file has changed since the agent looked; it tries again, ever more seldom
        log.error("%s", error)
        raise SystemExit(1) from error
