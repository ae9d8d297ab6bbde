"""A connection that iptables led here: finds out where it was going, waits until that is known, and hands it on.

In comes a transport; out go the protocols that serve it: HTTP by `downstream`, TCP by `opaque`, and what nobody knows
by `passage`. The answer for an address is asked for once and waited for with the first bytes held. The rule not to
break: not one byte is read that is not handed on, and nothing waits longer than the discovery timeout.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, cast

from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.downstream.detection import is_opaque
from milliroute.proxy.downstream.door import REFUSAL_S, Door
from milliroute.proxy.downstream.h1 import Downstream
from milliroute.proxy.downstream.opaque import Tunnel
from milliroute.proxy.errors import LoopDetected, NoRoute, ProxyError
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.heads.replies import error_reply
from milliroute.proxy.metrics import ErrorCounts, TcpSeries
from milliroute.proxy.sidecar import ingress
from milliroute.proxy.sidecar.passage import Passage
from milliroute.proxy.sidecar.roles import Inbound, Outbound, Role
from milliroute.proxy.upstream.dialer import Dialer

if TYPE_CHECKING:
    from milliroute.proxy.routing.table import AuthorityTable
    from milliroute.proxy.sidecar.original import Target


class SidecarDoor(Door):
    """As any door, but each connection says for itself where it goes."""

    role: Role

    def admit(self) -> asyncio.Protocol:
        return Gate(self.role, self.guests)

    def answer(self, data: bytes, text: str) -> bytes:
        return b"" if is_opaque(data) else super().answer(data, text)


class Gate(asyncio.Protocol):
    """Implements context.ClientConnection and Parked, as long as it is not known what serves the connection."""

    __slots__ = ("_authority", "_context", "_guests", "_has_ended", "_held", "_is_loop", "_is_over", "_role", "_target",
                 "_transport", "started_s")  # fmt: skip
    _transport: asyncio.Transport
    _target: "Target"

    def __init__(self, role: Role, guests: "set[ClientConnection]") -> None:
        self._role = role
        self._context = role.context
        self._guests = guests
        self._authority = b""
        self._held = b""
        self._has_ended = False
        self._is_loop = False
        self._is_over = False  # somebody else serves the connection, or it is gone
        self.started_s = monotonic()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._transport = cast("asyncio.Transport", transport)
        self._guests.add(self)
        target = self._role.target_of(transport.get_extra_info("socket"))
        if target is None:
            self._is_loop = True
            self._context.errors.add(LoopDetected.label)
            self._context.loop.call_later(REFUSAL_S, self._transport.abort)
            return
        self._target = target
        self._authority = self._role.authority_of(target)
        self._decide(may_wait=True)

    def data_received(self, data: bytes) -> None:
        if self._is_loop:
            self._answer_loop(data)
            return
        self._held += data
        self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._has_ended = True
        return not self._is_loop

    def connection_lost(self, exc: Exception | None) -> None:
        tcp = self._context.tcp
        tcp.opened += 1
        tcp.closed += 1
        tcp.read_bytes += len(self._held)
        self._leave()
        self._context.leave(self, self._authority)

    # context.Parked

    def resume_routing(self) -> None:
        if not self._is_over:
            self._decide(may_wait=False)

    def refuse(self, error: ProxyError) -> None:
        """No answer: the control service is away, or too many names wait for it."""
        if not self._is_over:
            if self._authority not in self._context.parked:
                self._context.ask(self._authority)  # too many wait, so nobody has: what it goes by now must not stay
            self._context.leave(self, self._authority)
            self._role.note_unanswered(self._authority)
            self._go_on_unknown()

    # context.ClientConnection

    @property
    def client_ip(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else "unknown"

    def queued_bytes(self) -> int:
        return len(self._held)

    def check_time(self, now: float) -> None:
        """The context's sweep of what is parked does it."""

    def look_ahead(self, now: float) -> None:
        """Without requests there is nothing."""

    def drain(self, now: float) -> None:
        """Whoever takes it over will."""

    yield_place = drain

    def abort(self) -> None:
        self._transport.abort()

    # Routing

    def _decide(self, *, may_wait: bool) -> None:
        context = self._context
        try:
            found = context.router.find(self._authority)
        except NoRoute:
            self._role.note_answered(self._authority)
            self._go_on_unknown()
            return
        if found is not None:
            self._role.note_answered(self._authority)
            self._enter(found)
        elif not may_wait:
            self._go_on_unknown()
        elif self._role.is_unanswered(self._authority):
            context.ask(self._authority)  # for the next one
            self._go_on_unknown()
        else:
            context.park(self, self._authority)

    def _go_on_unknown(self) -> None:
        found = self._role.table_without_answer(self._authority, self._target)
        if found is not None:
            self._enter(found)
        else:
            self._hand_to(Passage(self._context, self._target, self._guests))

    def _enter(self, found: "AuthorityTable") -> None:
        context, authority = self._context, self._authority
        if self._role.is_opaque(self._target, found):
            self._hand_to(Tunnel(context, authority, self._guests))
            return
        successor = Downstream(context, authority, self._guests)
        self._leave()
        transport = self._transport
        transport.set_protocol(successor)
        successor.connection_made(transport)
        self._replay()

    def _hand_to(self, tunnel: Tunnel) -> None:
        tcp = self._context.tcp
        tcp.opened += 1
        tcp.open_now += 1
        tcp.read_bytes += len(self._held)
        self._leave()
        held, self._held = self._held, b""
        tunnel.begin(self._transport, held, is_declared=True)
        self._replay()

    def _replay(self) -> None:
        """What came before, to whoever serves the connection now; that may be the successor's successor."""
        transport = self._transport
        if self._held:
            transport.resume_reading()
            cast("asyncio.Protocol", transport.get_protocol()).data_received(self._held)
        if self._has_ended and not cast("asyncio.Protocol", transport.get_protocol()).eof_received():
            transport.close()

    def _leave(self) -> None:
        self._is_over = True
        self._guests.discard(self)

    def _answer_loop(self, data: bytes) -> None:
        """It was going to this very proxy, so it would go on coming here."""
        if not self._transport.is_closing():
            if not is_opaque(data):
                error = LoopDetected("the connection was made to the proxy itself")
                self._transport.write(error_reply(error, None, closes=True))
            self._transport.close()


def contexts(outbound: Context, config: ProxyConfig) -> list[Context]:
    """outbound: made already. Each role counts for itself; the tables they route by are the same."""
    sidecar = config.sidecar
    assert sidecar is not None
    dialer = Dialer(outbound.loop, config.codec, config.timeouts, TcpSeries("inbound dst"), config.h2)
    inbound = Context(outbound.loop, outbound.router, dialer, outbound.ask, config.limits)
    inbound.tcp, inbound.errors = TcpSeries("inbound src"), ErrorCounts("inbound ")
    for context in (outbound, inbound):
        context.is_sidecar, context.detect_s = True, sidecar.detect_s
    if sidecar.is_ingress:
        outbound.override = ingress
    return [outbound, inbound]


def doors(
    made: Sequence[Context],
    config: ProxyConfig,
    listen: Sequence[socket.socket],
    everyone: set[ClientConnection],
    on_accept: Callable[[], None] | None,
) -> Iterator[SidecarDoor]:
    """made: by `contexts`."""
    sidecar, (out, into) = config.sidecar, made
    assert sidecar is not None
    # The admin port too: what comes to it by way of the inbound listener would seem to come from this machine.
    own_ports = frozenset(sock.getsockname()[1] for sock in listen) | {config.admin.port if config.admin else 0}
    outbound = Outbound(out, sidecar, own_ports)
    inbound = Inbound(into, sidecar, own_ports, config.namespace)
    for listener, sock in zip(config.listeners, listen, strict=True):
        is_inbound = listener.side == "inbound"
        door = SidecarDoor(into if is_inbound else out, b"", sock, everyone, None, on_accept)
        door.role = inbound if is_inbound else outbound
        yield door
