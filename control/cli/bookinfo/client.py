"""GET over HTTP/1.1 to one address, with kept-alive connections.

In: a target and headers. Out: a `Reply`, whatever its status, or `Unreachable`. The address is where to connect (a
sidecar proxy), the authority is the service that is wanted (the Host header).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import h11

READ_BYTES = 65536
# Longer than any answer of the application takes, shorter than a visitor's patience.
TIMEOUT_S = 5.0

Headers = Iterable[tuple[str, str]]


class Unreachable(Exception):
    """No usable answer came; the text says from where and why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes


class _Stale(Exception):
    """The peer closed a kept connection before it answered anything: the request can be sent again."""


class Upstream:
    """One address that GET requests go to."""

    def __init__(self, address: str, authority: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._authority = authority or address
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []

    async def get(self, target: str, headers: Headers = ()) -> Reply:
        """Fetch `target`. Raises Unreachable on a refused, broken, late or malformed answer."""
        request = h11.Request(method="GET", target=target, headers=[("host", self._authority), *headers])
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._get(request)
        except TimeoutError:
            raise Unreachable(f"{self.address}: no answer within {self._timeout_s:g} s") from None
        except (OSError, _Stale, h11.RemoteProtocolError) as error:
            raise Unreachable(f"{self.address}: {error}") from error

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    async def _get(self, request: h11.Request) -> Reply:
        while self._idle:
            try:
                return await self._exchange(self._idle.pop(), request)
            except (_Stale, ConnectionError):
                continue
        return await self._exchange(await _Connection.open(self._host, self._port), request)

    async def _exchange(self, connection: "_Connection", request: h11.Request) -> Reply:
        is_reusable = False
        try:
            reply = await connection.exchange(request)
            is_reusable = connection.may_be_reused()
        finally:
            if is_reusable:
                self._idle.append(connection)
            else:
                connection.close()
        return reply


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, host: str, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection(host, port))

    def close(self) -> None:
        self._writer.close()

    def may_be_reused(self) -> bool:
        """True once, after a whole exchange; the connection is then ready for the next one."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    async def exchange(self, request: h11.Request) -> Reply:
        send = self._protocol.send
        self._writer.write((send(request) or b"") + (send(h11.EndOfMessage()) or b""))
        status, body = 0, bytearray()
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                await self._receive(is_first=status == 0)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Reply(status, bytes(body))

    async def _receive(self, *, is_first: bool) -> None:
        data = await self._reader.read(READ_BYTES)
        if not data and is_first:
            raise _Stale("closed before it answered")
        self._protocol.receive_data(data)
