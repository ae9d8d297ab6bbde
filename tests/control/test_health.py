"""health.milliroute.io: from the annotations of a Service to what a proxy is told."""

import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.control.encoding import _backend as encoded
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.health import read_health
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.model import HealthCheck
from milliroute.control.views import BackendView
from milliroute.proxy.agent.destination import _backend as decoded
from milliroute.proxy.state import HealthState

from .building import objects


def annotated(**by_name: str) -> Fields:
    keys = {f"health.milliroute.io/{name.replace('_', '-')}": text for name, text in by_name.items()}
    return Fields({key: Scalar(text, line, 5) for line, (key, text) in enumerate(keys.items(), 1)}, 1, 1)


def read(**by_name: str) -> HealthCheck | None:
    report = Report("f.yaml")
    found = read_health(annotated(**by_name), report)
    assert report.errors == []
    return found


def errors(**by_name: str) -> list[str]:
    report = Report("f.yaml")
    read_health(annotated(**by_name), report)
    return report.errors


def test_without_an_annotation_nobody_is_checked() -> None:
    assert read() is None


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [("http", "/healthz?full=1", "/healthz?full=1"), ("tcp", "true", ""), ("grpc", "a.B", "a.B"), ("grpc", "", "")],
)
def test_one_annotation_is_enough(name: str, text: str, target: str) -> None:
    assert read(**{name: text}) == HealthCheck(name, target)


def test_times_and_counts_may_be_said() -> None:
    found = read(http="/", interval="10s", timeout="500ms", unhealthy_after="2", healthy_after="1")
    assert found == HealthCheck("http", "/", 10_000, 500, 2, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"http": "healthz"},
        {"http": "/a b"},
        {"http": "/a\r\nx: y"},
        {"tcp": "yes"},
        {"grpc": "a b"},
        {"grpc": "x" * 128},
        {"http": "/", "interval": "5"},
        {"http": "/", "interval": "99ms"},
        {"http": "/", "unhealthy_after": "0"},
        {"http": "/", "healthy_after": "many"},
        {"http": "/", "path": "/"},
        {"http": "/", "tcp": "true"},
        {"interval": "10s"},
    ],
)
def test_a_bad_value_is_an_error(wrong: dict[str, str]) -> None:
    assert len(errors(**wrong)) == 1


def test_a_service_has_it() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {health.milliroute.io/tcp: 'true'}}\n"
    (service,) = objects(text).services
    assert service.health == HealthCheck("tcp")


def test_a_proxy_is_told() -> None:
    view = BackendView("v1", "default", health=HealthCheck("http", "/healthz", 2000, 300, 4, 5))
    state = decoded(pb.Backend.FromString(encoded(view).SerializeToString()))
    assert state.health == HealthState("http", "/healthz", 2000, 300, 4, 5)


@pytest.mark.parametrize(
    ("kind", "target"), [("udp", ""), ("http", ""), ("http", "/ HTTP/1.1\r\n"), ("tcp", "x"), ("grpc", "x" * 128)]
)
def test_a_proxy_takes_nothing_that_could_not_be_asked(kind: str, target: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        decoded(pb.Backend(name="v1", health=pb.HealthCheck(kind=kind, target=target)))
