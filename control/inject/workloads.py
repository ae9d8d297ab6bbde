"""Where an object of each kind describes its pods, and what of a pod matters to a proxy beside it.

In: an object, with values of any shape. Out: a Workload, or None for kinds without pods.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from milliroute.control.inject.edits import Object, Path, at

TEMPLATES: Mapping[str, Path] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
# Kinds of the same name elsewhere are not Kubernetes' own.
_GROUPS = {"", "apps", "batch", "extensions"}


@dataclass(frozen=True, slots=True)
class Workload:
    """`name`: of what the pods belong to, or "". `template`: the path of what has the pods' metadata
    and spec. `annotations` are the pods' own."""

    kind: str
    name: str
    template: Path
    annotations: Mapping[str, str]
    spec: Object

    @property
    def spec_path(self) -> Path:
        return (*self.template, "spec")

    def containers(self, key: str) -> list[Object]:
        """Those under `containers` or `initContainers`."""
        found = self.spec.get(key)
        return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []

    def all_containers(self) -> list[Object]:
        return [*self.containers("initContainers"), *self.containers("containers")]

    def named_ports(self) -> dict[str, int]:
        """What an annotation may call a port by."""
        return {
            str(port["name"]): number
            for port in self.ports()
            if "name" in port and isinstance(number := port.get("containerPort"), int)
        }

    def ports(self) -> list[Object]:
        found = [port for container in self.all_containers() for port in _items(container.get("ports"))]
        return [port for port in found if isinstance(port, Mapping)]


def workload(thing: Object) -> Workload | None:
    """None: nothing that makes pods, or no pod in it."""
    group = str(thing.get("apiVersion", "")).rpartition("/")[0]
    kind = thing.get("kind")
    if not isinstance(kind, str) or kind not in TEMPLATES or group not in _GROUPS:
        return None
    template = TEMPLATES[kind]
    spec = at(thing, (*template, "spec"))
    if not isinstance(spec, Mapping) or not _items(spec.get("containers")):
        return None
    return Workload(kind, _name(thing, kind), template, texts(at(thing, (*template, "metadata", "annotations"))), spec)


def is_namespace(thing: Object) -> bool:
    return thing.get("kind") == "Namespace" and thing.get("apiVersion") == "v1"


def _name(thing: Object, kind: str) -> str:
    metadata = at(thing, ("metadata",))
    if not isinstance(metadata, Mapping):
        return ""
    owner = at(metadata, ("ownerReferences", 0))
    if kind != "Pod" or not isinstance(owner, Mapping):
        return str(metadata.get("name") or "")
    # A Deployment owns its pods by ReplicaSets, whose names end in a hash that the pods have as a label.
    digest = texts(metadata.get("labels")).get("pod-template-hash", "")
    return str(owner.get("name", "")).removesuffix(f"-{digest}")


def is_known(thing: Object) -> bool:
    """Whether there may be something to do about it."""
    return is_namespace(thing) or workload(thing) is not None


def title(thing: Object) -> str:
    """As kubectl names it: deployment/web."""
    metadata = at(thing, ("metadata",))
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else None
    return f"{str(thing.get('kind', 'document')).lower()}/{name or '?'}"


def texts(value: object) -> dict[str, str]:
    """Annotations or labels; what YAML took for something else than a text is no annotation."""
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, Mapping) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
