"""(request head, authority) -> leaf: the one question each request asks. Pure; read once per request.

Authorities are kept as clients write them ("reviews:9080"), so that the request path looks a Host up as it came.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.errors import NoBackend, NoRoute
from milliroute.proxy.ipc import INBOUND, LeftOut
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.routing import table
from milliroute.proxy.routing.leaf import Backend, Endpoint, Leaf
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable, Terms
from milliroute.proxy.state import AuthorityState

if TYPE_CHECKING:
    from milliroute.proxy.guard.access import Access
    from milliroute.proxy.guard.limiter import Limiter


# Ports of the pod itself that are counted one by one; what comes later shares one series.
MAX_INBOUND_SERIES = 512


class Addressed(Protocol):
    @property
    def client_ip(self) -> str: ...


class Router:
    """clock: monotonic seconds. wall_clock: Unix seconds, on the request path asked only while a ramp is under way."""

    __slots__ = ("_aliases", "_by_authority", "_by_key", "_clock", "_names", "_rng", "_series", "_terms", "_wall_clock")

    def __init__(
        self,
        rng: random.Random,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        terms: Terms = Terms(),  # noqa: B008  # a value
    ) -> None:
        self._rng = rng
        self._terms = terms
        self._clock = clock
        self._wall_clock = wall_clock
        self._by_key: dict[str, AuthorityTable | None] = {}
        self._aliases: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}  # the other way round: by key
        self._by_authority: dict[bytes, AuthorityTable | None] = {}
        self._series: dict[tuple[str, str, str, str], LeafSeries] = {}

    def find(self, authority: bytes) -> AuthorityTable | None:
        """The table of an authority, None when nothing was heard of it yet; raises NoRoute when there is none."""
        found = self._by_authority.get(authority)
        if found is None and authority in self._by_authority:
            raise NoRoute("no such service")
        return found

    def leaf_of(self, split: Split, head: RequestHead, client: Addressed) -> Leaf:
        """The leaf this request is for; raises NoBackend. The client's address is asked for only where it decides."""
        pick = split.pick
        leaf = split.leaves[pick()] if pick is not None else split.choose(head, client.client_ip, self._wall_clock())
        if leaf.balancer is None:
            raise NoBackend(f"{leaf.name} has no ready endpoint", status=leaf.status or None)
        return leaf

    def alias(self, authority: str, key: str) -> list[Endpoint]:
        """From now on this authority means this key; returns the endpoints of a key that nobody names any more."""
        before = self._unname(authority)
        self._aliases[authority] = key
        self._names.setdefault(key, set()).add(authority)
        if key in self._by_key:
            self._by_authority[authority.encode()] = self._by_key[key]
        return self._drop_if_unnamed(before)

    def key_of(self, authority: str) -> str:
        """ "" while nobody has said."""
        return self._aliases.get(authority, "")

    def has_state(self, key: str) -> bool:
        return key in self._by_key

    def authorities_of(self, key: str) -> list[bytes]:
        """Every name that clients use for this key."""
        return [authority.encode() for authority in self._names.get(key, ())]

    def update(self, key: str, version: int, state: AuthorityState | None) -> list[Endpoint]:
        """Puts a state in force, for the very next request; returns the endpoints that no table names any more.

        Raises ValueError or re2.error for a state that can't be routed by; then nothing has changed.
        """
        before = self._by_key.get(key)
        after = None
        if state is not None:
            after = table.build(
                key,
                version,
                state,
                before,
                rng=self._rng,
                now_s=self._clock(),
                unix_s=self._wall_clock(),
                series_for=self._series_for,
                terms=self._terms,
            )
        self._by_key[key] = after
        for authority in self.authorities_of(key):
            self._by_authority[authority] = after
        if before is None:
            return []
        kept = set(after.endpoints()) if after else set()
        gone = [endpoint for endpoint in before.endpoints() if endpoint not in kept]
        before.leave(after)
        return gone

    def forget(self, authority: str) -> list[Endpoint]:
        """Drops an authority nobody names any more; returns the endpoints that went with it."""
        key = self._unname(authority)
        self._by_authority.pop(authority.encode(), None)
        return self._drop_if_unnamed(key)

    def _drop_if_unnamed(self, key: str) -> list[Endpoint]:
        if key in self._names:
            return []
        table = self._by_key.pop(key, None)
        if table is None:
            return []
        gone = list(table.endpoints())
        table.leave(None)
        return gone

    def _unname(self, authority: str) -> str:
        key = self._aliases.pop(authority, "")
        names = self._names.get(key)
        if names is not None:
            names.discard(authority)
            if not names:
                del self._names[key]
        return key

    def backends(self) -> list[Backend]:
        """Of all tables in force."""
        return [backend for table in self._by_key.values() if table is not None for backend in table.backends]

    def left_out(self) -> list[LeftOut]:
        """The backends of which an endpoint is out for its failures, or sick."""
        return [
            LeftOut(key, one.state.name, one.state.namespace, sorted(map(str, one.out)), sorted(map(str, one.sick)))
            for key, table in self._by_key.items()
            if table is not None
            for one in table.backends
            if one.out or one.sick
        ]

    def series(self) -> list[LeafSeries]:
        return list(self._series.values())

    def accesses(self) -> "list[Access]":
        """Of the tables in force, where not everybody may ask."""
        return [table.access for table in self._by_key.values() if table is not None and table.access is not None]

    def limiters(self) -> "list[Limiter]":
        """Of the tables in force."""
        return [limit for table in self._by_key.values() if table is not None for limit in table.limits]

    def _series_for(self, authority: str, split: str, leaf: str, namespace: str) -> LeafSeries:
        if authority.startswith(INBOUND):
            # Whoever scans a pod asks for all the ports there are.
            authority = authority.partition("?")[0] if len(self._series) < MAX_INBOUND_SERIES else INBOUND + "other"
        key = (authority, split, leaf, namespace)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = LeafSeries(*key)
        return series
