"""`--backend NAME[.NS]=HOST:PORT[,HOST:PORT...]`: a Service with its endpoints, without any YAML.

In: the text of the flag. Out: a Service without declared ports, so it answers to any, and an EndpointSlice whose
endpoints have a port each. Host names are allowed and left to the proxy to resolve; IPv6 addresses stand in
brackets.
"""

import ipaddress
import re

from milliroute.control import names
from milliroute.control.errors import AuthorityError, ConfigError
from milliroute.control.model import EndpointSlice, Origin, Service, SliceEndpoint

_WANT = "NAME=HOST:PORT[,HOST:PORT...] such as reviews-v1=127.0.0.1:9001"
_SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?\Z")


def backend_objects(spec: str) -> tuple[Service, EndpointSlice]:
    """What a --backend stands for. Raises ConfigError."""
    name, equals, rest = spec.partition("=")
    if not equals or not _SERVICE.match(name):
        raise ConfigError(f"--backend: bad name (saw {spec!r}, want {_WANT})")
    service, namespace = names.canonical(name, names.DEFAULT_NAMESPACE).split(".")
    endpoints = tuple(_endpoint(address.strip(), spec) for address in rest.split(","))
    hosts = [endpoint.addresses[0] for endpoint in endpoints]
    origin = Origin(f"--backend {spec}")
    return (
        Service(namespace, service, origin=origin),
        EndpointSlice(namespace, service, service, _address_type(hosts), (), endpoints, origin),
    )


def _endpoint(address: str, spec: str) -> SliceEndpoint:
    try:
        # The grammar of an authority, but a bare name is a host here: "x" only fills the namespace that is cut off.
        host, port = names.split_port(names.canonical(address, "x"))
    except AuthorityError as error:
        raise ConfigError(f"--backend {spec}: {error}") from None
    if port is None:
        raise ConfigError(f"--backend {spec}: missing port (saw {address!r}, want {_WANT})")
    if not host.startswith("["):
        host = address.rpartition(":")[0].lower().removesuffix(".")
    return SliceEndpoint((host.strip("[]"),), port)


def _address_type(hosts: list[str]) -> str:
    try:
        versions = {ipaddress.ip_address(host).version for host in hosts}
    except ValueError:
        return "FQDN"
    return "IPv6" if versions == {6} else "IPv4"
