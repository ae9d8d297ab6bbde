"""What is served, as clients ask for it: groups and resources, each in the old form and in the aggregated one."""

from tests.kube.errors import Object, no_such_path
from tests.kube.kinds import Kind, Kinds

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION: Object = {
    "major": "1", "minor": "32", "gitVersion": "v1.32.0-stand-in", "gitCommit": "", "gitTreeState": "clean",
    "buildDate": "2024-12-11T17:59:15Z", "goVersion": "go1.23", "compiler": "gc", "platform": "linux/amd64",
}  # fmt: skip
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]


def core() -> Object:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(kinds: Kinds) -> Object:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(kinds, name) for name in _groups(kinds)]}


def group(kinds: Kinds, name: str) -> Object:
    if name not in _groups(kinds):
        raise no_such_path()
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _groups(kinds)[name]]
    head = {"kind": "APIGroup", "apiVersion": "v1", "name": name}
    return {**head, "versions": versions, "preferredVersion": versions[0]}


def _groups(kinds: Kinds) -> dict[str, list[str]]:
    """Versions by group; the core is not one. Newest and most stable first."""
    found: dict[str, list[str]] = {"authorization.k8s.io": ["v1"]}
    for kind in kinds:
        if kind.group and kind.version not in found.setdefault(kind.group, []):
            found[kind.group].append(kind.version)
    return {name: sorted(versions, key=_priority, reverse=True) for name, versions in found.items()}


def _priority(version: str) -> tuple[bool, bool, str]:
    """v2 over v1 over v1beta1 over v1alpha4."""
    return "alpha" not in version and "beta" not in version, "beta" in version, version


def resources(kinds: Kinds, name: str, version: str) -> Object:
    found = [kind for kind in kinds if (kind.group, kind.version) == (name, version)]
    if not found and (name, version) != ("authorization.k8s.io", "v1"):
        raise no_such_path()
    group_version = f"{name}/{version}" if name else version
    listed = [item for kind in found for item in _entries(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _entries(kind: Kind) -> list[Object]:
    entry: Object = {
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.name,
        "verbs": _VERBS,
    }  # fmt: skip
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    status = {"name": f"{kind.plural}/status", "singularName": "", "namespaced": kind.namespaced, "kind": kind.name}
    return [entry, *([{**status, "verbs": _STATUS_VERBS}] if kind.has_status else [])]


def aggregated(kinds: Kinds, is_core: bool) -> Object:
    names = {"": ["v1"]} if is_core else _groups(kinds)
    items = [
        {
            "metadata": {"name": name} if name else {"creationTimestamp": None},
            "versions": [_version(kinds, name, version) for version in versions],
        }
        for name, versions in names.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _version(kinds: Kinds, name: str, version: str) -> Object:
    found = [kind for kind in kinds if (kind.group, kind.version) == (name, version)]
    return {"version": version, "freshness": "Current", "resources": [_aggregated(kind) for kind in found]}


def _aggregated(kind: Kind) -> Object:
    type_name = {"group": kind.group, "version": kind.version, "kind": kind.name}
    entry: Object = {
        "resource": kind.plural, "responseKind": type_name, "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular, "verbs": _VERBS,
    }  # fmt: skip
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.has_status:
        entry["subresources"] = [{"subresource": "status", "responseKind": type_name, "verbs": _STATUS_VERBS}]
    return entry
