"""Objects by the keys under which they are looked up, and which split is in force for which apex.

In: Objects. Out: an Index, immutable. Where two splits have one apex the older wins (creationTimestamp, then name);
a split may steer a Service of its own namespace only, or a host name that is no Service of ours.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from milliroute.control import names
from milliroute.control.addresses import Addresses
from milliroute.control.gateway import ReferenceGrant, Route
from milliroute.control.model import EndpointSlice, HTTPRouteGroup, Objects, Service, TrafficSplit
from milliroute.control.policies import Policies, sort
from milliroute.control.precedence import age


@dataclass(frozen=True, slots=True)
class Index:
    """Keys of services, slices, splits and routes (their parents) are canonical names without a port; `losers` say why
    they lost. Routes stand with the oldest first, whether they are in force or not."""

    services: Mapping[str, Service]
    slices: Mapping[str, tuple[EndpointSlice, ...]]
    groups: Mapping[tuple[str, str], HTTPRouteGroup]
    splits: Mapping[str, TrafficSplit]
    losers: tuple[tuple[TrafficSplit, str], ...]
    policies: Policies
    addresses: Addresses
    routes: Mapping[str, tuple[Route, ...]]
    grants: tuple[ReferenceGrant, ...]


def index(objects: Objects) -> Index:
    """Raises AuthorityError when an object has a name that `parse` would have refused."""
    services = {f"{service.name}.{service.namespace}": service for service in objects.services}
    slices = _slices(objects.slices)
    splits, losers = _winners(objects.splits, services)
    return Index(
        services=services,
        slices=slices,
        groups={(group.namespace, group.name): group for group in objects.route_groups},
        splits=splits,
        losers=tuple(losers),
        policies=sort(objects.access, objects.defaults),
        addresses=Addresses(services, slices),
        routes=_routes(objects.routes),
        grants=objects.grants,
    )


def title(split: TrafficSplit) -> str:
    return f"{split.namespace}/{split.name}"


def _slices(slices: tuple[EndpointSlice, ...]) -> dict[str, tuple[EndpointSlice, ...]]:
    found: dict[str, list[EndpointSlice]] = defaultdict(list)
    # Sorted, because an API server lists in no order that means anything, and endpoints must not jump about.
    for one in sorted(slices, key=lambda s: (s.namespace, s.service, s.name)):
        found[f"{one.service}.{one.namespace}"].append(one)
    return {key: tuple(several) for key, several in found.items()}


def _routes(routes: tuple[Route, ...]) -> dict[str, tuple[Route, ...]]:
    """By the Services that are their parents, each once."""
    found: dict[str, list[Route]] = defaultdict(list)
    for route in sorted(routes, key=age):
        parents = (parent for parent in route.parents if parent.is_service)
        for host in dict.fromkeys(f"{parent.name}.{parent.namespace or route.namespace}" for parent in parents):
            found[host].append(route)
    return {host: tuple(several) for host, several in found.items()}


def _winners(
    splits: tuple[TrafficSplit, ...], services: Mapping[str, Service]
) -> tuple[dict[str, TrafficSplit], list[tuple[TrafficSplit, str]]]:
    winners: dict[str, TrafficSplit] = {}
    losers: list[tuple[TrafficSplit, str]] = []
    for split in sorted(splits, key=lambda s: (s.created, s.name, s.namespace)):
        apex = names.canonical(split.apex, split.namespace)
        service, winner = services.get(apex), winners.get(apex)
        if service is not None and service.namespace != split.namespace:
            losers.append((split, f"apex {split.apex} is a Service of the namespace {service.namespace}, not ours"))
        elif winner is not None:
            losers.append((split, f"apex {split.apex} already has the older split {title(winner)} ({winner.origin})"))
        else:
            winners[apex] = split
    return winners, losers
