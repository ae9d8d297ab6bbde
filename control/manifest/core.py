"""Service and EndpointSlice of Kubernetes, from nodes; fields that say nothing about routing are not looked at."""

import ipaddress
from collections.abc import Iterator

from milliroute.control.addresses import plain
from milliroute.control.manifest import fields
from milliroute.control.manifest.encryption import read_tls
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.health import read_health
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.manifest.opaque import OPAQUE, OpaquePorts, read_opaque
from milliroute.control.manifest.rate_limit import read_rate_limit
from milliroute.control.manifest.traffic import read_accrual, read_traffic
from milliroute.control.model import EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")


def service(node: Fields, metadata: Metadata, report: Report) -> Service:
    """A v1 Service; a name with a dot is an error, as Kubernetes has it."""
    spec = fields.optional_fields(node, "spec", report)
    if "." in metadata.name:
        report.add(node, "bad name of a Service", repr(metadata.name), "a DNS label, without dots")
    external = ""
    if fields.text(spec, "type", report, default="") == "ExternalName":
        external = fields.dns_name(spec, "externalName", report)
    ports = tuple(_service_ports(spec, read_opaque(metadata.annotation_nodes, report), report))
    # What cluster certificates have; without the cluster's domain, which nobody here knows.
    default_sni = external or f"{metadata.name}.{metadata.namespace}.svc"
    return Service(
        namespace=metadata.namespace,
        name=metadata.name,
        ports=ports,
        external_name=external,
        annotations=metadata.annotations,
        policy=read_traffic(metadata.annotation_nodes, report),
        accrual=read_accrual(metadata.annotation_nodes, report),
        health=read_health(metadata.annotation_nodes, report),
        tls=read_tls(metadata.annotation_nodes, [p.app_protocol for p in ports], default_sni, report),
        origin=metadata.origin,
        selector=tuple(sorted(fields.texts(spec, "selector", report).items())),
        cluster_ips=tuple(dict.fromkeys(_cluster_ips(spec, report))),
        rate_limit=read_rate_limit(metadata.annotation_nodes, report),
    )


def _service_ports(spec: Fields, opaque: OpaquePorts, report: Report) -> Iterator[ServicePort]:
    for node in fields.mappings(spec, "ports", report):
        if _is_tcp(node, report):
            port = fields.number(node, "port", report, low=1, high=65535)
            name = fields.text(node, "name", report, default="")
            protocol = fields.text(node, "appProtocol", report, default="")
            yield ServicePort(
                port=port,
                name=name,
                target_port=_target_port(node, report),
                app_protocol=OPAQUE if opaque.has(port, name) else protocol,
            )


def _cluster_ips(spec: Fields, report: Report) -> Iterator[str]:
    """Both families; a headless Service has none."""
    listed = fields.items(spec, "clusterIPs", report)
    single = spec.get("clusterIP")
    for node in dict.fromkeys([*([single] if single is not None else []), *listed]):
        text = node.text if isinstance(node, Scalar) else ""
        if _is_address(text, "IPv6" if ":" in text else "IPv4"):
            yield plain(text)
        elif text not in ("", "None"):
            report.add(node, "bad clusterIP", repr(text), "an address, or None")


def _is_tcp(node: Fields, report: Report) -> bool:
    return fields.text(node, "protocol", report, default="TCP") in ("TCP", "")


def _target_port(node: Fields, report: Report) -> int | str:
    written = fields.text(node, "targetPort", report, default="")
    if not written.isdecimal():
        return written or 0
    return fields.number(node, "targetPort", report, low=1, high=65535)


def endpoint_slice(node: Fields, metadata: Metadata, report: Report) -> EndpointSlice:
    """A discovery.k8s.io EndpointSlice with its ready endpoints only."""
    address_type = fields.text(node, "addressType", report)
    if address_type and address_type not in _ADDRESS_TYPES:
        report.add(node.nodes["addressType"], "bad addressType", repr(address_type), " or ".join(_ADDRESS_TYPES))
    name = metadata.labels.get(SERVICE_NAME_LABEL, "")
    if not name:
        report.add(node, f"missing label {SERVICE_NAME_LABEL}", "nothing", "the name of its Service")
    ports = tuple(_slice_ports(node, report))
    endpoints = tuple(_endpoints(node, address_type, report))
    return EndpointSlice(metadata.namespace, metadata.name, name, address_type, ports, endpoints, metadata.origin)


def _slice_ports(node: Fields, report: Report) -> Iterator[SlicePort]:
    for found in fields.mappings(node, "ports", report):
        if _is_tcp(found, report):
            is_any = found.get("port") is None
            yield SlicePort(
                port=0 if is_any else fields.number(found, "port", report, low=1, high=65535),
                name=fields.text(found, "name", report, default=""),
                app_protocol=fields.text(found, "appProtocol", report, default=""),
            )


def _endpoints(node: Fields, address_type: str, report: Report) -> Iterator[SliceEndpoint]:
    for found in fields.mappings(node, "endpoints", report):
        addresses = tuple(_addresses(found, address_type, report))
        if _is_ready(found, report):
            yield SliceEndpoint(addresses, labels=tuple(_labels(found, report)))


def _is_ready(node: Fields, report: Report) -> bool:
    """Unset means ready (the API's words: "unknown state ... in most cases consumers should interpret it as ready")."""
    conditions = fields.optional_fields(node, "conditions", report)
    is_ready = fields.flag(conditions, "ready", report, default=True)
    return is_ready and not fields.flag(conditions, "terminating", report, default=False)


def _addresses(node: Fields, address_type: str, report: Report) -> Iterator[str]:
    listed = fields.items(node, "addresses", report)
    if not listed:
        report.add(node, "endpoint without addresses", "none", "at least one address")
    for item in listed:
        if isinstance(item, Scalar) and _is_address(item.text, address_type):
            yield item.text
        else:
            report.add(item, "bad address", item, f"an address of type {address_type or 'IPv4'}")


def _is_address(text: str, address_type: str) -> bool:
    if address_type == "FQDN":
        return bool(text) and not text.startswith("-") and all(c.isalnum() or c in ".-_" for c in text)
    try:
        return ipaddress.ip_address(text).version == (6 if address_type == "IPv6" else 4)
    except ValueError:
        return False


def _labels(node: Fields, report: Report) -> Iterator[tuple[str, str]]:
    target = fields.optional_fields(node, "targetRef", report)
    if fields.text(target, "kind", report, default="") == "Pod":
        yield "pod", fields.text(target, "name", report, default="")
    zone = fields.text(node, "zone", report, default="")
    if zone:
        yield "zone", zone
