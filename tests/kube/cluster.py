"""The verbs of the API on objects: get, create, update, patch, delete. Pure but for the store it owns.

In: a kind, a place, JSON as sent and the options of the request; out: the object as it is now, presented at the kind's
version, or an ApiError. A write that changes nothing makes no version and no event, as the real server's does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.kube import applying, errors, fields, intake, patches
from tests.kube.errors import Object
from tests.kube.kinds import CRD, NAMESPACE, Kind, Kinds
from tests.kube.shapes import keys_of
from tests.kube.store import Store

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of one write. strictness is its fieldValidation."""

    manager: str = "unknown"
    force: bool = False
    is_dry_run: bool = False
    subresource: str = ""
    strictness: str = ""


PLAIN = Options()


class Cluster:
    """clock: the time as the API writes it."""

    def __init__(self, store: Store, clock: Callable[[], str]) -> None:
        self.store = store
        self.kinds = Kinds()
        self._clock = clock
        self._addresses = 0
        for name in NAMESPACES:
            self.create(NAMESPACE, "", {"metadata": {"name": name}}, Options(manager="kube-apiserver"))

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return kind.present(self._stored(kind, namespace, name))

    def create(self, kind: Kind, namespace: str, sent: Object, options: Options = PLAIN) -> Object:
        self._check_namespace(kind, namespace)
        value = intake.named(kind, namespace, sent)
        name = value["metadata"]["name"]
        if self.store.get(kind.resource, intake.key_of(kind, namespace, name)) is not None:
            raise errors.already_exists(kind.plural, kind.group, name)
        value = intake.validated(kind, intake.created(kind, value, self._clock()), options.strictness)
        value = fields.tracked(kind, None, value, options.manager, "", self._clock())
        return self._put(kind, namespace, None, value, options)

    def update(self, kind: Kind, namespace: str, name: str, sent: Object, options: Options = PLAIN) -> Object:
        value = intake.named(kind, namespace, {**sent, "metadata": {"name": name} | (sent.get("metadata") or {})})
        if value["metadata"]["name"] != name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        old = self.store.get(kind.resource, intake.key_of(kind, namespace, name))
        if old is None and kind.upserts and not options.subresource:
            return self.create(kind, namespace, value, options)
        self._check_precondition(kind, self._stored(kind, namespace, name), value, kind.lax)
        return self._change(kind, namespace, name, value, options)

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Callable[[Kind, Object], Object], options: Options
    ) -> Object:
        """patch: the object as presented to the patched one; its own metadata may demand a version."""
        old = self._stored(kind, namespace, name)
        value = intake.named(kind, namespace, patch(kind, kind.present(old)))
        self._check_precondition(kind, old, value, is_lax=True)
        return self._change(kind, namespace, name, value, options)

    def apply(self, kind: Kind, namespace: str, name: str, sent: Object, options: Options) -> tuple[Object, bool]:
        """Server-side apply; the second is whether the object is new."""
        value = intake.named(kind, namespace, {**sent, "metadata": {"name": name} | (sent.get("metadata") or {})})
        old = self.store.get(kind.resource, intake.key_of(kind, namespace, name))
        if old is None:
            self._check_namespace(kind, namespace)
            value["metadata"].pop("managedFields", None)
            fresh = intake.validated(kind, intake.created(kind, value, self._clock()), options.strictness)
            fresh["metadata"]["managedFields"] = [
                applying.entry(kind, applying.set_of(kind, value), options.manager, options.subresource, self._clock())
            ]
            return self._put(kind, namespace, None, fresh, options), True
        self._check_precondition(kind, old, value, is_lax=True)
        if kind.schema is not None:
            intake.validated(kind, _merged_type(old, value), options.strictness)
        merged = applying.applied(
            kind, kind.present(old), value, options.manager, options.force, options.subresource, self._clock()
        )
        return self._change(kind, namespace, name, merged, options, is_tracked=True), False

    def delete(self, kind: Kind, namespace: str, name: str, sent: Object, is_dry_run: bool = False) -> Object:
        """A Status when it is gone, the object while finalizers hold it."""
        old = self._stored(kind, namespace, name)
        for word, path in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted, found = (sent.get("preconditions") or {}).get(word), old["metadata"][word]
            if wanted not in (None, found):
                why = f"the {path} in the precondition ({wanted}) does not match the {path} in record ({found})"
                raise errors.conflict(kind.plural, kind.group, name, why)
        if old["metadata"].get("finalizers"):
            stamped = {
                **old,
                "metadata": {"deletionGracePeriodSeconds": 0, "deletionTimestamp": self._clock()} | old["metadata"],
            }
            return kind.present(old if is_dry_run or stamped == old else self._store(kind, namespace, name, stamped))
        if not is_dry_run:
            self._remove(kind, namespace, name, old)
        details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": old["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def put(self, sent: Object) -> Object:
        """Create or replace, whatever stands there; for tests. The namespace is made as needed."""
        kind = self.kinds.of(sent["apiVersion"], sent["kind"])
        if kind is None:
            raise errors.no_such_path()
        namespace = sent["metadata"].get("namespace", "default") if kind.namespaced else ""
        if namespace and self.store.get(NAMESPACE.resource, ("", namespace)) is None:
            self.create(NAMESPACE, "", {"metadata": {"name": namespace}})
        name, options = sent["metadata"]["name"], Options(manager="put")
        if self.store.get(kind.resource, intake.key_of(kind, namespace, name)) is None:
            value = self.create(kind, namespace, sent, options)
        else:
            value = self.patch(kind, namespace, name, lambda *_: _unversioned(sent), options)
        if "status" in sent and kind.has_status:
            status = Options(manager="put", subresource="status")
            value = self.patch(kind, namespace, name, lambda _, old: {**old, "status": sent["status"]}, status)
        return value

    def _stored(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.store.get(kind.resource, intake.key_of(kind, namespace, name))
        if found is None:
            raise errors.not_found(kind.plural, kind.group, name)
        return found

    def _check_namespace(self, kind: Kind, namespace: str) -> None:
        if kind.namespaced and self.store.get(NAMESPACE.resource, ("", namespace)) is None:
            raise errors.not_found("namespaces", "", namespace)

    def _check_precondition(self, kind: Kind, old: Object, new: Object, is_lax: bool) -> None:
        name, metadata = old["metadata"]["name"], new["metadata"]
        if not metadata.get("resourceVersion"):
            if not is_lax:
                what = [("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")]
                raise errors.invalid(kind.name, kind.group, name, what)
        elif metadata["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.plural, kind.group, name)
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            found = old["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {found}"
            raise errors.conflict(kind.plural, kind.group, name, why)

    def _change(
        self, kind: Kind, namespace: str, name: str, value: Object, options: Options, is_tracked: bool = False
    ) -> Object:
        old = self._stored(kind, namespace, name)
        value = intake.changed(kind, kind.present(old), value, options.subresource)
        value = intake.validated(kind, value, options.strictness)
        if not is_tracked:
            value = fields.tracked(kind, old, value, options.manager, options.subresource, self._clock())
        value["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return self._put(kind, namespace, old, value, options)

    def _put(self, kind: Kind, namespace: str, old: Object | None, value: Object, options: Options) -> Object:
        value = intake.defaulted(kind, value, old, self._addresses)
        if options.is_dry_run or (old is not None and fields.is_same(kind.present(old), value)):
            return kind.present(value if options.is_dry_run or old is None else old)
        metadata = value["metadata"]
        if old is not None and metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._remove(kind, namespace, metadata["name"], old)
            return kind.present(value)
        self._addresses += kind.plural == "services"
        stored = self._store(kind, namespace, metadata["name"], value)
        if kind.resource == CRD.resource:
            self.kinds.forget((value["spec"]["group"], value["spec"]["names"]["plural"]))
            self.kinds.learn(value)
        return kind.present(stored)

    def _store(self, kind: Kind, namespace: str, name: str, value: Object) -> Object:
        return self.store.put(kind.resource, intake.key_of(kind, namespace, name), value)

    def _remove(self, kind: Kind, namespace: str, name: str, old: Object) -> None:
        if kind.resource == CRD.resource:
            resource = (old["spec"]["group"], old["spec"]["names"]["plural"])
            for key, _ in self.store.items(resource):
                self.store.remove(resource, key)
            self.kinds.forget(resource)
        if kind.resource == NAMESPACE.resource:
            for resource in {other.resource for other in self.kinds if other.namespaced}:
                for key, _ in self.store.items(resource):
                    if key[0] == name:
                        self.store.remove(resource, key)
        self.store.remove(kind.resource, intake.key_of(kind, namespace, name))


def _unversioned(value: Object) -> Object:
    metadata = {name: item for name, item in value["metadata"].items() if name not in ("resourceVersion", "uid")}
    return {**value, "metadata": metadata}


def _merged_type(old: Object, new: Object) -> Object:
    return patches.merge_objects(old, new)


def patcher(content_type: str, body: Any) -> Callable[[Kind, Object], Object]:
    """The patch of a request, by its content type; 415 when it is none that is known."""
    match content_type:
        case "application/json-patch+json" if isinstance(body, list):
            return lambda kind, old: patches.json_patch(old, body)
        case "application/merge-patch+json":
            return lambda kind, old: patches.merge_objects(old, body)
        case "application/strategic-merge-patch+json":
            return _strategic(body)
    message = f"the body of the request was in an unknown format: {content_type}"
    raise errors.ApiError(415, "UnsupportedMediaType", message)


def _strategic(body: Object) -> Callable[[Kind, Object], Object]:
    def apply(kind: Kind, old: Object) -> Object:
        if kind.custom:
            raise errors.ApiError(415, "UnsupportedMediaType", "strategic merge patch is not supported for this kind")
        return patches.strategic_objects(old, body, keys_of(kind, strategic=True))

    return apply
