"""The control service, wired by hand: sources -> snapshot -> hub -> destination service, and the admin pages.

In: a ControlConfig; what is for a cluster is imported only when there is one. Out: two listeners and log lines, one per
change of state. What is broken in a file stays in that file: its last good version is in force and the service goes on.
Only what makes a start impossible raises (a path that does not exist, a listener whose port is taken).
"""

import asyncio
import contextlib
import json
import logging
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from grpc import aio
from prometheus_client import CONTENT_TYPE_LATEST

from milliroute.control import changes, encoding, errors, security, service, snapshot
from milliroute.control.admin import AdminServer, Page
from milliroute.control.config import UNIX, VERSION, Address, ControlConfig, check_security, parse_address
from milliroute.control.fleet import Fleet
from milliroute.control.hub import Hub
from milliroute.control.model import Objects
from milliroute.control.source.beside import BesideSource
from milliroute.control.source.files import FileSource
from milliroute.control.status import Metrics, Status

if TYPE_CHECKING:
    from milliroute.control.source.kubernetes.wiring import Cluster

log = logging.getLogger(__name__)

# Seconds. A watch that failed (inotify's limit, a file system that went away) is tried again this often.
REWATCH_S = 1.0

# Seconds for grpc to end the streams; proxies come back to the next service by themselves.
STOP_GRACE_S = 0.1


class Source(Protocol):
    """What the server needs of a source.files.FileSource, or of a source.beside.BesideSource."""

    def read(self) -> Objects: ...

    def watch(self) -> AsyncIterator[Objects]: ...


class ControlServer:
    """One control service. start() and stop() once each; follow() runs between them."""

    def __init__(self, config: ControlConfig, source: Source | None = None) -> None:
        self._config = config
        self._cluster = _cluster(config)
        self._source: Source = source or _source(config, self._cluster)
        self._grpc: aio.Server | None = None
        self._admin: AdminServer | None = None
        check_security(config.security, config.listen)
        self._gate = security.TokenGate(config.security.token_file) if config.security.token_file else None
        self._credentials = security.Credentials(config.security) if config.security.cert else None
        self._first = replace(self._source.read(), defaults=config.access)
        state = snapshot.build(self._first, None, _now_unix_ms())
        hub = Hub(secrets.token_hex(8), state, encoding.state, time.time_ns)
        self._status = Status(state, (), hub, Fleet())

    async def start(self, announce: Callable[[str, str], None]) -> None:
        """Listen; `announce(name, address)` hears of each listener. Raises ControlError when one is impossible."""
        admin_address = parse_address(self._config.admin, "--admin")
        opens = self._gate.opens if self._gate is not None else None
        destination = service.DestinationService(self._status.hub, self._status.fleet, time.time_ns, opens)
        self._grpc = aio.server(handlers=[destination.handler()], options=service.SERVER_OPTIONS)
        listen = _bind(self._grpc, self._config.listen, self._credentials)
        self._admin = AdminServer(self._pages())
        admin = await self._admin.start(admin_address)
        if self._cluster is not None:
            announce("control-admin", str(admin))  # it answers while everything is listed
            await self._cluster.begin()
            self._publish(replace(self._source.read(), defaults=self._config.access))
        await self._grpc.start()
        announce("grpc", listen)
        if self._cluster is None:
            announce("control-admin", str(admin))
        # Not before: a start that failed says why, in one line, and nothing else.
        self._report(self._first, None, self._status.snapshot)

    async def follow(self) -> None:
        """Apply every change of the sources; runs until it is cancelled."""
        if not self._config.files and self._cluster is None:
            await asyncio.Event().wait()
        while True:
            try:
                async for objects in self._source.watch():
                    self._apply(objects)
            except Exception:  # whatever a file system throws must not stop the tables that are in force
                log.exception("watching the sources failed, trying again")
            await asyncio.sleep(REWATCH_S)

    async def stop(self) -> None:
        if self._cluster is not None:
            await self._cluster.close()
        if self._admin is not None:
            await self._admin.close()
        if self._grpc is not None:
            await self._grpc.stop(STOP_GRACE_S)
            # grpc's own tasks end a moment after stop() returns; cutting them off prints tracebacks.
            await asyncio.sleep(STOP_GRACE_S)

    def _apply(self, objects: Objects) -> None:
        objects = replace(objects, defaults=self._config.access)
        old = self._status.snapshot
        new = self._publish(objects)
        self._report(objects, old, new)

    def _publish(self, objects: Objects) -> snapshot.Snapshot:
        old = self._status.snapshot
        new = snapshot.build(objects, old, _now_unix_ms())
        if new is not old:
            # First of all: everything else can wait, the proxies cannot.
            self._status.hub.publish(new)
            self._status.snapshot = new
        self._first = objects
        if self._cluster is not None:
            self._cluster.published(new)
        return new

    def _report(self, objects: Objects, old: snapshot.Snapshot | None, new: snapshot.Snapshot) -> None:
        for is_broken, line in changes.source_lines(self._status.sources, objects.sources):
            log.log(logging.ERROR if is_broken else logging.INFO, "%s", line)
        self._status.sources = objects.sources
        if new is old:
            return
        for line in changes.split_lines((*old.splits, *old.rules) if old else (), (*new.splits, *new.rules)):
            log.info("%s", line)
        for line in changes.warning_lines(old, new):
            log.warning("%s", line)

    def _pages(self) -> dict[str, Callable[[], Page]]:
        metrics = Metrics(self._status)
        return {
            "/metrics": lambda: Page(metrics.render(), CONTENT_TYPE_LATEST),
            "/splits": lambda: _json(self._status.splits()),
            "/version": lambda: _json({"name": "milliroute", "version": VERSION}),
            "/ready": self._ready,
            "/live": lambda: Page(b"live\n"),
        }

    def _ready(self) -> Page:
        """A replica that does not know everything yet should be asked by no proxy that can ask another."""
        if self._cluster is None or self._cluster.is_known:
            return Page(b"ready\n")
        return Page(b"not ready: not everything has been listed yet\n", status=HTTPStatus.SERVICE_UNAVAILABLE)


def _cluster(config: ControlConfig) -> "Cluster | None":
    """Raises ConfigError."""
    if config.cluster is None:
        return None
    try:
        from milliroute.control.source.kubernetes import wiring
    except ImportError as error:
        raise errors.missing_extra("--kubernetes", error) from error
    return wiring.Cluster(config.cluster)


def _source(config: ControlConfig, cluster: "Cluster | None") -> Source:
    files = FileSource(config.files, config.backends)
    if cluster is None:
        return files
    return BesideSource(files, cluster.source) if config.files or config.backends else cluster.source


def serve(config: ControlConfig) -> None:
    """Run a control service until SIGTERM or SIGINT. Raises ControlError when it cannot start."""
    asyncio.run(_serve(config))


def announce(name: str, address: str) -> None:
    print(f"milliroute: listening {name} {address}", file=sys.stderr, flush=True)


async def _serve(config: ControlConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = ControlServer(config)
    following: asyncio.Task[None] | None = None
    try:
        if not await _is_started(server, stop):
            return
        following = asyncio.create_task(server.follow())
        await stop.wait()
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        await server.stop()


async def _is_started(server: ControlServer, stop: asyncio.Event) -> bool:
    """False when it was stopped before: the first lists of a cluster may take their time. Raises ControlError."""
    starting, stopping = asyncio.ensure_future(server.start(announce)), asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (starting, stopping):
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    if starting.cancelled():
        return False
    starting.result()
    return True


def _now_unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _json(value: dict[str, object] | dict[str, str]) -> Page:
    return Page(json.dumps(value, indent=1).encode() + b"\n", "application/json")


def _bind(server: aio.Server, listen: str, credentials: security.Credentials | None) -> str:
    """Returns the address as a client should write it. Raises ConfigError, ControlError."""
    if listen.startswith(UNIX):
        _add_port(server, listen, credentials)
        return listen
    address = parse_address(listen, "--listen")
    _probe(address)
    return str(Address(address.host, _add_port(server, str(address), credentials)))


def _probe(address: Address) -> None:
    """Bind and let go, for a reason in words: grpc says only that it failed, and logs more lines of its own."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise errors.ControlError(f"cannot listen on {address} (grpc): {reason}") from error


def _add_port(server: aio.Server, listen: str, credentials: security.Credentials | None) -> int:
    try:
        if credentials is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, credentials.server())
    except RuntimeError as error:
        raise errors.ControlError(f"cannot listen on {listen} (grpc): address in use or not allowed") from error
    if port == 0:  # what grpcio before 1.60 does instead of raising
        raise errors.ControlError(f"cannot listen on {listen} (grpc): address in use or not allowed")
    return port
