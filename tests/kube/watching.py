"""A watch as a value: where it begins, what it says first, and which event a change is to it.

In: the query of a watch, changes of the store; out: events. Pure; `streams` writes them.
"""

from collections.abc import Mapping

from tests.kube import errors
from tests.kube.errors import ApiError, Object
from tests.kube.kinds import Kind
from tests.kube.paging import whole
from tests.kube.selectors import selector
from tests.kube.store import Change, Store

_END = {"k8s.io/initial-events-end": "true"}


class Watch:
    """position: the version up to which everything was told."""

    def __init__(self, store: Store, kind: Kind, namespace: str, query: Mapping[str, str], name: str = "") -> None:
        fields = ",".join(filter(None, (query.get("fieldSelector", ""), f"metadata.name={name}" if name else "")))
        self._test = selector(query.get("labelSelector", ""), fields)
        self._store, self._kind, self._namespace = store, kind, namespace
        self._query = query
        self.has_bookmarks = query.get("allowWatchBookmarks", "") in ("1", "true", "True")
        self.timeout_s = whole(query, "timeoutSeconds")
        self._is_streaming = self._streaming()
        asked = whole(query, "resourceVersion")
        self._has_first = self._is_streaming or (asked == 0 and query.get("sendInitialEvents") != "false")
        self.position = store.version if asked == 0 or self._is_streaming else asked
        if self._is_streaming and asked > store.version:
            raise errors.too_large(asked, store.version)

    def first(self) -> list[Object]:
        """What is there already, for a watch that begins without a version; to be called at once."""
        if not self._has_first:
            return []
        found = [self._event("ADDED", value) for (space, _), value in self._items() if self._is_here(space)]
        if self._is_streaming and self.has_bookmarks:
            found.append(self.bookmark(_END))
        return found

    def next(self) -> list[Object]:
        """The events since the last call. Raises 410 when the history does not reach back so far."""
        changes = self._store.since(self.position)
        self.position = max(self.position, self._store.version)
        return [event for change in changes if (event := self._of(change)) is not None]

    def bookmark(self, annotations: Mapping[str, str] | None = None) -> Object:
        metadata: Object = {"resourceVersion": str(self.position), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = dict(annotations)
        return self._event("BOOKMARK", {"metadata": metadata})

    def _items(self) -> list[tuple[tuple[str, str], Object]]:
        items = self._store.items(self._kind.resource)
        return [item for item in items if self._test is None or self._test(item[1])]

    def _is_here(self, namespace: str) -> bool:
        return self._namespace in ("", namespace)

    def _of(self, change: Change) -> Object | None:
        if change.resource != self._kind.resource or not self._is_here(change.key[0]):
            return None
        was = change.before is not None and self._is_selected(change.before)
        now = change.after is not None and self._is_selected(change.after)
        if now and change.after is not None:
            return self._event("MODIFIED" if was else "ADDED", change.after)
        if was and change.before is not None:
            # What leaves, as it was, under the version at which it left.
            metadata = change.before["metadata"] | {"resourceVersion": str(change.version)}
            return self._event("DELETED", {**change.before, "metadata": metadata})
        return None

    def _is_selected(self, value: Object) -> bool:
        return self._test is None or self._test(value)

    def _event(self, word: str, value: Object) -> Object:
        return {"type": word, "object": self._kind.present(value)}

    def _streaming(self) -> bool:
        """sendInitialEvents, and what must come with it."""
        asks, match = self._query.get("sendInitialEvents", ""), self._query.get("resourceVersionMatch", "")
        if match and not asks:
            raise _options("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if asks and match != "NotOlderThan":
            raise _options("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        return asks in ("1", "true", "True")


def _options(what: str) -> ApiError:
    return errors.invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", f"Forbidden: {what}")])


def error_event(error: ApiError) -> Object:
    return {"type": "ERROR", "object": error.status()}
