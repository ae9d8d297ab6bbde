"""Which Gateway API routes are in force for a Service, for whose requests, and why others are not.

In: an Index. Out: routes, or a Refusal in the words of the Gateway API's conditions. The rules are those of its mesh
profile (GEP-1294): a route of the Service's namespace is for everybody; one of another namespace is for the clients of
that namespace, and takes the place of the former there. GRPCRoutes beat HTTPRoutes on the same port. A TrafficSplit for
the Service beats them all, as in Linkerd.

Only where a client's namespace has such routes does a key depend on it: it begins with `NAMESPACE@` then.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from milliroute.control.gateway import BackendRef, ParentRef, Route
from milliroute.control.index import Index, title
from milliroute.control.model import Service
from milliroute.control.names import DEFAULT_NAMESPACE, split_port

# Between the namespace of the clients and the key; in no name and no address.
SCOPE = "@"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is a word of the API, or one of ours where it has none; `message` is for people."""

    reason: str
    message: str


def parent_host(route: Route, parent: ParentRef) -> str:
    return f"{parent.name}.{parent.namespace or route.namespace}"


def in_force(index: Index, host: str, port: int | None, client: str) -> tuple[Route, ...]:
    """The routes of a Service's port for clients of the namespace `client`, "" for those of no other; the oldest
    first."""
    service = index.services.get(host)
    if service is None or host not in index.routes or host in index.splits:
        return ()
    attached = [route for route in index.routes[host] if _attaches(index, route, service, host, port or 0)]
    chosen = [route for route in attached if client not in ("", service.namespace) and route.namespace == client]
    chosen = chosen or [route for route in attached if route.namespace == service.namespace]
    calls = [route for route in chosen if route.kind == "GRPCRoute"]
    return tuple(calls or chosen)


def consumers(index: Index) -> Mapping[str, frozenset[str]]:
    """By namespace of the clients: the Services of others for which that namespace has routes of its own."""
    found: dict[str, set[str]] = defaultdict(set)
    for host, routes in index.routes.items():
        service = index.services.get(host)
        if service is not None and host not in index.splits:
            for route in routes:
                if route.namespace != service.namespace and not route.unsupported:
                    found[route.namespace].add(host)
    return {namespace: frozenset(hosts) for namespace, hosts in found.items()}


def scoped(consumers: Mapping[str, frozenset[str]], key: str, namespace: str) -> str:
    """The key for clients of a namespace."""
    hosts = consumers.get(namespace or DEFAULT_NAMESPACE)
    if not hosts or split_port(key)[0] not in hosts:
        return key
    return f"{namespace or DEFAULT_NAMESPACE}{SCOPE}{key}"


def unscoped(key: str) -> tuple[str, str]:
    """The namespace of the clients, "" for any, and the key without it."""
    client, at, rest = key.rpartition(SCOPE)
    return (client, rest) if at else ("", key)


def refusal(index: Index, route: Route, parent: ParentRef) -> Refusal | None:
    """Why the route is not in force for a parent that is a Service; None: it is."""
    host = parent_host(route, parent)
    service = index.services.get(host)
    if route.unsupported:
        return Refusal("UnsupportedValue", "not supported: " + ", ".join(route.unsupported))
    if service is None:
        return Refusal("NoMatchingParent", f"no Service {host}")
    ports = _ports(service, parent)
    if not ports:
        return Refusal("NoMatchingParent", f"Service {host} has no such port")
    if (split := index.splits.get(host)) is not None:
        return Refusal("OverriddenByTrafficSplit", f"TrafficSplit {title(split)} is in force for {host}")
    client = "" if route.namespace == service.namespace else route.namespace
    if not any(route in in_force(index, host, port, client) for port in ports):
        return Refusal("Conflicted", f"a GRPCRoute is in force for {host}, which comes before HTTPRoutes")
    return None


def backend_refusal(index: Index, route: Route, ref: BackendRef) -> Refusal | None:
    """Why a backend gets no requests; None: it does. Not permitted comes first, so that nobody learns what there is."""
    host = f"{ref.name}.{ref.namespace}"
    if not ref.is_service:
        return Refusal("InvalidKind", f"backend {ref.group}/{ref.kind} {ref.name}: wanted a Service")
    if not _is_permitted(index, route, ref):
        message = (
            f"backend {host}: no ReferenceGrant in {ref.namespace} lets a {route.kind} of {route.namespace} name it"
        )
        return Refusal("RefNotPermitted", message)
    service = index.services.get(host)
    if service is None:
        return Refusal("BackendNotFound", f"backend {host}: no such Service")
    if ref.port and service.ports and ref.port not in {port.port for port in service.ports}:
        return Refusal("BackendNotFound", f"backend {host}: the Service has no port {ref.port}")
    return None


def _is_permitted(index: Index, route: Route, ref: BackendRef) -> bool:
    """To name the parent itself again exposes nothing that was not reached before."""
    if ref.namespace == route.namespace:
        return True
    host = f"{ref.name}.{ref.namespace}"
    if any(parent.is_service and parent_host(route, parent) == host for parent in route.parents):
        return True
    asker = (route.group, route.kind, route.namespace)
    return any(
        asker in grant.froms
        and any(to.group == "" and to.kind == ref.kind and to.name in ("", ref.name) for to in grant.tos)
        for grant in index.grants
        if grant.namespace == ref.namespace
    )


def _attaches(index: Index, route: Route, service: Service, host: str, port: int) -> bool:
    if route.unsupported:
        return False
    ours = [parent for parent in route.parents if parent.is_service and parent_host(route, parent) == host]
    return any(port in _ports(service, parent) for parent in ours)


def _ports(service: Service, parent: ParentRef) -> frozenset[int]:
    """Those of the Service that a parentRef means; {0} where ports mean nothing."""
    if not service.ports:
        return frozenset((0,))
    return frozenset(
        declared.port
        for declared in service.ports
        if parent.port in (None, declared.port) and parent.section_name in (None, declared.name)
    )
