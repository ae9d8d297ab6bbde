"""Objects of several files become one whole, each name once.

In: the files in the order in which they count, and the objects of --backend. Out: Objects. Of two objects with one
kind, namespace and name the first wins, and the file of the second is shown as broken with both positions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milliroute.control.gateway import GROUP as GATEWAY_GROUP
from milliroute.control.gateway import ReferenceGrant, Route
from milliroute.control.model import (
    AccessObject,
    EndpointSlice,
    HTTPRouteGroup,
    InForce,
    KubeObject,
    Objects,
    Service,
    SourceStatus,
    TrafficSplit,
)


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it counts: the objects in force, None when it never had any good version, and what is wrong with its
    newest content."""

    path: str
    objects: tuple[KubeObject, ...] | None = ()
    errors: tuple[str, ...] = ()


def merge(files: Iterable[FileState], backends: Sequence[tuple[Service, EndpointSlice]] = ()) -> Objects:
    """One whole. A --backend beats the endpoints that files give its Service, as flags beat files."""
    first: dict[tuple[str, str, str], KubeObject] = {}
    statuses: list[SourceStatus] = []
    for file in files:
        errors = file.errors + tuple(_taken(file, first))
        statuses.append(SourceStatus(file.path, _in_force(file, errors), errors))
    flagged = {(service.namespace, service.name) for service, _ in backends}
    services = [found for found in first.values() if isinstance(found, Service)]
    declared = {(service.namespace, service.name) for service in services}
    slices = [
        found
        for found in first.values()
        if isinstance(found, EndpointSlice) and (found.namespace, found.service) not in flagged
    ]
    return Objects(
        splits=tuple(found for found in first.values() if isinstance(found, TrafficSplit)),
        route_groups=tuple(found for found in first.values() if isinstance(found, HTTPRouteGroup)),
        services=(*services, *(s for s, _ in backends if (s.namespace, s.name) not in declared)),
        slices=(*slices, *(one for _, one in backends)),
        access=tuple(found for found in first.values() if isinstance(found, AccessObject)),
        routes=tuple(found for found in first.values() if isinstance(found, Route)),
        grants=tuple(found for found in first.values() if isinstance(found, ReferenceGrant)),
        sources=tuple(statuses),
    )


def _in_force(file: FileState, errors: Sequence[str]) -> InForce:
    if file.errors:
        return "nothing" if file.objects is None else "last good"
    return "rest" if errors else "newest"


def _taken(file: FileState, first: dict[tuple[str, str, str], KubeObject]) -> Iterable[str]:
    """Take the objects whose name is free; a line for each one whose name is not."""
    for found in file.objects or ():
        kind = _kind(found)
        known = first.setdefault((kind, found.namespace, found.name), found)
        if known is not found:
            what = f"{kind} {found.namespace}/{found.name}"
            yield f"{found.origin}: {what} is there already (saw it at {known.origin}, want each once): ignored"


def _kind(found: KubeObject) -> str:
    """As its author calls it; Linkerd's HTTPRoute is another kind than the Gateway API's."""
    if isinstance(found, Route):
        return found.kind if found.group == GATEWAY_GROUP else f"{found.kind}.{found.group}"
    return type(found).__name__
