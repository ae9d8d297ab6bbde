"""The metadata that every object has: namespace, name, creation time, labels, annotations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from milliroute.control.manifest import fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields
from milliroute.control.model import Origin
from milliroute.control.names import DEFAULT_NAMESPACE


@dataclass(frozen=True, slots=True)
class Metadata:
    """`created` is in unix seconds, 0 where nothing is written; `annotation_nodes` is for errors in them."""

    namespace: str
    name: str
    created: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    annotation_nodes: Fields
    origin: Origin


def read_metadata(node: Fields, report: Report) -> Metadata:
    """The metadata of an object; what is wrong with it is in the report, and the object is dropped then."""
    found = fields.fields(node.get("metadata"), "metadata", node, report) or Fields({}, node.line, node.column)
    is_there = bool(found.nodes)
    return Metadata(
        namespace=fields.dns_label(found, "namespace", report, default=DEFAULT_NAMESPACE) or DEFAULT_NAMESPACE,
        name=fields.dns_name(found, "name", report, default=None if is_there else ""),
        created=_created(found, report),
        labels=fields.texts(found, "labels", report),
        annotations=fields.texts(found, "annotations", report),
        annotation_nodes=fields.optional_fields(found, "annotations", report),
        origin=report.origin(node),
    )


def _created(metadata: Fields, report: Report) -> float:
    written = fields.text(metadata, "creationTimestamp", report, default="")
    if not written:
        return 0.0
    try:
        moment = datetime.fromisoformat(written)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        at = metadata.nodes["creationTimestamp"]
        report.add(at, "bad creationTimestamp", repr(written), "RFC 3339 such as 2026-01-31T12:00:00Z")
        return 0.0
