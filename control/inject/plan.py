"""What changes in one object, and why not: the whole decision, as values.

In: an object and what the operator wants. Out: a Plan of edits. Two ways to inject: `annotate` (the webhook adds the
proxy later) and `mesh` (the proxy is written into the object); a Namespace is only marked. `unmesh` takes it all away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from milliroute.control.inject import annotations, containers, marks, workloads
from milliroute.control.inject.annotations import INJECT, LINKERD_INJECT
from milliroute.control.inject.edits import Edit, Insert, Object, Path, at
from milliroute.control.inject.marks import WAS_EMPTY, Written
from milliroute.control.inject.settings import Settings
from milliroute.control.inject.workloads import Workload

CREATED_BY = "milliroute.io/created-by"
PROXY_VERSION = "milliroute.io/proxy-version"
_OURS = frozenset({INJECT, CREATED_BY, PROXY_VERSION, WAS_EMPTY})

# Sidecars that catch a pod's traffic too; two of them would each catch what the other sends.
_SIDECARS = frozenset({containers.PROXY, "linkerd-proxy", "istio-proxy"})
_NAMES = frozenset({containers.PROXY, containers.INIT, containers.VOLUME})
METADATA: Path = ("metadata",)


@dataclass(frozen=True, slots=True)
class Plan:
    """`edits` (): the object stays as it is. `skipped`: why, "" for a kind that has no pods."""

    edits: tuple[Edit, ...] = ()
    skipped: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """`config`: what the operator says for all workloads, under the annotations' names; their own beat it.

    `default`: for a workload that says nothing of itself; "" leaves it alone.
    """

    settings: Settings
    created_by: str
    config: Mapping[str, str]
    default: Literal["enabled", "ingress", ""] = "enabled"


def annotate(thing: Object, wish: Wish, written: Written) -> Plan:
    """The annotation alone. Raises ValueTextError for annotations with a bad value."""
    mark = wish.default or "enabled"
    if workloads.is_namespace(thing):
        return _mark_namespace(thing, mark, written)
    pod = workloads.workload(thing)
    if pod is None:
        return Plan()
    if reason := _why_not(pod):
        return Plan(skipped=reason)
    settings, warnings = _settings(wish, pod)
    warnings = (*warnings, *_warnings(pod, settings))
    if annotations.inject_of(pod.annotations):
        return Plan(skipped="it says so already", warnings=warnings)
    path = (*pod.template, "metadata", "annotations")
    said = {name: text for name, text in _as_annotations(wish.config).items() if name not in pod.annotations}
    return Plan(marks.added(thing, path, {path: {INJECT: mark, **said}}, written), "", warnings)


def mesh(thing: Object, wish: Wish, written: Written | None = None) -> Plan:
    """The proxy itself. Raises ValueTextError for annotations with a bad value."""
    if workloads.is_namespace(thing):
        return _mark_namespace(thing, wish.default or "enabled", written) if written else Plan()
    pod = workloads.workload(thing)
    if pod is None:
        return Plan()
    reason = _why_not(pod)
    if not reason and not (annotations.inject_of(pod.annotations) or wish.default):
        reason = "neither it nor its namespace asks for a proxy"
    if reason:
        return Plan(skipped=reason)
    settings, warnings = _settings(wish, pod)
    said = {CREATED_BY: wish.created_by, PROXY_VERSION: settings.version}
    path = (*pod.template, "metadata", "annotations")
    wanted: dict[Path, Mapping[str, object] | list[Object]] = {
        path: {name: text for name, text in said.items() if name not in pod.annotations}
    }
    inserts = []
    for key, items, at_end in _lists(pod, settings):
        if at(pod.spec, (key,)):
            inserts.append(Insert((*pod.spec_path, key), items, at_end))
        else:
            wanted[(*pod.spec_path, key)] = list(items)
    edits = (*marks.added(thing, path, wanted, written), *inserts)
    return Plan(edits, "", (*warnings, *_warnings(pod, settings)))


def _lists(pod: Workload, settings: Settings) -> Iterator[tuple[str, tuple[Object, ...], bool]]:
    """Native: both containers first, so that other init containers have the network. Classic: the rules come last of
    the init containers, because no proxy runs before the application's own containers do."""
    rules, proxy = containers.init(settings), containers.proxy(settings, pod.name)
    if settings.is_native:
        yield "initContainers", (rules, proxy), False
    else:
        yield "initContainers", (rules,), True
        yield "containers", (proxy,), False
    yield "volumes", (containers.volume(),), False


def _mark_namespace(thing: Object, mark: str, written: Written | None) -> Plan:
    """The annotation says it, and the label is what the webhook's selector sees."""
    paths = ((*METADATA, "annotations"), (*METADATA, "labels"))
    if annotations.inject_of(workloads.texts(at(thing, paths[0]))):
        return Plan(skipped="it says so already")
    labels = workloads.texts(at(thing, paths[1]))
    wanted: dict[Path, Mapping[str, object] | list[Object]] = {
        path: {INJECT: mark} for path in paths if path == paths[0] or INJECT not in labels
    }
    return Plan(marks.added(thing, paths[0], wanted, written))


def unmesh(thing: Object) -> Plan:
    """What `mesh` or `annotate` brought goes. Where a proxy is written in, what the object asked for itself stays; so
    does "disabled"."""
    if workloads.is_namespace(thing):
        paths = ((*METADATA, "annotations"), (*METADATA, "labels"))
        keys = {path: _OURS - _kept(workloads.texts(at(thing, path))) for path in paths}
        return _taken(marks.taken(thing, paths[0], keys, {}), "")
    pod = workloads.workload(thing)
    if pod is None:
        return Plan()
    path = (*pod.template, "metadata", "annotations")
    kept = {INJECT} if CREATED_BY in pod.annotations else _kept(pod.annotations)
    names = {(*pod.spec_path, key): _NAMES for key in ("initContainers", "containers", "volumes")}
    edits = marks.taken(thing, path, {path: _OURS - kept}, names)
    asking = {name for name in (INJECT, LINKERD_INJECT) if pod.annotations.get(name) in ("enabled", "ingress")}
    return _taken(edits, next(iter(sorted(asking & {LINKERD_INJECT, *kept})), ""))


def _kept(annotations: Mapping[str, str]) -> frozenset[str]:
    return frozenset({INJECT}) if annotations.get(INJECT) == "disabled" else frozenset()


def _taken(edits: tuple[Edit, ...], asking: str) -> Plan:
    warnings = (f"{asking} still asks the webhook for a proxy",) if asking else ()
    return Plan(edits, "" if edits else "nothing of ours in it", warnings)


def _why_not(pod: Workload) -> str:
    """Raises ValueTextError."""
    if annotations.inject_of(pod.annotations) == "disabled":
        return "disabled by its annotation"
    names = {str(container.get("name")) for container in pod.all_containers()}
    if found := sorted(_SIDECARS & names):
        return f"it has {found[0]} already"
    if pod.spec.get("hostNetwork") is True:
        return "hostNetwork: its traffic is the node's"
    return ""


def _settings(wish: Wish, pod: Workload) -> tuple[Settings, tuple[str, ...]]:
    named = pod.named_ports()
    settings, _ = annotations.configured(wish.settings, _as_annotations(wish.config), named)
    settings, warnings = annotations.configured(settings, pod.annotations, named)
    is_ingress = (annotations.inject_of(pod.annotations) or wish.default) == "ingress"
    return replace(settings, is_ingress=is_ingress), warnings


def _as_annotations(config: Mapping[str, str]) -> dict[str, str]:
    return {annotations.CONFIG + name: text for name, text in config.items()}


def _warnings(pod: Workload, settings: Settings) -> tuple[str, ...]:
    udp = sorted({str(port.get("containerPort")) for port in pod.ports() if port.get("protocol") == "UDP"})
    found = [f"UDP is not redirected: port {', '.join(udp)} bypasses the proxy"] if udp else []
    if pod.kind in ("Job", "CronJob") and not settings.is_native:
        found.append("a classic sidecar never ends, so the Job never completes; want a native one")
    users = {at(one, ("securityContext", "runAsUser")) for one in (pod.spec, *pod.all_containers())}
    if settings.uid in users:
        found.append(f"a container runs as user {settings.uid}, the proxy's: what it sends bypasses the proxy")
    return tuple(found)
