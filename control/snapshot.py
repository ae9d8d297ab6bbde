"""The versioned state of everything: what each authority means right now, and what is wrong with each split.

In: Objects, the snapshot before, and the time in unix milliseconds. Out: a Snapshot, or the one before when nothing
changed. A snapshot never changes; its views are made when first asked for, because most Services have no watcher,
and kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from milliroute.control import access, attachment, authority, ramp, routestatus, routeviews
from milliroute.control.gateway import Route
from milliroute.control.index import Index, index, title
from milliroute.control.model import Objects, TrafficSplit
from milliroute.control.pods import DIALLED
from milliroute.control.quantity import MICRO
from milliroute.control.ramp import Ramp
from milliroute.control.routestatus import RouteStatus
from milliroute.control.views import AuthorityView

# Keys come from clients, so what is kept of them is bounded. One that was dropped is made anew when it is asked for,
# and may count as changed once more.
MAX_KEPT_VIEWS = 8192

Status = Literal["accepted", "conflict"]


@dataclass(frozen=True, slots=True)
class LeafReport:
    leaf: str
    weight: str
    weight_micro: int
    share: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One TrafficSplit as GET /splits of the control admin shows it; `name` is "namespace/name"."""

    name: str
    apex: str
    source: str
    status: Status
    warnings: tuple[str, ...]
    leaves: tuple[LeafReport, ...]
    is_failover: bool = False
    rate_limit: str = ""  # as written, "" for none of its own
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A split with warnings or one that lost its apex to another."""

    split: str
    apex: str
    status: Status
    warnings: tuple[str, ...]


_Kept = tuple[AuthorityView | None, int]


class Snapshot:
    """Made by build(). `objects.sources` are those of the read that made it: a source that turned broken changes no
    routing and so makes no new snapshot; who shows sources takes them from the newest Objects. `is_partial`: not all
    of the sources have been read yet. `rules`: those of Gateway API routes that have backends. `consumers`: see
    attachment.consumers; where it changes, names may mean other keys.
    """

    __slots__ = ("_index", "_kept", "_last", "access_warnings", "consumers", "is_partial", "objects", "ramps", "routes",
                 "rules", "splits", "version")  # fmt: skip

    def __init__(
        self, version: int, objects: Objects, index: Index, ramps: Mapping[str, Ramp], is_partial: bool = False
    ) -> None:
        self.version = version
        self.is_partial = is_partial
        self.objects = objects
        self.ramps = ramps
        self.splits = _reports(index)
        self.routes = routestatus.route_statuses(index)
        self.rules = tuple(_rule_reports(index, self.routes))
        self.consumers = attachment.consumers(index)
        self.access_warnings = tuple(dict.fromkeys(access.warnings(index)))
        self._index = index
        self._kept: dict[str, _Kept] = {}
        self._last: Mapping[str, _Kept] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(split.name, split.apex, split.status, split.warnings)
            for split in self.splits
            if split.warnings or split.status == "conflict"
        )

    def key_of(self, asked: str, namespace: str) -> str:
        """The canonical key of what a client wrote, a bare name looked up in `namespace`; without the port where
        that means nothing here. Another snapshot may say another key. Raises AuthorityError."""
        return attachment.scoped(self.consumers, authority.key_of(self._index, asked, namespace), namespace)

    def dialled_key(self, asked: str, namespace: str) -> str:
        """The same of what a sidecar's app dialled, which may be an address. Raises AuthorityError."""
        key = authority.dialled_key(self._index, asked, namespace)
        return key if key.startswith(DIALLED) else attachment.scoped(self.consumers, key, namespace)

    def view(self, key: str) -> AuthorityView | None:
        """The view of a canonical key, None when it is unknown; the very same object while it does not change.

        Raises AuthorityError when the key's port is no port.
        """
        return self._entry(key)[0]

    def version_of(self, key: str) -> int:
        """The version in which the view of `key` last changed; at most `version`, and it never goes back."""
        return self._entry(key)[1]

    def _entry(self, key: str) -> _Kept:
        entry = self._kept.get(key)
        if entry is None:
            view = authority.compose(self._index, self.ramps, key)
            last = self._last.get(key)
            entry = last if last is not None and last[0] == view else (view, self.version)
            if len(self._kept) >= MAX_KEPT_VIEWS:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = entry
        return entry

    def _split(self, apex: str) -> tuple[TrafficSplit, Ramp | None] | None:
        split = self._index.splits.get(apex)
        return None if split is None else (split, self.ramps.get(apex))


def build(objects: Objects, previous: Snapshot | None, now_unix_ms: int) -> Snapshot:
    """The snapshot after `previous`: itself when no object changed, else one with the next version (the first is 1)."""
    # What was read whole once is known from then on: what is gone later has been taken away.
    is_partial = objects.is_partial and (previous is None or previous.is_partial)
    is_same = previous is not None and replace(objects, sources=()) == replace(previous.objects, sources=())
    if previous is not None and is_same and previous.is_partial == is_partial:
        return previous
    found = index(objects)
    ramps: dict[str, Ramp] = {}
    for apex, split in found.splits.items():
        before = previous._split(apex) if previous else None
        moving = ramp.follow(split, before, found.services.__contains__, now_unix_ms)
        if moving is not None:
            ramps[apex] = moving
    snapshot = Snapshot(previous.version + 1 if previous else 1, objects, found, ramps, is_partial)
    if previous is not None:
        snapshot._last = _youngest({**previous._last, **previous._kept})
    return snapshot


def _youngest(kept: dict[str, _Kept]) -> Mapping[str, _Kept]:
    return kept if len(kept) <= MAX_KEPT_VIEWS else dict(list(kept.items())[-MAX_KEPT_VIEWS:])


def _reports(index: Index) -> tuple[SplitReport, ...]:
    found = [_report(s, "accepted", authority.split_warnings(index, s)) for s in index.splits.values()]
    found += [_report(split, "conflict", (reason,)) for split, reason in index.losers]
    return tuple(sorted(found, key=lambda report: (report.name, report.source)))


def _report(split: TrafficSplit, status: Status, warnings: tuple[str, ...]) -> SplitReport:
    total = sum(leaf.weight_micro for leaf in split.backends)
    leaves = tuple(
        LeafReport(leaf.service, leaf.weight_text, leaf.weight_micro, leaf.weight_micro / total if total else 0.0)
        for leaf in split.backends
    )
    return SplitReport(
        title(split),
        split.apex,
        split.origin.short,
        status,
        warnings,
        leaves,
        is_failover=split.is_failover,
        rate_limit=split.rate_limit.text if split.rate_limit else "",
        fault=split.fault.text if split.fault else "",
    )


def _rule_reports(index: Index, statuses: tuple[RouteStatus, ...]) -> Iterator[SplitReport]:
    """One for each rule with backends; its apex is the first parent that takes the route."""
    routes = {(str(r.kind), r.group, r.namespace, r.name): r for several in index.routes.values() for r in several}
    for status in statuses:
        route = routes[status.kind, status.group, status.namespace, status.name]
        taken = [one.parent for one in status.parents if one.is_accepted]
        parent = (taken or [one.parent for one in status.parents])[0]
        apex = parent.name if parent.namespace in (None, route.namespace) else f"{parent.name}.{parent.namespace}"
        for number, rule in enumerate(route.rules):
            if rule.backends:
                yield _rule_report(route, number, apex, is_accepted=bool(taken))


def _rule_report(route: Route, number: int, apex: str, *, is_accepted: bool) -> SplitReport:
    backends = route.rules[number].backends
    total = sum(ref.weight for ref in backends)
    leaves = tuple(
        LeafReport(ref.name, str(ref.weight), ref.weight * MICRO, ref.weight / total if total else 0.0)
        for ref in backends
    )
    name = routeviews.title(route, number)
    return SplitReport(name, apex, route.origin.short, "accepted" if is_accepted else "conflict", (), leaves)
