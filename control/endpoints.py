"""Where the requests for a Service may go: its port and its ready endpoints, from its EndpointSlices.

In: an Index, the key of a Service, the port that a client asked for. Out: a BackendView and a warning. Ports follow
Kubernetes: a Service port finds the slice port of the same *name*, since targetPort may be a name that each pod
resolves for itself; hand-written slices without names are found by number.
"""

from collections.abc import Iterator

from milliroute.control.index import Index
from milliroute.control.manifest.encryption import speaks_tls
from milliroute.control.model import EndpointSlice, Service, ServicePort, SliceEndpoint
from milliroute.control.views import BackendView, EndpointView

# The port of an http URL that names none (RFC 9110 section 4.2.1).
HTTP_PORT = 80


def ports(index: Index, key: str) -> frozenset[int]:
    """The ports that clients may ask a Service for; none: no such Service, or its endpoints have ports of their own.

    Declared ones. Without any the slices', and HTTP_PORT where those say nothing either: a port that only the client
    knows would make 65,535 backends of one.
    """
    service = index.services.get(key)
    if service is None:
        return frozenset()
    if service.ports:
        return frozenset(declared.port for declared in service.ports)
    if service.external_name:
        return frozenset((HTTP_PORT,))
    return frozenset(port for one in index.slices.get(key, ()) for port in _ports_to_choose(one))


def _ports_to_choose(one: EndpointSlice) -> frozenset[int]:
    """The ports of a slice among which a Service that declares none leaves the choice to the client."""
    has_one = len(one.ports) == 1 and one.ports[0].port
    if has_one or (one.endpoints and all(endpoint.port for endpoint in one.endpoints)):
        return frozenset()
    return frozenset(port.port or HTTP_PORT for port in one.ports) or frozenset((HTTP_PORT,))


def backend(index: Index, key: str, namespace: str, port: int | None) -> tuple[BackendView, str]:
    """The backend for a canonical name without port, and a warning or ""; `namespace` is whose the authority is."""
    service = index.services.get(key)
    if service is None:
        return _missing(key, namespace, port), ""
    chosen = service_port(service, port)
    if chosen is None:
        view = BackendView(service.name, service.namespace, port or 0)
        return view, f"Service {key} has no port {port}: nothing is sent to it (want {_ports(service)})"
    found: dict[tuple[str, int], EndpointView] = {}
    for endpoint in _endpoints(index, key, service, chosen):
        # The same address may stand in two slices while a controller moves it from one to the other.
        found.setdefault((endpoint.host, endpoint.port), endpoint)
    view = BackendView(
        name=service.name,
        namespace=service.namespace,
        port=chosen.port,
        app_protocol=chosen.app_protocol,
        endpoints=tuple(found.values()),
        tls=service.tls if speaks_tls(chosen.app_protocol) else None,
        accrual=service.accrual,
        health=service.health,
    )
    return view, ""


def service_port(service: Service, port: int | None) -> ServicePort | None:
    """What stands for the port asked for, None when nothing does; without one asked for: 80, else the first."""
    by_number = {declared.port: declared for declared in service.ports}
    if port is None:
        return by_number.get(HTTP_PORT) or next(iter(service.ports), ServicePort(0))
    if not service.ports or service.external_name:
        return by_number.get(port, ServicePort(port))
    return by_number.get(port)


def _missing(key: str, namespace: str, port: int | None) -> BackendView:
    name, _, rest = key.partition(".")
    name = name if rest == namespace else key
    return BackendView(name, namespace, port or 0, is_missing=True)


def _ports(service: Service) -> str:
    return " or ".join(str(declared.port) for declared in service.ports)


def _endpoints(index: Index, key: str, service: Service, chosen: ServicePort) -> Iterator[EndpointView]:
    if service.external_name:
        yield EndpointView(service.external_name, _number(chosen) or HTTP_PORT)
        return
    for one in index.slices.get(key, ()):
        number = slice_port(one, service, chosen)
        for endpoint in one.endpoints:
            yield from _addresses(endpoint, endpoint.port or number)


def _addresses(endpoint: SliceEndpoint, port: int) -> Iterator[EndpointView]:
    if port:
        for address in endpoint.addresses:
            yield EndpointView(address, port, endpoint.labels)


def _number(chosen: ServicePort) -> int:
    """The port of the pods when it is known by number, 0 when only their slices know it."""
    return (chosen.target_port or chosen.port) if isinstance(chosen.target_port, int) else 0


def slice_port(one: EndpointSlice, service: Service, chosen: ServicePort) -> int:
    """The endpoints' port number in this slice, 0 when it does not serve the port."""
    if not service.ports and len(one.ports) == 1:
        return one.ports[0].port or chosen.port or HTTP_PORT
    for port in one.ports:
        if port.name == chosen.name:
            return port.port or _number(chosen)
    number = _number(chosen) or (0 if service.ports else HTTP_PORT)
    return number if not one.ports or any(port.port in (number, 0) for port in one.ports) else 0
