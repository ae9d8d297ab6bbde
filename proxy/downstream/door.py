"""One listener of a worker: takes connections, or refuses them fast, or lets them wait in the kernel's backlog.

In come sockets, out go the protocols that serve them. The rule not to break: whatever is admitted stands in `guests`
from its first moment to its last, because the limits are judged by what stands there.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from milliroute.proxy.downstream.detection import is_opaque
from milliroute.proxy.downstream.h1 import Downstream
from milliroute.proxy.errors import Overloaded
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.guard.overload import Counts
from milliroute.proxy.heads.replies import error_reply

if TYPE_CHECKING:
    from milliroute.proxy.transport.tls import ServerTls

BACKLOG = 4096
# Who is refused is told why when it has asked, because closing with unread bytes resets; longer is not waited.
REFUSAL_S = 1.0
# Refusals under way at one time; above, connections are reset without a word.
MAX_REFUSALS = 256
# An empty SETTINGS frame, then GOAWAY(0, NO_ERROR): nothing was processed, so any request may go elsewhere.
_H2_REFUSAL = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\7\0" + bytes(12)
_LABEL = "connection limit"


class Guests(set[ClientConnection]):
    """The connections of one listener; they are in the worker's set of all as well."""

    __slots__ = ("_addresses", "_everyone", "_keys")

    def __init__(self, everyone: set[ClientConnection], *, counts_addresses: bool) -> None:
        super().__init__()
        self._everyone = everyone
        self._addresses = Counts() if counts_addresses else None
        # Kept from the beginning: a connection that is gone no longer knows its peer.
        self._keys: dict[object, bytes] = {}

    def add(self, connection: ClientConnection) -> None:
        super().add(connection)
        self._everyone.add(connection)
        if self._addresses is not None and connection not in self._keys:
            key = self._keys[connection] = address_key(connection.client_ip)
            self._addresses.add(key)

    def discard(self, connection: object) -> None:
        super().discard(connection)
        self._everyone.discard(connection)
        key = self._keys.pop(connection, None)
        if self._addresses is not None and key is not None:
            self._addresses.remove(key)

    def of_address(self, address: str) -> int:
        return self._addresses[address_key(address)] if self._addresses is not None else 0


class Door:
    """everyone: the connections of all doors. on_accept: called between this accept and the next; uvloop accepts one in
    each turn of its loop (measured)."""

    def __init__(
        self,
        context: Context,
        apex: bytes,
        sock: socket.socket,
        everyone: set[ClientConnection],
        tls: "ServerTls | None" = None,
        on_accept: Callable[[], None] | None = None,
    ) -> None:
        self._context = context
        self._apex = apex
        self._sock = sock
        self._on_accept = on_accept
        self._limits = context.limits
        self.guests = Guests(everyone, counts_addresses=bool(self._limits.connections_per_address))
        self.tls = tls
        self.refusals: set[Refusal] = set()
        self._server: asyncio.Server | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Also after `pause`."""
        if self._is_closed or self._server is not None:
            return
        # A duplicate: closing the server then keeps what waits in the backlog.
        self._server = await self._context.loop.create_server(self.make, sock=self._sock.dup(), backlog=BACKLOG)
        if self._is_closed:
            self._server.close()

    def pause(self) -> None:
        """Connections wait in the backlog, and where that is full the kernel lets them try again."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """For good: what waits is accepted first, because closing the socket under it would reset it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._accept_backlog()
        self.pause()
        self._sock.close()

    def make(self) -> asyncio.Protocol:
        """The protocol of a connection that was just accepted."""
        limits = self._limits
        if limits.connections and len(self.guests) >= limits.connections:
            return Refusal(self, f"over {limits.connections} connections")
        if self._on_accept is not None:
            self._context.loop.call_soon(self._on_accept)
        return Doorman(self) if limits.connections_per_address else self.admit()

    def admit(self) -> asyncio.Protocol:
        if self.tls is None:
            return Downstream(self._context, self._apex, self.guests)
        # Here, because a worker without TLS need not carry it.
        from milliroute.proxy.downstream.tls import TlsDoor

        return TlsDoor(self._context, self._apex, self.guests, self.tls)

    def receive(self, address: str) -> asyncio.Protocol:
        """As `make`, for the address it comes from."""
        most = self._limits.connections_per_address
        if self.guests.of_address(address) >= most:
            return Refusal(self, f"over {most} connections from one address")
        return self.admit()

    def count_refused(self) -> None:
        context = self._context
        context.errors.add(_LABEL)
        context.tcp.opened += 1
        context.tcp.closed += 1

    def call_later(self, transport: asyncio.Transport) -> None:
        self._context.loop.call_later(REFUSAL_S, transport.abort)

    def answer(self, data: bytes, text: str) -> bytes:
        """To the first bytes of one that is refused; b"" where no answer would be understood."""
        if data.startswith(b"PRI * "):
            return _H2_REFUSAL
        if self._apex and is_opaque(data):
            return b""
        return error_reply(Overloaded(text), None, closes=True)

    def _accept_backlog(self) -> None:
        while True:
            try:
                accepted, _ = self._sock.accept()
            except OSError:
                return
            accepted.setblocking(False)
            accept = self._context.loop.connect_accepted_socket(self.make, accepted)
            self._context.dialer.spawn(_attend(accept))


class Doorman(asyncio.Protocol):
    """Looks where a connection comes from, and leaves it to whom that means."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        successor = self._door.receive(str(peer[0]) if peer else "unknown")
        transport.set_protocol(successor)
        successor.connection_made(transport)


class Refusal(asyncio.Protocol):
    """A connection above a limit: told so as soon as it asks, and closed."""

    __slots__ = ("_door", "_text", "_transport")
    _transport: asyncio.Transport

    def __init__(self, door: Door, text: str) -> None:
        self._door = door
        self._text = text

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._transport = cast("asyncio.Transport", transport)
        door = self._door
        door.count_refused()
        if door.tls is not None or len(door.refusals) >= MAX_REFUSALS:
            self._transport.abort()  # without a handshake nothing can be said
            return
        door.refusals.add(self)
        door.call_later(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._door.answer(data, self._text))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.refusals.discard(self)


def address_key(address: str) -> bytes:
    """Of an IPv6 client its /64: whoever has one has all of it."""
    try:
        return socket.inet_pton(socket.AF_INET6, address)[:8] if ":" in address else address.encode()
    except OSError:  # with a zone: link-local
        return address.encode()


async def _attend(accept: Awaitable[object]) -> None:
    await accept
