"""The two roles of a sidecar: outbound, for what the app asks for, and inbound, for what is asked of the app.

In: the original destination of a connection. Out: the authority by which it is routed, and what holds where the
control service has not answered: outbound it passes untouched, inbound it goes to the app by the default policy. The
rule not to break: what was going to the proxy itself goes nowhere, so no connection can come back to where it was.
"""

import logging
from collections import OrderedDict
from typing import Protocol

from milliroute.proxy.config import Sidecar
from milliroute.proxy.downstream.detection import is_declared_http, is_declared_opaque
from milliroute.proxy.exchange.context import Context
from milliroute.proxy.ipc import INBOUND
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.sidecar import original
from milliroute.proxy.sidecar.original import Accepted, Target
from milliroute.proxy.state import (
    AuthorityState,
    BackendState,
    EndpointState,
    GuardState,
    RouteState,
    SplitState,
    WeightState,
)

log = logging.getLogger(__name__)

# An app has a handful of ports, but whoever scans a pod tries all of them: those longest not connected to are
# forgotten, and asked for again when somebody does.
MAX_INBOUND_PORTS = 256
# Addresses whose questions were not answered in time, so that nobody waits for them again; all are forgotten above it.
MAX_UNANSWERED = 4096
_LOOPBACK = ("127.0.0.1", "::1")
_MICRO = 1_000_000


class Role(Protocol):
    """Of a listener of a sidecar."""

    context: Context

    def target_of(self, sock: Accepted) -> Target | None:
        """None: to the proxy itself, which leads nowhere."""

    def authority_of(self, target: Target) -> bytes: ...

    def is_opaque(self, target: Target, found: AuthorityTable) -> bool: ...

    def table_without_answer(self, authority: bytes, target: Target) -> AuthorityTable | None:
        """None: it passes untouched."""

    def is_unanswered(self, authority: bytes) -> bool: ...

    def note_unanswered(self, authority: bytes) -> None: ...

    def note_answered(self, authority: bytes) -> None: ...


class Sided:
    """What both roles have. own_ports: on which this proxy listens itself."""

    def __init__(self, context: Context, config: Sidecar, own_ports: frozenset[int]) -> None:
        self.context = context
        self._config = config
        self._opaque_ports = frozenset(config.opaque_ports)
        self._own_ports = own_ports
        self._unanswered: set[bytes] = set()
        self._has_warned = False

    def is_opaque(self, target: Target, found: AuthorityTable) -> bool:
        """The Service's word counts more than the list of ports."""
        protocols = [backend.state.app_protocol for backend in found.backends]
        if is_declared_opaque(protocols):
            return True
        return target.port in self._opaque_ports and not is_declared_http(protocols)

    def is_unanswered(self, authority: bytes) -> bool:
        return authority in self._unanswered

    def note_unanswered(self, authority: bytes) -> None:
        if len(self._unanswered) >= MAX_UNANSWERED:
            self._unanswered.clear()
        self._unanswered.add(authority)

    def note_answered(self, authority: bytes) -> None:
        self._unanswered.discard(authority)

    def _loops(self, target: Target | None, own: Target) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "refused a connection that was made to %s, this proxy itself; was it redirected?", target or own
            )


class Outbound(Sided):
    """Implements Role."""

    def target_of(self, sock: Accepted) -> Target | None:
        target, own = original.original_destination(sock), original.own_address(sock)
        if target is None or (target.port in self._own_ports and target.host in (own.host, *_LOOPBACK)):
            self._loops(target, own)
            return None
        return target

    def authority_of(self, target: Target) -> bytes:
        return str(target).encode()

    def table_without_answer(self, authority: bytes, target: Target) -> AuthorityTable | None:
        return None


class Inbound(Sided):
    """Implements Role."""

    def __init__(self, context: Context, config: Sidecar, own_ports: frozenset[int], namespace: str) -> None:
        super().__init__(context, config, own_ports)
        self._namespace = namespace
        self._asked: OrderedDict[bytes, None] = OrderedDict()  # the one longest not connected to comes first
        self._local: dict[str, bool] = {}

    def target_of(self, sock: Accepted) -> Target | None:
        """The app's: at the address that was asked for, so that what listens on loopback only stays hidden; on
        loopback where the pod does not have that address."""
        target, own = original.original_destination(sock), original.own_address(sock)
        if target is None or target.port in self._own_ports:
            self._loops(target, own)
            return None
        return target if self._is_local(target.host) else Target(_LOOPBACK[":" in target.host], target.port)

    def authority_of(self, target: Target) -> bytes:
        authority = f"{INBOUND}{target}".encode()
        self._asked[authority] = None
        self._asked.move_to_end(authority)
        if len(self._asked) > MAX_INBOUND_PORTS:
            oldest, _ = self._asked.popitem(last=False)
            for endpoint in self.context.router.forget(oldest.decode()):
                endpoint.close_pools()
        return authority

    def table_without_answer(self, authority: bytes, target: Target) -> AuthorityTable | None:
        """By the default policy, until the control service says more."""
        name, router = authority.decode(), self.context.router
        key = router.key_of(name)
        if not key:
            key = name
            router.alias(name, key)
        router.update(key, 0, self._default_state(target))
        return router.find(authority)

    def _default_state(self, target: Target) -> AuthorityState:
        config = self._config
        name = config.workload or target.host
        backend = BackendState(name, self._namespace, target.port, endpoints=[EndpointState(target.host, target.port)])
        route = RouteState(SplitState("", [WeightState(0, _MICRO, "1")], apex=name))
        guards = [] if config.inbound_default == "all-unauthenticated" else [GuardState("default", "deny")]
        return AuthorityState(name, self._namespace, [backend], [route], access=guards)

    def _is_local(self, host: str) -> bool:
        known = self._local.get(host)
        if known is None:
            if len(self._local) > MAX_INBOUND_PORTS:
                self._local.clear()
            known = self._local[host] = original.is_local(host)
        return known
