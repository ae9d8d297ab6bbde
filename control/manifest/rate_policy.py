"""Linkerd's HTTPLocalRateLimitPolicy, from nodes.

In: a document and its metadata. Out: an object of the model, its rates with the burst of one second. The rule not to
break: what is not understood is an error and never ignored.
"""

from collections.abc import Iterator

from milliroute.control.manifest import fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields
from milliroute.control.manifest.policy_linkerd import reference
from milliroute.control.manifest.rate_limit import MAX_REQUESTS
from milliroute.control.model import HTTPLocalRateLimitPolicy, Rate, RateOverride

_PER_SECOND = "requestsPerSecond"


def rate_limit_policy(node: Fields, metadata: Metadata, report: Report) -> HTTPLocalRateLimitPolicy | None:
    """None or errors in the report when it is not valid."""
    spec = fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("targetRef", "total", "identity", "overrides"), report)
    target = fields.fields(spec.get("targetRef"), "targetRef", spec, report)
    server = reference(target, ("Server",), metadata.namespace, report) if target is not None else None
    if server is not None and server.namespace != metadata.namespace:
        report.add(spec, "a target in another namespace", repr(server.namespace), metadata.namespace)
    total, client = _rate(spec, "total", report), _rate(spec, "identity", report)
    overrides = tuple(_overrides(spec, metadata.namespace, report))
    if total is None and client is None and not overrides:
        report.add(spec, "no rate", "nothing", "total, identity or overrides")
    for rate in (client, *(override.rate for override in overrides)):
        if total is not None and rate is not None and rate.requests > total.requests > 0:
            report.add(spec, "a client's rate above the total", rate.requests, f"at most {total.requests}")
    if server is None:
        return None
    return HTTPLocalRateLimitPolicy(
        metadata.namespace, metadata.name, server.name, total, client, overrides, metadata.origin
    )


def _overrides(spec: Fields, namespace: str, report: Report) -> Iterator[RateOverride]:
    for node in fields.mappings(spec, "overrides", report):
        fields.only(node, "an override", (_PER_SECOND, "clientRefs"), report)
        accounts = tuple(
            reference(ref, ("ServiceAccount",), namespace, report)
            for ref in fields.mappings(node, "clientRefs", report)
        )
        if not accounts:
            report.add(node.nodes.get("clientRefs", node), "no clientRefs", "none", "a list of ServiceAccounts")
        yield RateOverride(accounts, _per_second(node, report))


def _rate(spec: Fields, name: str, report: Report) -> Rate | None:
    if spec.get(name) is None:
        return None
    node = fields.fields(spec.get(name), name, spec, report)
    if node is None:
        return None
    fields.only(node, name, (_PER_SECOND,), report)
    return _per_second(node, report)


def _per_second(node: Fields, report: Report) -> Rate:
    number = fields.number(node, _PER_SECOND, report, low=1, high=MAX_REQUESTS)
    return Rate(number, 1000, number)
