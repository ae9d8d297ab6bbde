"""The annotations about TLS to a Service's endpoints, from YAML to what a proxy is told."""

import pytest

from milliroute.control import encoding, endpoints
from milliroute.control.hub import Stamp
from milliroute.control.index import index
from milliroute.control.model import UpstreamTls
from milliroute.control.views import AuthorityView, RouteView, SplitView
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import decode_response
from milliroute.proxy.state import TlsState

from .building import errors, objects

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: reviews
  namespace: shop
  annotations: {{{annotations}}}
spec:
  ports:
  - {{port: 443, appProtocol: {protocol}}}
  - {{port: 80, appProtocol: http}}
"""
CA, SNI = "milliroute.io/upstream-ca", "milliroute.io/upstream-sni"


def text(annotations: str = "", protocol: str = "https") -> str:
    return SERVICE.format(annotations=annotations, protocol=protocol)


@pytest.mark.parametrize("protocol", ["https", "HTTPS", "kubernetes.io/wss"])
def test_a_port_that_says_https_is_spoken_to_by_tls_and_the_others_are_not(protocol: str) -> None:
    found = index(objects(text(protocol=protocol)))
    tls = {port: endpoints.backend(found, "reviews.shop", "shop", port)[0].tls for port in (443, 80)}
    assert tls == {443: UpstreamTls("reviews.shop.svc"), 80: None}


def test_the_annotations_say_whom_to_believe_and_whom_to_ask_for() -> None:
    (service,) = objects(text(f"{CA}: /etc/tls/ca.pem, {SNI}: reviews.example.com")).services
    assert service.tls == UpstreamTls("reviews.example.com", "/etc/tls/ca.pem")


def test_an_external_name_is_asked_for_by_that_name() -> None:
    spec = "{type: ExternalName, externalName: api.example.com, ports: [{port: 443, appProtocol: https}]}"
    (service,) = objects(f"apiVersion: v1\nkind: Service\nmetadata: {{name: api}}\nspec: {spec}\n").services
    assert service.tls == UpstreamTls("api.example.com")


@pytest.mark.parametrize(
    ("annotations", "complaint"),
    [
        (f"{CA}: ca.pem", "bad milliroute.io/upstream-ca (saw 'ca.pem', want an absolute path"),
        (f'{CA}: ""', "bad milliroute.io/upstream-ca"),
        (f'{CA}: "/a\\nb"', "bad milliroute.io/upstream-ca"),
        (
            f"{SNI}: '*.example.com'",
            "bad milliroute.io/upstream-sni (saw '*.example.com', want a host name or an address)",
        ),
        (f'{SNI}: ""', "bad milliroute.io/upstream-sni"),
        (f"{SNI}: .example.com", "bad milliroute.io/upstream-sni"),
        (
            "milliroute.io/upstream-cert: /a",
            "unknown annotation (saw 'milliroute.io/upstream-cert', want milliroute.io/",
        ),
    ],
)
def test_a_bad_annotation_is_an_error(annotations: str, complaint: str) -> None:
    (error,) = errors(text(annotations))
    assert error.startswith("f.yaml:6:")
    assert complaint in error


@pytest.mark.parametrize("sni", ["10.0.0.1", "'::1'", "a_b.example.com", "Reviews.Example"])
def test_a_name_may_be_whatever_a_certificate_may_have(sni: str) -> None:
    (service,) = objects(text(f"{SNI}: {sni}")).services
    assert service.tls == UpstreamTls(sni.strip("'"))


def test_an_annotation_without_a_port_that_speaks_tls_is_an_error() -> None:
    (error,) = errors(text(f"{CA}: /ca.pem", "http"))
    assert "milliroute.io/upstream-ca without TLS (saw no such port, want a port with appProtocol: https)" in error


def test_what_is_said_arrives_at_the_proxy() -> None:
    found = index(objects(text(f"{CA}: /ca.pem")))
    view, _ = endpoints.backend(found, "reviews.shop", "shop", 443)
    routes = (RouteView(SplitView("", ())),)
    sent = encoding.state(Stamp("reviews.shop", "e", 1, 0), AuthorityView("reviews", "shop", (view,), routes))
    offer, _ = decode_response(sent, 0)
    assert isinstance(offer, Offer)
    assert offer.update.state is not None
    assert offer.update.state.backends[0].tls == TlsState("reviews.shop.svc", "/ca.pem")
