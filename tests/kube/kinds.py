"""Which kinds are served, at which versions: the built-in table, and what CustomResourceDefinitions add to it.

In: a CRD object; out: Kind values by (group, version, plural). Versions of one resource share their objects; the stored
object carries no version of its own, `Kind.present` writes the one that was asked for (conversion None).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.kube.errors import Object

Resource = tuple[str, str]  # group, plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """lax: may be updated without a resourceVersion. upserts: an update of what is not there creates it."""

    group: str
    version: str
    plural: str
    name: str
    singular: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    has_status: bool = False
    has_generation: bool = False
    lax: bool = True
    upserts: bool = False
    schema: Object | None = None
    columns: tuple[Object, ...] = ()
    custom: bool = field(default=False)

    @property
    def resource(self) -> Resource:
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def present(self, stored: Object) -> Object:
        return {**stored, "apiVersion": self.api_version, "kind": self.name}


def _kind(group_version: str, plural: str, name: str, short: str = "", flags: str = "") -> Kind:
    """flags: c cluster-scoped, s status, g generation, v needs a resourceVersion, u upserts."""
    group, _, version = group_version.rpartition("/")
    return Kind(
        group=group, version=version, plural=plural, name=name, singular=name.lower(), short_names=tuple(short.split()),
        namespaced="c" not in flags, has_status="s" in flags, has_generation="g" in flags, lax="v" not in flags,
        upserts="u" in flags,
    )  # fmt: skip


CRD = _kind("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", "crd crds", "csgv")
NAMESPACE = _kind("v1", "namespaces", "Namespace", "ns", "cs")
BUILTIN = [
    NAMESPACE,
    CRD,
    _kind("v1", "services", "Service", "svc", "su"),
    _kind("v1", "endpoints", "Endpoints", "ep", "u"),
    _kind("v1", "pods", "Pod", "po", "sg"),
    _kind("v1", "nodes", "Node", "no", "cs"),
    _kind("v1", "configmaps", "ConfigMap", "cm"),
    _kind("v1", "secrets", "Secret"),
    _kind("v1", "serviceaccounts", "ServiceAccount", "sa"),
    _kind("v1", "events", "Event", "ev", "u"),
    _kind("events.k8s.io/v1", "events", "Event", "ev"),
    _kind("apps/v1", "deployments", "Deployment", "deploy", "sg"),
    _kind("apps/v1", "replicasets", "ReplicaSet", "rs", "sg"),
    _kind("apps/v1", "statefulsets", "StatefulSet", "sts", "sg"),
    _kind("apps/v1", "daemonsets", "DaemonSet", "ds", "sg"),
    _kind("batch/v1", "jobs", "Job", "", "sg"),
    _kind("batch/v1", "cronjobs", "CronJob", "cj", "sg"),
    _kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", "", "g"),
    _kind("coordination.k8s.io/v1", "leases", "Lease", "", "vu"),
    _kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    _kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    _kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", "", "c"),
    _kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", "", "c"),
    _kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "sg"),
    _kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", "netpol", "g"),
    _kind("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "", "cg"),
    _kind(
        "admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "", "cg"
    ),
]


class Kinds:
    """The kinds that are served now. It changes with CRDs."""

    def __init__(self) -> None:
        self._served = {(kind.group, kind.version, kind.plural): kind for kind in BUILTIN}

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._served.values()))

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._served.get((group, version, plural))

    def of(self, api_version: str, name: str) -> Kind | None:
        """By the two words at the top of a manifest."""
        return next(
            (kind for kind in self._served.values() if (kind.api_version, kind.name) == (api_version, name)), None
        )

    def forget(self, resource: Resource) -> None:
        for key in [key for key, kind in self._served.items() if kind.resource == resource]:
            del self._served[key]

    def learn(self, crd: Object) -> None:
        """crd: a whole CustomResourceDefinition; what was known of its resource is replaced."""
        for kind in of_definition(crd):
            self._served[kind.group, kind.version, kind.plural] = kind


def of_definition(crd: Object) -> list[Kind]:
    spec, names = crd["spec"], crd["spec"]["names"]
    return [
        Kind(
            group=spec["group"], version=version["name"], plural=names["plural"], name=names["kind"],
            singular=names.get("singular") or names["kind"].lower(), short_names=tuple(names.get("shortNames") or ()),
            namespaced=spec["scope"] == "Namespaced", has_status="status" in (version.get("subresources") or {}),
            has_generation=True, lax=False, custom=True,
            schema=(version.get("schema") or {}).get("openAPIV3Schema"),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )
        for version in spec["versions"] if version.get("served")
    ]  # fmt: skip
