"""The admission webhook: HTTPS in, `admission`'s answers out.

Bounded in connections, bytes and time, so that no client keeps the API server from its answer. One connection serves
many requests, as the API server wants it. /live, /ready and /metrics are here as
well as on the admin port.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus

import h11

from milliroute.control import errors
from milliroute.control.admin import AdminServer, Page
from milliroute.control.config import Address
from milliroute.control.inject import admission
from milliroute.control.inject.admission import PATHS, Answer, ReviewError
from milliroute.control.inject.certificate import Certificate
from milliroute.control.inject.plan import Wish

log = logging.getLogger(__name__)

# The API server takes objects up to 3 MiB; a review holds one, and words around it.
MAX_BODY_BYTES = 4 * 1024 * 1024
# Each may hold a body; the API server opens a few.
MAX_CONNECTIONS = 64
MAX_HEAD_BYTES = 16_384
# Seconds: for a handshake and for a request, from its first byte on.
REQUEST_TIMEOUT_S = 10.0
# Seconds; Go's clients keep unused connections for 90.
IDLE_TIMEOUT_S = 120.0
# Seconds between looks at the certificate's files; the kubelet takes a minute to bring new ones.
REFRESH_S = 1.0
# Seconds for requests that run when the end comes.
GRACE_S = 5.0


class Webhook:
    """Serves until it is closed."""

    def __init__(self, wish: Wish, certificate: Certificate) -> None:
        self._wish = wish
        self._certificate = certificate
        self._outcomes: Counter[str] = Counter({"injected": 0, "skipped": 0, "refused": 0, "failed": 0})
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_draining = False
        self._server: asyncio.Server | None = None

    async def start(self, address: Address) -> Address:
        """Listen; returns the address with the port that was taken. Raises ControlError."""
        try:
            self._server = await asyncio.start_server(
                self._serve,
                address.host,
                address.port,
                ssl=self._certificate.context,
                ssl_handshake_timeout=REQUEST_TIMEOUT_S,
                reuse_address=True,
            )
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise errors.ControlError(f"cannot listen on {address}: {reason}") from error
        return Address(address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """No new connections; requests that run are answered, within GRACE_S."""
        self._is_draining = True
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._idle.wait()
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._connections.values() if task), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections[writer] = asyncio.current_task()
        try:
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
            while await self._exchange(connection, reader, writer):
                connection.start_next_cycle()
        except (TimeoutError, OSError, h11.RemoteProtocolError):
            # The peer was slow, left, or spoke something else; nobody is there to be told.
            pass
        finally:
            self._connections.pop(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request; whether there may be another one."""
        if not connection.trailing_data[0]:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                connection.receive_data(await reader.read(65_536))
        self._running += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request, body = await _read(connection, reader, writer)
                if request is None:
                    return False
                writer.write(_sent(connection, self._reply(request, body), self._is_draining))
                await writer.drain()
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _reply(self, request: h11.Request, body: bytes | None) -> Page:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        if body is None:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if path in PATHS:
            return self._reviewed(path, body) if request.method == b"POST" else _error(HTTPStatus.METHOD_NOT_ALLOWED)
        make = self.pages.get(path)
        if make is None:
            return _error(HTTPStatus.NOT_FOUND)
        return make() if request.method in (b"GET", b"HEAD") else _error(HTTPStatus.METHOD_NOT_ALLOWED)

    @property
    def pages(self) -> Mapping[str, Callable[[], Page]]:
        """For an admin port too, because a Prometheus trusts other authorities than the API server does."""
        return {"/live": lambda: Page(b"ok\n"), "/ready": self._ready, "/metrics": self._metrics}

    def _reviewed(self, path: str, body: bytes) -> Page:
        try:
            answer = self._answered(path, body)
        except ReviewError as error:
            self._outcomes["failed"] += 1
            return Page(f"{error}\n".encode(), status=HTTPStatus.BAD_REQUEST)
        return Page(answer.body, "application/json")

    def _answered(self, path: str, body: bytes) -> Answer:
        try:
            answer = admission.answered(body, self._wish, PATHS[path])
            self._outcomes[answer.outcome] += 1
            return answer
        except ReviewError:
            raise
        except Exception:  # a bug of ours; the pod starts all the same
            log.exception("cannot answer a review")
            self._outcomes["failed"] += 1
            return admission.allowed(body)

    def _ready(self) -> Page:
        return _error(HTTPStatus.SERVICE_UNAVAILABLE) if self._is_draining else Page(b"ok\n")

    def _metrics(self) -> Page:
        name = "milliroute_webhook_reviews_total"
        lines = [f"# HELP {name} Reviews by what came of them.", f"# TYPE {name} counter"]
        lines += [f'{name}{{outcome="{outcome}"}} {count}' for outcome, count in self._outcomes.items()]
        return Page("\n".join([*lines, ""]).encode(), "text/plain; version=0.0.4; charset=utf-8")


async def _read(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[h11.Request | None, bytes | None]:
    """The request and its body, None for one that is too large; no request: the peer is done."""
    request, parts, size = None, [], 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > MAX_BODY_BYTES:
                return request, None
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return request, b"".join(parts)
        else:
            return None, None


def _sent(connection: h11.Connection, reply: Page, is_last: bool) -> bytes:
    headers = [("content-type", reply.content_type), ("content-length", str(len(reply.body)))]
    if is_last or connection.their_state is not h11.DONE:
        headers.append(("connection", "close"))
    head = h11.Response(status_code=reply.status.value, reason=reply.status.phrase.encode(), headers=headers)
    parts = (head, h11.Data(data=reply.body), h11.EndOfMessage())
    return b"".join(connection.send(part) or b"" for part in parts)


def _error(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase.lower()}\n".encode(), status=status)


async def _refresh(certificate: Certificate) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        certificate.refresh()


async def run(address: Address, admin: Address, wish: Wish, certificate: Certificate) -> None:
    """Until SIGTERM or SIGINT. Raises ControlError."""
    webhook, ended = Webhook(wish, certificate), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    pages = AdminServer(webhook.pages)
    where = await webhook.start(address), await pages.start(admin, "admin")
    log.info("webhook listens on %s, admin on %s", *where)
    refreshing = asyncio.create_task(_refresh(certificate))
    await ended.wait()
    refreshing.cancel()
    await webhook.close()
    await pages.close()
