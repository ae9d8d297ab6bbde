"""HTTPRoute, GRPCRoute and ReferenceGrant of the Gateway API, and Linkerd's HTTPRoute, from nodes.

In: a document and its metadata. Out: an object of `control.gateway`. What is against the API is an error in the report
and drops the object; what the API allows and we do not do is in `Route.unsupported`, so that its status can say so.
Parents that are no Services (Gateways) are none of ours: they are kept for the status and otherwise skipped in silence.
"""

from collections.abc import Iterator
from dataclasses import replace

from milliroute.control.errors import DurationError
from milliroute.control.gateway import BackendRef, GrantTo, ParentRef, ReferenceGrant, Route, RouteKind, Rule
from milliroute.control.manifest import duration, fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.gateway_filters import read_filters
from milliroute.control.manifest.gateway_matches import grpc_matches, http_matches
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.manifest.traffic import MAX_RETRIES, read_traffic
from milliroute.control.traffic import TrafficPolicy

VERSIONS: dict[RouteKind, tuple[str, ...]] = {
    "HTTPRoute": ("v1", "v1beta1"),
    "GRPCRoute": ("v1", "v1alpha2"),
}
GRANT_VERSIONS = ("v1", "v1beta1", "v1alpha2")
LINKERD_GROUP = "policy.linkerd.io"
LINKERD_VERSIONS = ("v1alpha1", "v1beta1", "v1beta2", "v1beta3")

PREFIX = "milliroute.io/"
EMPTY_LEAF = PREFIX + "empty-leaf"
# The API's own bounds.
MAX_WEIGHT = 1_000_000
_BACKOFF_NOTE = "backoff is not obeyed: another endpoint is tried at once, the same one after 25 to 250 ms"


def http_route(node: Fields, metadata: Metadata, report: Report) -> Route | None:
    return _route("HTTPRoute", node, metadata, report)


def grpc_route(node: Fields, metadata: Metadata, report: Report) -> Route | None:
    return _route("GRPCRoute", node, metadata, report)


def reference_grant(node: Fields, metadata: Metadata, report: Report) -> ReferenceGrant | None:
    spec = fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("from", "to"), report)
    froms = tuple(
        (
            fields.text(one, "group", report, default=""),
            fields.text(one, "kind", report),
            fields.dns_label(one, "namespace", report),
        )
        for one in fields.mappings(spec, "from", report)
    )
    tos = tuple(
        GrantTo(
            fields.text(one, "group", report, default=""),
            fields.text(one, "kind", report),
            fields.dns_name(one, "name", report, default=""),
        )
        for one in fields.mappings(spec, "to", report)
    )
    return ReferenceGrant(metadata.namespace, metadata.name, froms, tos, metadata.origin)


def _route(kind: RouteKind, node: Fields, metadata: Metadata, report: Report) -> Route | None:
    spec = fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("parentRefs", "hostnames", "rules", "useDefaultGateways"), report)
    parents = tuple(_parent(one, report) for one in fields.mappings(spec, "parentRefs", report))
    notes = []
    if fields.items(spec, "hostnames", report) and any(parent.is_service for parent in parents):
        notes.append("hostnames mean nothing where a Service is the parent: ignored")
    reader = _Rules(kind, metadata, read_traffic(metadata.annotation_nodes, report), report)
    rules = tuple(reader.read(one) for one in fields.mappings(spec, "rules", report)) or (Rule(),)
    return Route(
        kind=kind,
        namespace=metadata.namespace,
        name=metadata.name,
        parents=parents,
        rules=rules,
        annotations=metadata.annotations,
        created=metadata.created,
        generation=_generation(node),
        group=fields.text(node, "apiVersion", report).partition("/")[0],
        skips_empty=_skips_empty(metadata, report),
        unsupported=tuple(dict.fromkeys(reader.unsupported)),
        notes=tuple(dict.fromkeys([*notes, *reader.notes])),
        origin=metadata.origin,
    )


class _Rules:
    """Reads the rules of one route, and gathers what is not done of them."""

    def __init__(self, kind: RouteKind, metadata: Metadata, policy: TrafficPolicy | None, report: Report) -> None:
        self.unsupported: list[str] = []
        self.notes: list[str] = []
        self._kind = kind
        self._namespace = metadata.namespace
        self._policy = policy
        self._report = report

    def read(self, node: Fields) -> Rule:
        report = self._report
        known = ("name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence")
        fields.only(node, "a rule", known, report)
        matches = http_matches(node, report) if self._kind == "HTTPRoute" else grpc_matches(node, report)
        found = read_filters(node, matches, report)
        self.unsupported += found.unsupported
        if node.get("sessionPersistence") is not None:
            self.unsupported.append("sessionPersistence")
        backends = tuple(self._backend(one) for one in fields.mappings(node, "backendRefs", report))
        if found.filters.redirect and backends:
            report.add(node.nodes["backendRefs"], "backendRefs beside a redirect", len(backends), "none")
        name = fields.text(node, "name", report, default="")
        return Rule(matches, found.filters, backends, self._policy_of(node), name)

    def _backend(self, node: Fields) -> BackendRef:
        report = self._report
        fields.only(node, "a backend", ("group", "kind", "name", "namespace", "port", "weight", "filters"), report)
        found = read_filters(node, (), report, is_backend=True)
        self.unsupported += found.unsupported
        return BackendRef(
            name=fields.dns_name(node, "name", report),
            namespace=fields.dns_label(node, "namespace", report, default=self._namespace) or self._namespace,
            port=_port(node, report) or 0,
            weight=1 if node.get("weight") is None else fields.number(node, "weight", report, low=0, high=MAX_WEIGHT),
            filters=found.filters,
            group=fields.text(node, "group", report, default=""),
            kind=fields.text(node, "kind", report, default="Service"),
        )

    def _policy_of(self, rule: Fields) -> TrafficPolicy | None:
        """The rule's own words beat the route's annotations."""
        policy = self._timeouts(rule, self._policy)
        return policy if rule.get("retry") is None else self._retry(rule, policy or TrafficPolicy())

    def _timeouts(self, rule: Fields, policy: TrafficPolicy | None) -> TrafficPolicy | None:
        if rule.get("timeouts") is None:
            return policy
        report = self._report
        node = fields.optional_fields(rule, "timeouts", report)
        fields.only(node, "timeouts", ("request", "backendRequest"), report)
        policy = policy or TrafficPolicy()
        request, backend = _duration(node, "request", report), _duration(node, "backendRequest", report)
        if request and backend and backend > request:
            report.add(node.nodes["backendRequest"], "backendRequest is longer than request", backend, "at most that")
        if request is not None:
            policy = replace(policy, request_timeout_ms=request)
        return policy if backend is None else replace(policy, try_timeout_ms=backend)

    def _retry(self, rule: Fields, policy: TrafficPolicy) -> TrafficPolicy:
        report = self._report
        node = fields.optional_fields(rule, "retry", report)
        fields.only(node, "retry", ("codes", "attempts", "backoff"), report)
        codes = tuple(_codes(node, report))
        limit = fields.number(node, "attempts", report, low=0, high=1000) if node.get("attempts") is not None else 1
        if limit > MAX_RETRIES:
            self.notes.append(f"retry attempts {limit}: at most {MAX_RETRIES} are made")
        if _duration(node, "backoff", report) is not None:
            self.notes.append(_BACKOFF_NOTE)
        return replace(policy, retry_statuses=codes or policy.retry_statuses, retry_limit=min(limit, MAX_RETRIES))


def _parent(node: Fields, report: Report) -> ParentRef:
    fields.only(node, "a parentRef", ("group", "kind", "namespace", "name", "sectionName", "port"), report)
    return ParentRef(
        name=fields.dns_name(node, "name", report),
        namespace=_optional(node, "namespace"),
        group=_optional(node, "group"),
        kind=_optional(node, "kind"),
        section_name=_optional(node, "sectionName"),
        port=_port(node, report),
    )


def _optional(node: Fields, name: str) -> str | None:
    found = node.get(name)
    return found.text if isinstance(found, Scalar) else None


def _port(node: Fields, report: Report) -> int | None:
    return None if node.get("port") is None else fields.number(node, "port", report, low=1, high=65535)


def _codes(node: Fields, report: Report) -> Iterator[tuple[int, int]]:
    for item in fields.items(node, "codes", report):
        text = item.text if isinstance(item, Scalar) else ""
        if text.isascii() and text.isdigit() and len(text) == 3 and 400 <= int(text) <= 599:
            yield int(text), int(text)
        else:
            report.add(item, "bad code", item, "a status from 400 to 599")


def _duration(node: Fields, name: str, report: Report) -> int | None:
    """Milliseconds; None where nothing is written."""
    found = node.get(name)
    if found is None:
        return None
    try:
        return duration.parse_ms(fields.text(node, name, report))
    except DurationError as error:
        report.add_value(found, name, error)
        return None


def _generation(node: Fields) -> int:
    metadata = node.get("metadata")
    found = metadata.get("generation") if isinstance(metadata, Fields) else None
    return int(found.text) if isinstance(found, Scalar) and found.text.isdecimal() and len(found.text) < 19 else 0


def _skips_empty(metadata: Metadata, report: Report) -> bool:
    """Of our annotations a route may have this one; those about retries and timeouts are read elsewhere."""
    found = False
    for key, node in metadata.annotation_nodes.nodes.items():
        if not key.startswith(PREFIX) or not isinstance(node, Scalar):
            continue
        if key != EMPTY_LEAF:
            report.add(metadata.annotation_nodes.keys.get(key, node), "unknown annotation", repr(key), EMPTY_LEAF)
        elif node.text not in ("strict", "skip"):
            report.add(node, f"bad {key}", node, "strict or skip")
        found = node.text == "skip"
    return found
