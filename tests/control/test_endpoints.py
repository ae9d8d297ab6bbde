"""endpoints: which port stands for which, and which endpoints it has."""

from dataclasses import replace

import pytest

from milliroute.control import endpoints
from milliroute.control.index import index
from milliroute.control.model import EndpointSlice, Objects, Service, ServicePort, SliceEndpoint, SlicePort
from milliroute.control.views import BackendView

from .building import service, slice_of


def backend(one: Service, *slices: EndpointSlice, port: int | None = 80) -> tuple[BackendView, str]:
    found = index(Objects(services=(one,), slices=slices))
    return endpoints.backend(found, f"{one.name}.default", "default", port)


def addresses(one: Service, *slices: EndpointSlice, port: int | None = 80) -> list[str]:
    return [f"{e.host}:{e.port}" for e in backend(one, *slices, port=port)[0].endpoints]


def web(*ports: ServicePort) -> Service:
    return Service("default", "web", ports)


def test_a_service_port_finds_the_slice_port_of_the_same_name() -> None:
    one = web(ServicePort(80, "http", "named"), ServicePort(81, "admin"))
    pods = replace(slice_of("web", "10.0.0.1"), ports=(SlicePort(9000, "admin"), SlicePort(8080, "http")))
    assert addresses(one, pods) == ["10.0.0.1:8080"]
    assert addresses(one, pods, port=81) == ["10.0.0.1:9000"]


def test_a_hand_written_slice_without_names_is_found_by_the_number_of_the_target() -> None:
    pods = slice_of("web", "10.0.0.1", port=8080)
    assert addresses(web(ServicePort(80, "http", 8080)), pods) == ["10.0.0.1:8080"]
    assert addresses(web(ServicePort(80, "http", 9999)), pods) == []


def test_a_slice_without_ports_takes_the_number_of_the_target() -> None:
    pods = replace(slice_of("web", "10.0.0.1"), ports=())
    assert addresses(web(ServicePort(80, "http", 8080)), pods) == ["10.0.0.1:8080"]
    assert addresses(web(ServicePort(80, "http", "named")), pods) == []


@pytest.mark.parametrize(("ports", "chosen"), [((9080, 80), 80), ((9080, 81), 9080), ((9080,), 9080)])
def test_without_a_port_asked_for_80_is_taken_or_the_first(ports: tuple[int, ...], chosen: int) -> None:
    assert backend(service("web", *ports), port=None)[0].port == chosen


def test_a_service_that_lacks_the_port_is_empty_and_says_so() -> None:
    view, warning = backend(service("web", 9080), slice_of("web", "10.0.0.1"), port=80)
    assert (view.port, view.endpoints, view.is_missing) == (80, (), False)
    assert warning == "Service web.default has no port 80: nothing is sent to it (want 9080)"


def test_a_service_without_declared_ports_takes_any_port() -> None:
    pods = replace(slice_of("web"), ports=(), endpoints=(SliceEndpoint(("10.0.0.1",), port=9001),))
    assert addresses(web(), pods, port=80) == addresses(web(), pods, port=None) == ["10.0.0.1:9001"]


@pytest.mark.parametrize(
    ("ports", "known"), [((), {80}), ((SlicePort(0),), {80}), ((SlicePort(81),), set()),
                         ((SlicePort(81, "a"), SlicePort(82, "b")), {81, 82})]
)  # fmt: skip
def test_where_no_port_is_declared_a_client_has_the_choice_of_the_slice_only(
    ports: tuple[SlicePort, ...], known: set[int]
) -> None:
    pods = replace(slice_of("web", "10.0.0.1"), ports=ports)
    assert endpoints.ports(index(Objects(services=(web(),), slices=(pods,))), "web.default") == known
    reached = {addresses(web(), pods, port=port)[0] for port in known or (None,)}
    assert reached == {f"10.0.0.1:{port}" for port in known or {81}}
    if len(known) < 2:
        assert set(addresses(web(), pods, port=None)) == reached


def test_an_external_name_without_declared_ports_may_be_asked_for_80_only() -> None:
    one = Service("default", "web", external_name="api.example.com")
    assert endpoints.ports(index(Objects(services=(one,))), "web.default") == {80}


def test_endpoints_of_several_slices_are_listed_once_in_the_order_of_slice_names() -> None:
    one, two = slice_of("web", "10.0.0.2", "10.0.0.1"), replace(slice_of("web", "10.0.0.1", "10.0.0.3"), name="web-0")
    expected = ["10.0.0.1:8080", "10.0.0.3:8080", "10.0.0.2:8080"]
    assert addresses(service("web"), one, two) == addresses(service("web"), two, one) == expected


def test_an_external_name_is_one_endpoint_at_the_port_asked_for() -> None:
    one = Service("default", "web", external_name="api.example.com")
    assert addresses(one, port=8443) == ["api.example.com:8443"]
    assert addresses(one, port=None) == ["api.example.com:80"]
    assert addresses(replace(one, ports=(ServicePort(80, "", 9000),)), port=80) == ["api.example.com:9000"]


def test_the_application_protocol_is_that_of_the_service_port() -> None:
    assert backend(web(ServicePort(80, app_protocol="kubernetes.io/h2c")))[0].app_protocol == "kubernetes.io/h2c"


def test_a_service_that_is_not_there_is_a_missing_backend() -> None:
    view, warning = endpoints.backend(index(Objects()), "web.default", "default", None)
    assert (view, warning) == (BackendView("web", "default", is_missing=True), "")
