"""Objects of all kinds under one rising version, and the last changes, as etcd keeps them for the API server.

In: puts and removals; out: objects, changes since a version, the state at an older version. The rule: what is stored is
never changed in place; everything given out is shared and must be copied before it is edited.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.kube import errors
from tests.kube.errors import Object
from tests.kube.kinds import Resource

Key = tuple[str, str]  # namespace ("" when the kind has none), name

# Far from 1, so that nobody mistakes it for a count.
FIRST_VERSION = 1000
# More than a test makes by accident; the real one keeps five minutes.
HISTORY_CHANGES = 5000


@dataclass(frozen=True, slots=True)
class Change:
    """before is None for a creation, after for a removal."""

    version: int
    resource: Resource
    key: Key
    before: Object | None
    after: Object | None


class Store:
    def __init__(self, history_changes: int = HISTORY_CHANGES) -> None:
        self.version = FIRST_VERSION
        # Changes after this version are known.
        self.horizon = FIRST_VERSION
        self._objects: dict[Resource, dict[Key, Object]] = {}
        self._changes: deque[Change] = deque()
        self._history_changes = history_changes
        self.listeners: set[Callable[[], None]] = set()

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self._objects.get(resource, {}).get(key)

    def put(self, resource: Resource, key: Key, value: Object) -> Object:
        """Stores it under the next version, which is written into it."""
        stored = {**value, "metadata": {**value["metadata"], "resourceVersion": str(self.version + 1)}}
        before = self.get(resource, key)
        self._objects.setdefault(resource, {})[key] = stored
        self._changed(Change(self.version + 1, resource, key, before, stored))
        return stored

    def remove(self, resource: Resource, key: Key) -> None:
        before = self._objects[resource].pop(key)
        self._changed(Change(self.version + 1, resource, key, before, None))

    def items(self, resource: Resource, version: int | None = None) -> list[tuple[Key, Object]]:
        """By key; version: as it was then. Raises 410 when that is forgotten, 504 when it is still to come."""
        objects = dict(self._objects.get(resource, {}))
        if version is not None:
            self._check(version)
            for change in reversed(self._changes):
                if change.version <= version:
                    break
                if change.resource == resource:
                    _undo(objects, change)
        return sorted(objects.items())

    def since(self, version: int) -> list[Change]:
        """The changes after version, oldest first. Raises 410 when some of them are forgotten."""
        if version < self.horizon:
            raise errors.too_old(version, self.horizon)
        newest: list[Change] = []
        for change in reversed(self._changes):
            if change.version <= version:
                break
            newest.append(change)
        return newest[::-1]

    def expire(self) -> None:
        """Forgets the history. A change elsewhere goes with it, so that every version given out before is too old."""
        self.version += 1
        self.horizon = self.version
        self._changes.clear()

    def _check(self, version: int) -> None:
        if version < self.horizon:
            raise errors.too_old(version, self.horizon)
        if version > self.version:
            raise errors.too_large(version, self.version)

    def _changed(self, change: Change) -> None:
        self.version = change.version
        self._changes.append(change)
        if len(self._changes) > self._history_changes:
            self.horizon = self._changes.popleft().version
        for listener in list(self.listeners):
            listener()


def _undo(objects: dict[Key, Object], change: Change) -> None:
    if change.before is None:
        objects.pop(change.key, None)
    else:
        objects[change.key] = change.before
