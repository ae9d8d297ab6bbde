"""Leaves of a split, the Services behind them and their endpoints, with what they are doing: load, connections, and who
is left out for its failures.

An Endpoint lives as long as its address stands in the state, over table swaps; so does a Backend whose state is the
same. Pure; `Endpoint.pool` is filled in by the rim. The rules not to break: who is out is decided here and in
`ejection` only, and every split that has a leaf of the backend is told; and only what is in force refers upwards (to
places, to a backend), so that a table that was replaced ends with its last exchange and needs no collector.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.resilience.accrual import Accrual
from milliroute.proxy.resilience.health import Health
from milliroute.proxy.routing.balancer import Balancer, EndpointLoad
from milliroute.proxy.state import BackendState, EndpointState, TlsState

if TYPE_CHECKING:
    from milliroute.proxy.heads.rewriting import Filters

# appProtocol of the Service port: does the backend speak HTTP/2? Not listed: what the client speaks.
_PROTOCOLS = {"kubernetes.io/h2c": True, "grpc": True, "http": False}


class Closable(Protocol):
    def close(self) -> None: ...


class Sharing(Protocol):
    """A split, as far as the backends of its leaves need it."""

    def has_other(self, leaf: "Leaf") -> bool: ...

    def reweigh(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is. tls: None for plain text."""

    host: str
    port: int
    tls: TlsState | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Endpoint:
    """One address of a backend. pool: the upstream connections, owned by the rim; None until the first use. accrual:
    None where failures are not counted. health: None where nothing is checked. backend: the one it stands in now.
    is_gone: no table in force names it; a request under way by an older one may still pick it.
    """

    __slots__ = ("accrual", "address", "backend", "health", "is_gone", "labels", "load", "pool", "pool_h2")
    backend: "Backend"

    def __init__(self, state: EndpointState, now_s: float, tls: TlsState | None = None) -> None:
        self.address = Address(state.host, state.port, tls)
        self.labels = state.labels
        self.load = EndpointLoad(now_s)
        self.pool: Closable | None = None
        self.pool_h2: Closable | None = None
        self.is_gone = False
        self.accrual: Accrual | None = None
        self.health: Health | None = None

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def tls(self) -> TlsState | None:
        return self.address.tls

    def close_pools(self) -> None:
        """It is gone."""
        self.is_gone = True
        for pool in (self.pool, self.pool_h2):
            if pool is not None:
                pool.close()

    def __str__(self) -> str:
        return str(self.address)


class Backend:
    """A Service and its ready endpoints. balancer: over those that are in; None when there are none. places: its leaves
    in the table in force, each with its split; none once the table is not.
    """

    __slots__ = ("_rng", "balancer", "endpoints", "out", "places", "sick", "state")

    def __init__(
        self, state: BackendState, endpoints: Sequence[Endpoint], rng: random.Random, before: "Backend | None" = None
    ) -> None:
        """Who is left out of `before` stays so, unless what is counted or checked has changed."""
        self.state = state
        self.endpoints = tuple(endpoints)
        self.places: list[tuple[Leaf, Sharing]] = []
        self._rng = rng
        for endpoint in endpoints:
            accrual = endpoint.accrual
            if state.accrual is None:
                endpoint.accrual = None
            elif accrual is None or accrual.state != state.accrual:
                endpoint.accrual = Accrual(state.accrual, rng)
            health = endpoint.health
            if state.health is None:
                endpoint.health = None
            elif health is None or health.state != state.health:
                endpoint.health = Health(state.health, rng)
        # Left out of the balancer: for their failures, and by the health checks.
        self.out = set[Endpoint]()
        self.sick = set[Endpoint]()
        if before is not None:
            self.out = {e for e in endpoints if e in before.out and e.accrual is not None and e.accrual.is_out}
            self.sick = {e for e in endpoints if e in before.sick and e.health is not None and e.health.is_sick}
        self.balancer = self._balancer()

    def enter(self, places: "Iterable[tuple[Leaf, Sharing]]") -> None:
        """The table it stands in is in force from now on."""
        self.places = [place for place in places if place[0].backend is self]
        for endpoint in self.endpoints:
            endpoint.backend = self

    def leave(self) -> None:
        """No table in force has it any more. Requests that go by an older one have that one's leaves and balancers."""
        self.places = []
        self.endpoints = ()
        self.balancer = None
        self.out.clear()
        self.sick.clear()

    def leave_out(self, endpoint: Endpoint) -> bool:
        """False where that may not be: too many are out, or no leaf of a split would be left."""
        accrual = self.state.accrual
        if endpoint in self.out:
            return True
        if accrual is None or endpoint not in self.endpoints:
            return False
        if (len(self.out) + 1) * 100 > accrual.max_out_percent * len(self.endpoints):
            return False
        if not self._can_spare(endpoint):
            return False
        self.out.add(endpoint)
        self._rebalance()
        return True

    def set_sick(self, endpoint: Endpoint, is_sick: bool) -> None:
        """By its health checks; the last one of the last leaf stays in."""
        if is_sick is (endpoint in self.sick):
            return
        if not is_sick:
            self.sick.discard(endpoint)
            self._rebalance()
        elif endpoint in self.endpoints and self._can_spare(endpoint):
            self.sick.add(endpoint)
            self._rebalance()

    def _can_spare(self, endpoint: Endpoint) -> bool:
        is_last = self._ready() == [endpoint]
        return not is_last or all(split.has_other(leaf) for leaf, split in self.places)

    def take_back(self, endpoint: Endpoint) -> None:
        if endpoint in self.out:
            self.out.discard(endpoint)
            self._rebalance()

    def take_all_back(self) -> None:
        """They start anew: there is nothing else."""
        for endpoint in self.out:
            if endpoint.accrual is not None:
                endpoint.accrual.keep()
        self.out.clear()
        self.sick.clear()
        self._rebalance()

    def _rebalance(self) -> None:
        self.balancer = self._balancer()
        for leaf, split in self.places:
            leaf.balancer = self.balancer
            split.reweigh()

    def _balancer(self) -> Balancer[Endpoint] | None:
        ready = self._ready()
        return Balancer(ready, self._rng) if ready else None

    def _ready(self) -> list[Endpoint]:
        if not (self.out or self.sick):
            return list(self.endpoints)
        return [endpoint for endpoint in self.endpoints if endpoint not in self.out and endpoint not in self.sick]


class Leaf:
    """A backend in its place in a split, with the counters of that place. filters: of its requests and responses alone.
    status: not 0 where its share is answered so, for want of a backend.
    """

    __slots__ = ("backend", "balancer", "filters", "is_h2", "name", "series", "status")

    def __init__(self, backend: Backend, series: LeafSeries, filters: "Filters | None" = None, status: int = 0) -> None:
        self.backend = backend
        self.balancer = backend.balancer
        self.name = backend.state.name
        self.series = series
        self.filters = filters
        self.status = status
        self.is_h2 = _PROTOCOLS.get(backend.state.app_protocol)
