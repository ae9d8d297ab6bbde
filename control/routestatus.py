"""What the writers of Gateway API routes are told: conditions for each Service that a route names as its parent.

`route_statuses(index)` gives one RouteStatus per route that has such a parent, in a stable order; per parent one
ParentStatus with exactly two Conditions, `Accepted` and `ResolvedRefs`, in that order. Whoever writes them into a
cluster adds its own controllerName, observedGeneration (`RouteStatus.generation`) and times, and leaves the entries of
other controllers alone; `ParentStatus.parent` is the parentRef as written. Pure.

Reasons of `Accepted`: Accepted, NoMatchingParent, UnsupportedValue, Conflicted, OverriddenByTrafficSplit (ours). Of
`ResolvedRefs`: ResolvedRefs, BackendNotFound, RefNotPermitted, InvalidKind. A route that could not be read at all is no
Route; `unreadable` has the conditions for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from milliroute.control import attachment
from milliroute.control.attachment import Refusal
from milliroute.control.gateway import ParentRef, Route
from milliroute.control.index import Index
from milliroute.control.origin import Origin


@dataclass(frozen=True, slots=True)
class Condition:
    """As in metav1.Condition; `is_true` is its status."""

    type: str
    is_true: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ParentStatus:
    parent: ParentRef
    conditions: tuple[Condition, ...]

    @property
    def is_accepted(self) -> bool:
        return self.conditions[0].is_true


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """`group` and `kind` of its apiVersion; `notes` are in force all the same."""

    kind: str
    group: str
    namespace: str
    name: str
    generation: int
    parents: tuple[ParentStatus, ...]
    notes: tuple[str, ...]
    origin: Origin

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def route_statuses(index: Index) -> tuple[RouteStatus, ...]:
    """Of all routes with a Service among their parents."""
    routes = {(r.kind, r.namespace, r.name, r.group): r for several in index.routes.values() for r in several}
    return tuple(_status(index, routes[key]) for key in sorted(routes))


def unreadable(parents: Iterable[ParentRef], message: str) -> tuple[ParentStatus, ...]:
    """Of an object that is against what its reader demands; `message` says what."""
    accepted = Condition("Accepted", False, "UnsupportedValue", message)
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    return tuple(ParentStatus(parent, (accepted, resolved)) for parent in parents if parent.is_service)


def warnings(status: RouteStatus) -> Iterator[str]:
    """What an operator should know: why it is not in force, or not all of it."""
    seen = {c.message: c for parent in status.parents for c in parent.conditions if not c.is_true}
    yield from (f"{status.title}: {c.reason}: {c.message} ({status.origin.short})" for c in seen.values())
    yield from (f"{status.title}: {note} ({status.origin.short})" for note in status.notes)


def _status(index: Index, route: Route) -> RouteStatus:
    resolved = _resolved(index, route)
    parents = tuple(
        ParentStatus(parent, (_accepted(attachment.refusal(index, route, parent)), resolved))
        for parent in route.parents
        if parent.is_service
    )
    return RouteStatus(
        route.kind, route.group, route.namespace, route.name, route.generation, parents, route.notes, route.origin
    )


def _accepted(refusal: Refusal | None) -> Condition:
    if refusal is None:
        return Condition("Accepted", True, "Accepted")
    return Condition("Accepted", False, refusal.reason, refusal.message)


def _resolved(index: Index, route: Route) -> Condition:
    found = [
        refusal
        for rule in route.rules
        for ref in rule.backends
        if (refusal := attachment.backend_refusal(index, route, ref)) is not None
    ]
    if not found:
        return Condition("ResolvedRefs", True, "ResolvedRefs")
    messages = dict.fromkeys(refusal.message for refusal in found)
    return Condition("ResolvedRefs", False, found[0].reason, "; ".join(messages))
