"""The ports of a pod itself: the key by which its proxy asks, what stands there, and who may."""

import pytest

from milliroute.control import pods
from milliroute.control.errors import AuthorityError
from milliroute.control.snapshot import build
from milliroute.control.views import AuthorityView

from .building import objects

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: adm, port: 90, targetPort: adm, appProtocol: linkerd.io/opaque}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: adm, port: 9990}]
endpoints: [{addresses: [10.1.0.5]}]
---
"""
SERVER = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: guard}}
spec: {{port: {port}, podSelector: {{matchLabels: {{{labels}}}}}}}
---
"""
V1 = {"app": "reviews", "version": "v1"}


def inbound(
    text: str, address: str = "10.1.0.9:8080", labels: dict[str, str] = V1, space: str = "default"
) -> AuthorityView:
    view = build(objects(text), None, 0).view(pods.inbound_key(f"inbound:{address}", space, labels))
    assert view is not None
    return view


def guards(view: AuthorityView) -> list[str]:
    return [f"{guard.kind} {guard.name}" for guard in view.access]


def test_a_port_of_the_pod_leads_to_it_under_the_workloads_name() -> None:
    view = inbound(SERVICES, labels={**V1, pods.WORKLOAD: "reviews-v1"})
    (backend,), (route,) = view.backends, view.routes
    assert (backend.name, backend.namespace, backend.port, route.split.name) == ("reviews-v1", "default", 8080, "")
    assert [(end.host, end.port) for end in backend.endpoints] == [("10.1.0.9", 8080)]


@pytest.mark.parametrize("address", ["10.1.0.9:1", "[fd00::9]:65535"])
def test_any_port_of_any_pod_is_known(address: str) -> None:
    host, _, port = address.rpartition(":")
    (end,) = inbound(SERVICES, address, {}).backends[0].endpoints
    assert (end.host, end.port) == (host.strip("[]"), int(port))


@pytest.mark.parametrize("asked", ["inbound:", "inbound:reviews:80", "inbound:10.1.0.9", "inbound:10.1.0.9:0"])
def test_what_is_no_address_is_refused(asked: str) -> None:
    with pytest.raises(AuthorityError):
        pods.inbound_key(asked, "default", {})


def test_labels_that_would_fill_the_service_are_refused() -> None:
    with pytest.raises(AuthorityError, match="too many labels"):
        pods.inbound_key("inbound:10.1.0.9:80", "default", {f"label-{n}": "x" * 60 for n in range(1000)})


@pytest.mark.parametrize(
    ("port", "labels", "asked", "found"),
    [
        (8080, "app: reviews", "10.1.0.9:8080", ["Server default/guard"]),
        (8080, "app: reviews, version: v1", "10.1.0.9:8080", ["Server default/guard"]),
        (8080, "app: reviews, version: v2", "10.1.0.9:8080", []),
        (8080, "app: reviews", "10.1.0.9:8081", []),
        # By a port's name, which only a Service and its slices know the number of.
        ("adm", "app: reviews", "10.1.0.9:9990", ["Server default/guard"]),
        (8080, "", "10.1.0.9:8080", ["Server default/guard"]),
    ],
)
def test_a_server_guards_the_pods_that_have_its_labels(
    port: int | str, labels: str, asked: str, found: list[str]
) -> None:
    assert guards(inbound(SERVICES + SERVER.format(port=port, labels=labels), asked)) == found


def test_a_server_of_another_namespace_guards_nothing_here() -> None:
    assert guards(inbound(SERVICES + SERVER.format(port=8080, labels="app: reviews"), space="shop")) == []


def test_without_labels_a_pod_is_known_by_its_address() -> None:
    text = SERVICES + SERVER.format(port=8080, labels="app: reviews")
    assert guards(inbound(text, "10.1.0.5:8080", {})) == ["Server default/guard"]
    assert guards(inbound(text, "10.1.0.6:8080", {})) == []


def test_who_dials_a_pod_passes_the_same_guards() -> None:
    found = objects(SERVICES + SERVER.format(port=8080, labels="app: reviews"))
    view = build(found, None, 0).view("dialled:10.1.0.5:8080")
    assert view is not None
    assert guards(view) == ["Server default/guard"]


def test_the_ports_protocol_is_the_services() -> None:
    assert inbound(SERVICES, "10.1.0.9:9990").backends[0].app_protocol == "linkerd.io/opaque"
    assert inbound(SERVICES.replace("linkerd.io/opaque", "https"), "10.1.0.9:9990").backends[0].app_protocol == ""
