"""parse: Service and EndpointSlice of Kubernetes."""

import pytest

from milliroute.control.model import ServicePort, SliceEndpoint, SlicePort

from .building import errors, objects

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  ports:
  - {port: 80, name: http, targetPort: web, appProtocol: http}
  - {port: 9080, targetPort: 8080}
  - {port: 53, protocol: UDP}
"""

SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], zone: a, targetRef: {kind: Pod, name: p-1}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}
- {addresses: [10.0.0.4], conditions: {ready: null}}
"""


def test_a_service_has_its_tcp_ports() -> None:
    (service,) = objects(SERVICE).services
    assert (service.namespace, service.name) == ("shop", "reviews")
    assert service.ports == (ServicePort(80, "http", "web", "http"), ServicePort(9080, "", 8080))


def test_an_external_name_is_known() -> None:
    spec = "{type: ExternalName, externalName: api.example.com}"
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n"
    assert objects(text).services[0].external_name == "api.example.com"


def test_only_ready_endpoints_that_stay_are_taken() -> None:
    (one,) = objects(SLICE).slices
    assert one.endpoints == (
        SliceEndpoint(("10.0.0.1",), labels=(("pod", "p-1"), ("zone", "a"))),
        SliceEndpoint(("10.0.0.4",)),
    )
    assert (one.service, one.ports) == ("reviews", (SlicePort(8080, "http"),))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("port: 80,", "port: 0,", "bad port (saw '0', want a number from 1 to 65535)"),
        ("port: 80,", "port: http,", "bad port (saw 'http'"),
        ("targetPort: 8080", "targetPort: 99999", "bad targetPort"),
        ("port: 9080, ", "", "missing port"),
        ("name: reviews", "name: reviews.v1", "bad name of a Service"),
        ("ports:", "ports: 80\n  x:", "bad ports (saw '80', want a list)"),
    ],
)
def test_a_bad_service_is_an_error(old: str, new: str, complaint: str) -> None:
    (error,) = errors(SERVICE.replace(old, new, 1))
    assert complaint in error


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("10.0.0.1", "10.0.0.256", "bad address (saw '10.0.0.256', want an address of type IPv4)"),
        ("[10.0.0.1]", "[]", "endpoint without addresses"),
        ("addressType: IPv4", "addressType: IPX", "bad addressType"),
        ("labels: {kubernetes.io/service-name: reviews}", "labels: {}", "missing label kubernetes.io/service-name"),
        ("ready: false", "ready: maybe", "bad ready (saw 'maybe', want true or false)"),
    ],
)
def test_a_bad_slice_is_an_error(old: str, new: str, complaint: str) -> None:
    assert complaint in errors(SLICE.replace(old, new, 1))[0]
