"""What the address and port of one pod mean: to those who dial them, and to the proxy beside the app itself.

In: an Index and a key. Out: an AuthorityView with one endpoint and without a split. To those who dial it
(`dialled:ADDRESS:PORT`) a pod is what EndpointSlices say of it. Its own proxy asks by `inbound:ADDRESS:PORT`; its
namespace and labels, from its hello, become part of the key, so that the view depends on the key alone. Pure.

The rule not to break: a pod's guards are those of every Service that it stands behind; a request must pass all.
"""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlencode

from milliroute.control import access, endpoints, limits, names
from milliroute.control.addresses import Place
from milliroute.control.errors import AuthorityError
from milliroute.control.index import Index
from milliroute.control.model import Service, ServicePort
from milliroute.control.quantity import MICRO
from milliroute.control.views import (
    AuthorityView,
    BackendView,
    EndpointView,
    GuardView,
    RateLimitView,
    RouteView,
    SplitView,
    WeightView,
)

# Before keys that are not names: what an app dialled, and the pod's own ports. Only sidecars get them, so no client of
# another proxy reaches a pod by naming its address.
DIALLED = "dialled:"
INBOUND = "inbound:"
# Labels of a hello that are no labels of the pod: the name under which its own metrics show it.
WORKLOAD = "milliroute.io/workload"
# Of a key: the labels of a pod take some hundred bytes. Each key of each proxy is kept.
MAX_KEY_CHARS = 16_384

# What an app is known to speak to whoever waits for its first bytes; that it speaks TLS is between it and its clients.
_TOLD = ("linkerd.io/opaque", "linkerd.io/tcp", "tcp", "kubernetes.io/h2c", "grpc", "http")


def dialled(index: Index, key: str) -> AuthorityView | None:
    """The view of `dialled:ADDRESS:PORT`; None: no ready endpoint has it."""
    host, number = names.split_port(key.removeprefix(DIALLED))
    address, port = names.address(host), number or 0
    found = list(_served(index, address, port))
    if not found:
        return None
    # Of several the one that is no apex: a leaf says more of a pod than what is split.
    place, service, declared = min(found, key=lambda one: (one[0].service in index.splits, one[0].service))
    backend, _ = endpoints.backend(index, place.service, service.namespace, declared.port or None)
    view = BackendView(
        name=service.name,
        namespace=service.namespace,
        port=declared.port,
        app_protocol=declared.app_protocol,
        endpoints=(EndpointView(address, port, place.endpoint.labels),),
        tls=backend.tls,
    )
    pairs = [(one.service, port_of.port) for one, _, port_of in found]
    return _whole(service.name, view, access.of_services(index, pairs), service.origin.short)


def inbound_key(asked: str, namespace: str, labels: Mapping[str, str]) -> str:
    """The key under which a proxy's own port is looked up. Raises AuthorityError."""
    address = names.canonical(asked.removeprefix(INBOUND), namespace)
    host, port = names.split_port(address)
    if not names.address(host) or port is None:
        raise AuthorityError(f"bad inbound address (saw {asked!r}, want inbound:ADDRESS:PORT)")
    key = f"{INBOUND}{address}?{urlencode([('', namespace), *sorted(labels.items())])}"
    if len(key) > MAX_KEY_CHARS:
        raise AuthorityError(f"too many labels (saw a key of {len(key)} characters, want at most {MAX_KEY_CHARS})")
    return key


def inbound(index: Index, key: str) -> AuthorityView:
    """The view of a key that `inbound_key` has made: it always exists, whatever is known of the pod."""
    address, _, query = key.removeprefix(INBOUND).partition("?")
    host, port = names.split_port(address)
    (_, namespace), *rest = parse_qsl(query, keep_blank_values=True)
    labels = dict(rest)
    workload = labels.pop(WORKLOAD, "")
    bare, number = names.address(host), port or 0
    pairs = list(dict.fromkeys([*_covering(index, namespace, labels, number), *_standing(index, bare, number)]))
    view = BackendView(
        name=workload or bare,
        namespace=namespace,
        port=number,
        app_protocol=_protocol(index, pairs),
        endpoints=(EndpointView(bare, number),),
    )
    rates = limits.of_servers(index, access.servers_of_pod(index, namespace, labels, number, pairs))
    return _whole(workload or bare, view, access.of_pod(index, namespace, labels, number, pairs), "", rates)


def _whole(
    name: str, backend: BackendView, guards: tuple[GuardView, ...], source: str, rates: tuple[RateLimitView, ...] = ()
) -> AuthorityView:
    split = SplitView("", (WeightView(0, MICRO, "1"),), source=source, apex=name)
    route = RouteView(split, rate_limits=rates)
    return AuthorityView(name, backend.namespace, (backend,), (route,), access=guards)


def _served(index: Index, address: str, port: int) -> Iterator[tuple[Place, Service, ServicePort]]:
    """Where a Service has this address and port behind one of its own ports."""
    for place in index.addresses.places(address):
        service = index.services.get(place.service)
        if service is None:
            continue
        for declared in service.ports or (ServicePort(0),):
            number = place.endpoint.port or endpoints.slice_port(place.slice, service, declared)
            if number == port:
                yield place, service, declared
                break


def _standing(index: Index, address: str, port: int) -> Iterator[tuple[str, int]]:
    return ((place.service, declared.port) for place, _, declared in _served(index, address, port))


def _covering(index: Index, namespace: str, labels: Mapping[str, str], port: int) -> Iterator[tuple[str, int]]:
    """The Services, with their ports, whose selectors take a pod with these labels, ready or not."""
    has = set(labels.items())
    for key, service in index.services.items():
        if service.namespace == namespace and service.selector and set(service.selector) <= has:
            for declared in service.ports:
                if port in access.pod_ports(index, key, declared):
                    yield key, declared.port


def _protocol(index: Index, pairs: list[tuple[str, int]]) -> str:
    declared = [one for key, port in pairs for one in index.services[key].ports if one.port == port]
    return next((one.app_protocol for one in declared if one.app_protocol in _TOLD), "")
