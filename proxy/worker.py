"""A worker process: owns its listening sockets, routes, and knows its agent only as a pipe of messages.

Everything is built here by hand. The rule not to break: nothing imported from here may import grpc, protobuf or
prometheus-client (tests/test_layers.py), which would cost memory and fight this process for the interpreter.
"""

import asyncio
import gc
import logging
import os
import random
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import uvloop

from milliroute.proxy import ipc
from milliroute.proxy.alarms import Alarms
from milliroute.proxy.config import Forwarding, ProxyConfig, TlsFiles
from milliroute.proxy.downstream.door import Door
from milliroute.proxy.downstream.rounds import Rounds
from milliroute.proxy.errors import Overloaded, TlsFileError
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.guard.overload import RESUME_RATIO, connection_ceiling, largest
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.routing.leaf import Endpoint
from milliroute.proxy.routing.router import Router
from milliroute.proxy.routing.table import Terms
from milliroute.proxy.upstream.dialer import Dialer

if TYPE_CHECKING:
    from milliroute.proxy.guard.access import Access
    from milliroute.proxy.heads.forwarding import Forwarder
    from milliroute.proxy.resilience.checker import Checker
    from milliroute.proxy.transport.tls import ServerTls

log = logging.getLogger(__name__)

# How often idle connections, late heads and late backends are looked for; a time limit is overrun by at most this.
SWEEP_S = 0.25
# About denied requests, in one report: whoever tries all names there are must not fill the disk.
MAX_DENIAL_LINES = 20
# Counters go up the pipe this often.
STATS_S = 1.0
# Allocations between looks for cyclic garbage. Requests, replaced tables and ended connections leave none (measured;
# tests/proxy/test_garbage.py), some kinds of failures may. At 700 the looks cost 3 % of CPU.
GC_THRESHOLD = 5_000


class Worker(asyncio.Protocol):
    """Implements the worker's end of the pipe. listen: one socket per configured listener, in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: ProxyConfig,
        listen: Sequence[socket.socket],
        *,
        sweep_s: float = SWEEP_S,
        nofile: Callable[[], int] | None = None,
    ) -> None:
        """nofile: how many descriptors this process may have now, which may change; 0: any number."""
        self._loop = loop
        self._config = config
        self._sweep_s = sweep_s
        terms = Terms(config.workers, config.takes_faults)
        self._router = Router(random.Random(), time.monotonic, time.time, terms)
        dialer = Dialer(loop, config.codec, config.timeouts, TcpSeries("dst"), config.h2)
        dialer.upstream_tls = config.upstream_tls
        forwarder = _forwarder(config.forwarding)
        context = self._context = Context(loop, self._router, dialer, self._ask, config.limits, forwarder)
        connections = self._connections = set[ClientConnection]()
        self._rounds = Rounds(loop, connections, self._set_pace)
        self._contexts = [context]
        self._tls = _server_tls(config.tls) if config.tls is not None else None
        self._nofile = nofile
        self._is_full = False  # of connections, by descriptors
        self._left_out: list[ipc.LeftOut] = []  # as last reported
        self._checker: Checker | None = None  # until a table asks for health checks
        self._doors: list[Door] = []
        on_accept = self._note_full if nofile else None
        if config.sidecar is not None:
            # Here, because a worker that is no sidecar need not carry it.
            from milliroute.proxy.sidecar import gate

            self._contexts = gate.contexts(context, config)
            self._doors += gate.doors(self._contexts, config, listen, connections, on_accept)
        else:
            for listener, sock in zip(config.listeners, listen, strict=True):
                self._doors.append(Door(context, listener.apex.encode(), sock, connections, self._tls, on_accept))
        self._frames = ipc.FrameBuffer()
        self._pipe: asyncio.Transport | None = None
        self._drain_deadline_s = 0.0
        self._pool_sweep_s = 0.0
        self._stats_s = 0.0
        self.done: asyncio.Future[None] = loop.create_future()

    async def listen(self) -> None:
        for door in self._doors:
            await door.open()
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
                        self._unpark(authority.encode())
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
            if self._checker is None and any(one.state.health is not None for one in self._router.backends()):
                self._checker = _checker(self._context)
        except Exception as exc:  # whatever a state holds, the old table must go on serving
            error = f"{exc.__class__.__name__}: {exc}"
        self._send(ipc.Applied(update.key, update.epoch, update.version, time.time_ns(), error))
        for authority in self._router.authorities_of(update.key):
            self._unpark(authority)

    def _unpark(self, authority: bytes) -> None:
        for context in self._contexts:
            context.unpark(authority)

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
        now = time.monotonic()
        for one in self._contexts:
            one.now = now
        is_second = now - self._stats_s >= STATS_S
        self._rounds.begin(now, weighs=is_second)
        for one in self._contexts:
            one.sweep_parked()
        self._note_full()  # the limit of descriptors may have fallen
        if self._is_full:
            self._make_room(now)
        context.ejections.sweep(now)
        if self._checker is not None:
            self._checker.sweep(self._router.backends(), now)
        if now - self._pool_sweep_s > self._config.timeouts.pool_idle_s / 2:
            self._pool_sweep_s = now
            for one in self._contexts:
                one.dialer.sweep()
        if is_second:
            self._stats_s = now
            self._report()
            self._shed()
            self._refresh_tls()
        # A connection out of the backlog is a task of the dialer's until it is made.
        is_all_done = not (self._connections or any(one.dialer.tasks for one in self._contexts))
        if context.is_draining and (is_all_done or now > self._drain_deadline_s):
            self._finish()

    def _set_pace(self, is_slow: bool) -> None:
        for context in self._contexts:
            context.set_pace(is_slow=is_slow)
        if is_slow:  # those that waited for a round do so no longer
            now = time.monotonic()
            for connection in list(self._connections):
                connection.look_ahead(now)

    def _report(self) -> None:
        leaves = [delta for series in self._router.series() if (delta := series.take())]
        sides = [side for context in self._contexts for side in (context.tcp, context.dialer.tcp)]
        tcp = [level for side in sides if (level := side.take())]
        errors = [delta for context in self._contexts for delta in context.errors.take()]
        access = self._decided(self._router.accesses())
        limits = [delta for limiter in self._router.limiters() for delta in limiter.take()]
        left_out = self._router.left_out()
        news = left_out if left_out != self._left_out else None
        self._left_out = left_out
        if leaves or tcp or errors or access or limits or news is not None:
            self._send(ipc.Stats(leaves, tcp, errors, access, limits, news))

    def _decided(self, accesses: "list[Access]") -> list[ipc.AccessDelta]:
        """What the guards of all tables decided; whom they denied is logged here, and not in the request's way."""
        deltas, now, room = [], time.monotonic(), MAX_DENIAL_LINES
        for access in accesses:
            deltas += access.tally.take()
            lines = access.tally.lines(now) if room > 0 else []  # those of the others wait for the next report
            room -= len(lines)
            for line in lines:
                log.warning("%s", line)
        return deltas

    # Limits

    def _ceiling(self) -> int:
        """Of clients' connections, by the descriptors there may be; 0: none."""
        nofile = self._nofile() if self._nofile is not None else 0
        return connection_ceiling(nofile) if nofile else 0

    def _note_full(self) -> None:
        """At the ceiling new connections wait in the backlog, and those without a request are asked to go. Were one
        accepted without a descriptor, libuv would close it, and all others in the backlog with it."""
        count, ceiling = len(self._connections), self._ceiling()
        if not self._is_full and 0 < ceiling <= count:
            self._is_full = True
            log.warning("%d connections, as many as the limit of descriptors allows: new ones wait", count)
            for door in self._doors:
                door.pause()

    def _make_room(self, now: float) -> None:
        for connection in list(self._connections):
            connection.yield_place(now)
        ceiling = self._ceiling()
        if not ceiling or len(self._connections) < ceiling * RESUME_RATIO:
            self._is_full = False
            for door in self._doors:
                self._context.dialer.spawn(door.open())

    def _shed(self) -> None:
        """Memory of what peers do not take is bounded for each connection, and here for all together."""
        limit_bytes = self._context.limits.queued_bytes
        if not limit_bytes or self._rounds.queued_bytes <= limit_bytes:
            return
        for connection in largest(((one.queued_bytes(), one) for one in self._connections), limit_bytes):
            self._context.errors.add(Overloaded.label)
            connection.abort()

    def _refresh_tls(self) -> None:
        if self._tls is None:
            return
        try:
            if self._tls.refresh():
                log.info("the certificate of the listeners is read anew")
        except TlsFileError as error:
            log.error("%s; the old certificate stays", error)

    # The end

    def drain(self, grace_s: float) -> None:
        """Accepts what waits in the backlog, then nothing new; the sweep ends the worker when all is answered."""
        if self._context.is_draining:
            return
        now = time.monotonic()
        self._drain_deadline_s = now + grace_s
        for context in self._contexts:
            context.is_draining = True
        for door in self._doors:
            door.close()
        for connection in list(self._connections):
            connection.drain(now)

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


def _forwarder(forwarding: Forwarding) -> "Forwarder | None":
    if not (forwarding.is_on or forwarding.via):
        return None
    # Here, because few proxies need it.
    from milliroute.proxy.heads.forwarding import Forwarder

    return Forwarder(forwarding)


def _checker(context: Context) -> "Checker":
    # Here, because a worker whose tables ask for no health checks need not carry it.
    from milliroute.proxy.resilience.checker import Checker

    return Checker(context)


def _server_tls(files: TlsFiles) -> "ServerTls":
    """Raises TlsFileError: the agent has looked, but a file may have changed since."""
    # Here, because a worker without TLS need not carry it.
    from milliroute.proxy.transport.tls import ServerTls

    return ServerTls(files)


def _raise_nofile() -> None:
    """The hard limit is what the administrator set; the soft one is low for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _nofile() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


async def _serve(pipe: socket.socket, listen: Sequence[socket.socket], config: ProxyConfig) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(Alarms())
    _raise_nofile()
    worker = Worker(loop, config, listen, nofile=_nofile)
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
