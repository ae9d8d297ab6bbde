"""A connection to an address that the control service does not know: passed through untouched, byte for byte.

In come the client's transport and what it has sent; out goes a connection to where it was going. Nothing is looked at
and nothing is picked. The rules of a tunnel hold (opaque): ends are passed on as ends, resets as resets, and memory is
one write buffer each way.
"""

import asyncio

from milliroute.proxy.downstream.opaque import Tunnel
from milliroute.proxy.errors import ConnectFailed, ConnectTimeout
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.sidecar.original import Target
from milliroute.proxy.transport.splice import End

# To a stranger somewhere in the world, not to an endpoint next door; the app's own limit mostly comes first.
CONNECT_TIMEOUT_S = 10.0


class Passage(Tunnel):
    __slots__ = ("_target",)

    def __init__(self, context: Context, target: Target, connections: "set[ClientConnection]") -> None:
        super().__init__(context, b"", connections)
        self._target = target

    def begin(self, transport: asyncio.Transport, data: bytes, *, is_declared: bool = True) -> None:
        self._take(transport)
        if data:
            self._held = data
            self._down.pause()
        self._context.dialer.spawn(self._pass())

    async def _pass(self) -> None:
        dialer, target = self._context.dialer, self._target
        error: ConnectFailed
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await dialer.loop.create_connection(lambda: End(self, dialer.tcp), target.host, target.port)
        except TimeoutError:
            error = ConnectTimeout(f"connect to {target} timed out")
        except OSError as exc:
            error = ConnectFailed(f"connect to {target} failed: {exc.strerror or exc}")
        else:
            return
        if not self._is_over and self._up is None:
            self.refuse(error)

    def _is_denied(self) -> bool:
        return False
