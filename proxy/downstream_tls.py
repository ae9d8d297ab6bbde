"""Client connections of a listener with TLS: the handshake first, then HTTP/2 or HTTP/1.1 as ALPN has it.

A handshake is a task of the dialer's, so a worker that drains waits for it. One that fails is counted and no more:
whoever looks for open ports makes many of them.
"""

import asyncio
from collections.abc import Coroutine
from typing import cast

from milliroute.proxy.context import ClientConnection, Context
from milliroute.proxy.downstream import Downstream
from milliroute.proxy.tls import H2, HTTP1, ServerTls
from milliroute.proxy.tls_link import TlsLink, begin_server

# Of the error counter.
LABEL = "tls"


class TlsDoor(asyncio.Protocol):
    """What a TLS listener makes for each connection; it leaves when the protocol is known."""

    __slots__ = ("_apex", "_connections", "_context", "_tls")

    def __init__(self, context: Context, apex: bytes, connections: "set[ClientConnection]", tls: ServerTls) -> None:
        self._context = context
        self._apex = apex
        self._connections = connections
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        dialer = self._context.dialer
        timeouts = dialer.timeouts
        raw = cast("asyncio.Transport", transport)  # uvloop's are one by behaviour only
        shaking = begin_server(dialer.loop, raw, self._tls.context, timeouts.header_s, timeouts.idle_s)
        dialer.spawn(self._shake(shaking))

    async def _shake(self, shaking: Coroutine[None, None, TlsLink]) -> None:
        try:
            link = await shaking
        except OSError:
            self._context.errors.add(LABEL)
            # No Downstream has counted it.
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

    def _begin_h2(self, link: TlsLink) -> None:
        """RFC 9113 section 3.2: at once, and nothing else."""
        # Here, because a worker that never sees HTTP/2 need not carry it.
        from milliroute.proxy.downstream_h2 import H2Downstream

        self._context.tcp.opened += 1
        self._context.tcp.open_now += 1
        connection = H2Downstream(self._context, self._apex, self._connections)
        connection.adopt(link)
        connection.mark()  # our SETTINGS need not wait for the client's
