"""What the server does to an object on its way in: identity, generation, status kept apart from the rest, defaults.

In: a kind, the object as sent, the stored one (for a change), the time as text; out: the object to store. Pure; what is
refused is an ApiError in the words of the real server.
"""

import re
import uuid
from copy import deepcopy

from tests.kube import errors, schema
from tests.kube.errors import Object
from tests.kube.kinds import CRD, NAMESPACE, Kind
from tests.kube.store import Key

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
# What the server writes and a client cannot.
_SERVER_WRITES = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
)


def named(kind: Kind, namespace: str, sent: Object) -> Object:
    """A copy whose type, namespace and name are settled; what contradicts the path is a 400."""
    value = deepcopy(sent)
    if kind.custom and not value.get("kind"):
        raise errors.bad_request("Object 'Kind' is missing in the request body")
    for word, wanted in (("apiVersion", kind.api_version), ("kind", kind.name)):
        if value.setdefault(word, wanted) != wanted:
            raise errors.bad_request(
                f"the {word} in the data ({value[word]}) does not match the expected {word} ({wanted})"
            )
    metadata = value["metadata"] = value.get("metadata") or {}
    if metadata.get("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if kind.namespaced:
        metadata["namespace"] = namespace
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
    if not metadata.get("name"):
        raise errors.invalid(
            kind.name, kind.group, "", [("metadata.name", "Required value: name or generateName is required")]
        )
    return value


def key_of(kind: Kind, namespace: str, name: str) -> Key:
    return (namespace if kind.namespaced else "", name)


def created(kind: Kind, value: Object, now: str) -> Object:
    """A named object as it is stored first."""
    metadata = {name: item for name, item in value["metadata"].items() if name not in _SERVER_WRITES}
    if metadata.get("resourceVersion"):
        raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
    if kind.has_generation:
        metadata["generation"] = 1
    return {name: item for name, item in value.items() if not (kind.has_status and name == "status")} | {
        "metadata": metadata
    }


def changed(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """A named object as it replaces old: only the status by /status, anything else but it otherwise."""
    kept = {name: old["metadata"][name] for name in _SERVER_WRITES if name in old["metadata"]}
    metadata = {name: item for name, item in new["metadata"].items() if name not in _SERVER_WRITES} | kept
    if subresource == "status":
        metadata = old["metadata"] | {"managedFields": new["metadata"].get("managedFields", [])}
        value = {**old, "metadata": metadata}
        return {**value, "status": new["status"]} if "status" in new else _without_status(value)
    value = {**new, "metadata": metadata}
    if kind.has_status:
        value = _without_status(value) | ({"status": old["status"]} if "status" in old else {})
    if kind.has_generation and _described(kind, old) != _described(kind, value):
        metadata["generation"] = old["metadata"].get("generation", 0) + 1
    return value


def _without_status(value: Object) -> Object:
    return {name: item for name, item in value.items() if name != "status"}


def _described(kind: Kind, value: Object) -> Object:
    """What counts for the generation."""
    outside = {"metadata", "apiVersion", "kind", *(("status",) if kind.has_status else ())}
    return {name: item for name, item in value.items() if name not in outside}


def validated(kind: Kind, value: Object, strictness: str) -> Object:
    """With defaults and without unknown fields; strictness is the fieldValidation of the request."""
    name = value["metadata"]["name"]
    if not _NAME.match(name) and not kind.group.startswith("rbac"):
        what = f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case letters, digits'
        raise errors.invalid(kind.name, kind.group, name, [("metadata.name", what)])
    if kind.schema is None:
        return value
    pruned, unknown = schema.prune(kind.schema, value)
    if unknown and strictness == "Strict":
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise errors.bad_request(f"strict decoding error: {listed}")
    if faults := schema.check(kind.schema, pruned):
        raise errors.invalid(kind.name, kind.group, name, faults)
    found: Object = pruned
    return found


def defaulted(kind: Kind, value: Object, old: Object | None, taken: int) -> Object:
    """What the server fills in for the built-in kinds that matter here; taken: how many addresses were given out."""
    if kind.resource == NAMESPACE.resource:
        labels = (value["metadata"].get("labels") or {}) | {"kubernetes.io/metadata.name": value["metadata"]["name"]}
        value = {**value, "metadata": value["metadata"] | {"labels": labels}, "status": {"phase": "Active"}}
        value.setdefault("spec", {"finalizers": ["kubernetes"]})
    if kind.resource == CRD.resource:
        value = {**value, "status": _accepted(value)}
    if (kind.group, kind.name) == ("", "Service"):
        value = {**value, "spec": _service(value.get("spec") or {}, (old or {}).get("spec") or {}, taken)}
        value.setdefault("status", {"loadBalancer": {}})
    return value


def _service(spec: Object, old: Object, taken: int) -> Object:
    spec = {"type": "ClusterIP", "sessionAffinity": "None", **spec}
    ports = [{"protocol": "TCP", "targetPort": port.get("port"), **port} for port in spec.get("ports") or []]
    if ports:
        spec["ports"] = ports
    if spec["type"] != "ExternalName":
        address = spec.get("clusterIP") or old.get("clusterIP") or f"10.96.{taken // 250 + 1}.{taken % 250 + 1}"
        spec |= {"clusterIP": address, "clusterIPs": [address]}
    return spec


def _accepted(crd: Object) -> Object:
    stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": crd["metadata"]["creationTimestamp"],
        }
        for kind, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
    ]
    return {"acceptedNames": crd["spec"]["names"], "storedVersions": stored, "conditions": conditions}
