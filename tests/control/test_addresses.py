"""Addresses: whose ClusterIP one is, which pod has it, and which ports of a Service are opaque."""

import pytest

from milliroute.control.snapshot import Snapshot, build

from .building import errors, objects

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec: {{{ips}, ports: [{{name: main, port: 80, targetPort: 8080}}, {{name: db, port: 90, targetPort: 9090}}]}}
---
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: main, port: 8080}}, {{name: db, port: 9090}}]
endpoints: [{{addresses: ["{address}"], conditions: {{ready: {ready}}}}}]
---
"""
SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: reviews}
spec: {service: reviews, backends: [{service: reviews-v1, weight: 1}]}
---
"""


def service(name: str, ips: str = "clusterIP: 10.96.0.7", annotations: str = "") -> str:
    return SERVICE.format(name=name, ips=ips, annotations=annotations)


def pods(name: str, address: str, *, ready: str = "true") -> str:
    return SLICE.format(name=name, address=address, ready=ready, family="IPv6" if ":" in address else "IPv4")


def snapshot(*texts: str, before: Snapshot | None = None) -> Snapshot:
    return build(objects("".join(texts)), before, 0)


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("10.96.0.7:80", "reviews.default:80"),
        ("10.96.0.7:90", "reviews.default:90"),
        ("10.96.0.7", "reviews.default"),
        ("[fd00:96:0::7]:80", "reviews.default:80"),
        ("10.96.0.7:81", "dialled:10.96.0.7:81"),
        ("10.96.0.8:80", "dialled:10.96.0.8:80"),
        ("010.96.0.7:80", "010.96.0.7:80"),
        ("reviews.default", "reviews.default"),
    ],
)
def test_a_cluster_ip_means_its_service(asked: str, key: str) -> None:
    made = snapshot(service("reviews", 'clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7, "fd00:96::0007"]'))
    assert made.dialled_key(asked, "elsewhere") == key
    assert (made.view(key) is None) == (not key.startswith("reviews"))


@pytest.mark.parametrize("ips", ["clusterIP: None", "clusterIP: ''", "type: ClusterIP"])
def test_a_headless_service_has_no_address(ips: str) -> None:
    assert snapshot(service("reviews", ips)).dialled_key("10.96.0.7:80", "default") == "dialled:10.96.0.7:80"


def test_a_cluster_ip_that_is_none_is_an_error() -> None:
    (wrong,) = errors(service("reviews", "clusterIP: 10.96.0"))
    assert wrong == "f.yaml:4:19: bad clusterIP (saw '10.96.0', want an address, or None)"


def test_a_cluster_ip_that_two_services_have_is_the_first_ones_by_name() -> None:
    made = snapshot(service("b"), service("a"))
    assert made.dialled_key("10.96.0.7:80", "default") == "a.default:80"


def test_a_cluster_ip_goes_to_whom_it_is_given_next() -> None:
    first = snapshot(service("reviews"))
    second = snapshot(service("ratings"), before=first)
    third = snapshot(service("ratings", "clusterIP: 10.96.0.9"), before=second)
    assert [made.dialled_key("10.96.0.7:80", "default") for made in (first, second, third)] == [
        "reviews.default:80",
        "ratings.default:80",
        "dialled:10.96.0.7:80",
    ]


@pytest.mark.parametrize("address", ["10.1.0.5", "fd00::5"])
def test_a_pods_address_is_one_endpoint_and_no_split(address: str) -> None:
    text = SPLIT + "".join(service(name, "clusterIP: None") + pods(name, address) for name in ("reviews", "reviews-v1"))
    key = f"[{address}]:8080" if ":" in address else f"{address}:8080"
    made = snapshot(text)
    view = made.view(made.dialled_key(key, "default"))
    assert view is not None
    (backend,), (route,) = view.backends, view.routes
    # Both Services have the pod; a leaf says more of it than the apex.
    assert (backend.name, backend.port, route.split.name) == ("reviews-v1", 80, "")
    assert [(end.host, end.port) for end in backend.endpoints] == [(address, 8080)]


def test_a_pod_that_is_not_ready_or_a_port_nobody_serves_is_unknown() -> None:
    made = snapshot(service("reviews"), pods("reviews", "10.1.0.5", ready="false"), pods("reviews2", "10.1.0.6"))
    assert made.view("dialled:10.1.0.5:8080") is None
    made = snapshot(service("reviews"), pods("reviews", "10.1.0.5"))
    assert made.view("dialled:10.1.0.5:8081") is None
    assert made.view("dialled:10.1.0.5") is None


def test_clients_of_other_proxies_reach_nobody_by_an_address() -> None:
    """They name authorities; as one an address may be the apex of a split, and nothing else."""
    split = SPLIT.replace("service: reviews,", "service: 10.96.0.7,")
    made = snapshot(split, service("reviews"), service("reviews-v1", "clusterIP: None"), pods("reviews-v1", "10.1.0.5"))
    for asked, is_known in (("10.1.0.5:8080", False), ("10.96.0.8:80", False), ("10.96.0.7:80", True)):
        view = made.view(made.key_of(asked, "default"))
        assert (view is not None) == is_known


@pytest.mark.parametrize("written", ["90", "db", "85-95", "1,  db", "main-x,90"])
@pytest.mark.parametrize("prefix", ["milliroute", "linkerd"])
def test_opaque_ports_of_a_service_are_tcp(written: str, prefix: str) -> None:
    made = snapshot(service("reviews", annotations=f'config.{prefix}.io/opaque-ports: "{written}"'))
    protocols = {}
    for port in (80, 90):
        view = made.view(f"reviews.default:{port}")
        assert view is not None
        protocols[port] = view.backends[0].app_protocol
    assert protocols == {80: "", 90: "linkerd.io/opaque"}


@pytest.mark.parametrize("written", ["0", "90-80", "70000", "DB", "1:2"])
def test_bad_opaque_ports_are_an_error(written: str) -> None:
    (wrong,) = errors(service("reviews", annotations=f'config.linkerd.io/opaque-ports: "{written}"'))
    assert f"bad config.linkerd.io/opaque-ports (saw '{written}', want port numbers, ranges" in wrong
