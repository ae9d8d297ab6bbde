"""Access policies by the keys under which they are looked up.

In: the objects of the sources, and what flags say. Out: Policies, immutable. Nothing is decided here; `access` does.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from milliroute.control import names
from milliroute.control.model import (
    AccessDefaults,
    AccessObject,
    AuthorizationPolicy,
    HTTPLocalRateLimitPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Reference,
    Server,
    TrafficTarget,
)

Authentication = NetworkAuthentication | MeshTLSAuthentication
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Policies:
    """`targets` by the canonical name of their Service; `authentications` by kind, namespace and name."""

    defaults: AccessDefaults
    servers: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)  # by namespace
    policies: Mapping[Reference, tuple[AuthorizationPolicy, ...]] = field(default_factory=dict)  # by target
    authentications: Mapping[Reference, Authentication] = field(default_factory=dict)
    targets: Mapping[str, tuple[TrafficTarget, ...]] = field(default_factory=dict)
    rate_limits: Mapping[Reference, tuple[HTTPLocalRateLimitPolicy, ...]] = field(default_factory=dict)  # by Server


def sort(objects: Iterable[AccessObject], defaults: AccessDefaults) -> Policies:
    """In the order of their names, because files and an API server list in none that means anything."""
    servers: dict[str, list[Server]] = defaultdict(list)
    policies: dict[Reference, list[AuthorizationPolicy]] = defaultdict(list)
    targets: dict[str, list[TrafficTarget]] = defaultdict(list)
    authentications: dict[Reference, Authentication] = {}
    rate_limits: dict[Reference, list[HTTPLocalRateLimitPolicy]] = defaultdict(list)
    for found in sorted(objects, key=lambda one: (one.namespace, one.name)):
        match found:
            case Server():
                servers[found.namespace].append(found)
            case AuthorizationPolicy():
                policies[found.target].append(found)
            case TrafficTarget():
                targets[names.canonical(found.service, found.namespace)].append(found)
            case HTTPLocalRateLimitPolicy():
                rate_limits[Reference("Server", found.namespace, found.server)].append(found)
            case NetworkAuthentication() | MeshTLSAuthentication():
                authentications[Reference(type(found).__name__, found.namespace, found.name)] = found
    return Policies(
        defaults, _tuples(servers), _tuples(policies), authentications, _tuples(targets), _tuples(rate_limits)
    )


def _tuples(lists: Mapping[K, list[V]]) -> dict[K, tuple[V, ...]]:
    return {key: tuple(several) for key, several in lists.items()}
