"""Client connections of a listener with TLS: the handshake first, then HTTP/2 or HTTP/1.1 as ALPN has it.

A handshake is a task of the dialer's, so a worker that drains waits for it. One that fails is counted and no more:
whoever looks for open ports makes many of them.
"""

import asyncio
from collections.abc import Coroutine
from typing import cast

from milliroute.proxy.downstream.h1 import Downstream
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.transport.tls import H2, HTTP1, ServerTls
from milliroute.proxy.transport.tls_link import TlsLink, begin_server

# Of the error counter.
LABEL = "tls"


class TlsDoor(asyncio.Protocol):
    """What a TLS listener makes for each connection; it leaves when the protocol is known."""

    __slots__ = ("_apex", "_connections", "_context", "_raw", "_tls")
    _raw: asyncio.Transport

    def __init__(self, context: Context, apex: bytes, connections: "set[ClientConnection]", tls: ServerTls) -> None:
        self._context = context
        self._apex = apex
        self._connections = connections
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        dialer = self._context.dialer
        timeouts = dialer.timeouts
        raw = self._raw = cast("asyncio.Transport", transport)  # uvloop's are one by behaviour only
        self._connections.add(self)
        shaking = begin_server(dialer.loop, raw, self._tls.context, timeouts.header_s, timeouts.idle_s)
        dialer.spawn(self._shake(shaking))

    # context.ClientConnection, while the handshake lasts

    @property
    def client_ip(self) -> str:
        peer = self._raw.get_extra_info("peername")
        return str(peer[0]) if peer else "unknown"

    def queued_bytes(self) -> int:
        return 0

    def check_time(self, now: float) -> None:
        """The handshake has a time limit of its own."""

    def look_ahead(self, now: float) -> None:
        """Without requests there is nothing."""

    def drain(self, now: float) -> None:
        """It is waited for."""

    def yield_place(self, now: float) -> None:
        """It has a time limit of its own."""

    def abort(self) -> None:
        self._raw.abort()

    async def _shake(self, shaking: Coroutine[None, None, TlsLink]) -> None:
        try:
            link = await shaking
        except OSError:
            self._context.errors.add(LABEL)
            # No Downstream has counted it.
            self._context.tcp.opened += 1
            self._context.tcp.closed += 1
            return
        finally:
            self._connections.discard(self)
        if self._tls.files.client_ca and not self._knows(link):
            link.abort()
            self._context.errors.add(LABEL)
            self._context.tcp.opened += 1
            self._context.tcp.closed += 1
            return
        alpn = link.alpn
        if alpn == H2:
            self._begin_h2(link)
            return
        connection = link.hand_to(Downstream(self._context, self._apex, self._connections))
        if alpn == HTTP1:
            connection.expect_http1()

    def _knows(self, link: TlsLink) -> bool:
        """Whose certificate is good has a name, or shows none where none is asked for."""
        # Here, because a worker that asks for no certificates need not carry it.
        from milliroute.proxy.guard.identity import IdentityError, identities

        der, files = link.certificate, self._tls.files
        if der is None:
            return files.may_be_nobody
        try:
            link.identities = identities(der, files.trust_domain)
        except IdentityError:
            return False
        return True

    def _begin_h2(self, link: TlsLink) -> None:
        """RFC 9113 section 3.2: at once, and nothing else."""
        # Here, because a worker that never sees HTTP/2 need not carry it.
        from milliroute.proxy.downstream.h2 import H2Downstream

        self._context.tcp.opened += 1
        self._context.tcp.open_now += 1
        connection = H2Downstream(self._context, self._apex, self._connections)
        connection.adopt(link)
        connection.mark()  # our SETTINGS need not wait for the client's
