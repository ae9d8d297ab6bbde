"""The hub: the newest state of each authority, to each watcher that asked for it.

Snapshots come in; Publications go out, one slot per watcher and key. A watcher that is slow finds the newest
publication in its slot and never an older one; what it skipped is counted. A publication is serialised once, when its
key changed, and the same bytes go to every watcher.

The one rule: version numbers of a key only rise. A key takes the version of the snapshot that last changed it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from milliroute.control.views import AuthorityView

# One entry is about 200 bytes beside the shared payload. A proxy that is asked for random names by its clients must
# not grow the service without bound; a real workload talks to some dozens of authorities.
MAX_KEYS_PER_WATCHER = 4096


class State(Protocol):
    """What the hub needs of a snapshot.Snapshot."""

    version: int
    is_partial: bool
    consumers: Mapping[str, frozenset[str]]  # equal while no name means another key by its client's namespace

    def key_of(self, asked: str, namespace: str) -> str: ...

    def dialled_key(self, asked: str, namespace: str) -> str: ...

    def view(self, key: str) -> AuthorityView | None: ...

    def version_of(self, key: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells two publications apart; it is part of the payload."""

    key: str
    epoch: str
    version: int
    published_unix_ns: int
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """The whole state of one authority, serialised."""

    stamp: Stamp
    payload: bytes


# Injected, so that this module knows no wire format. None is an authority that does not exist.
Serializer = Callable[[Stamp, AuthorityView | None], bytes]


class TooManyKeysError(Exception):
    """A watcher already holds MAX_KEYS_PER_WATCHER keys."""


class Watcher:
    """One subscriber. Made by Hub.watcher(); one task takes from it, any may subscribe."""

    __slots__ = ("_hub", "_keys", "_pending", "_wake", "wakes_on_snapshots")

    def __init__(self, hub: "Hub") -> None:
        # Also on those that change no key of this watcher. Off, because it costs every stream a turn of the loop.
        self.wakes_on_snapshots = False
        self._hub = hub
        self._keys: set[str] = set()
        self._pending: dict[str, Publication] = {}
        self._wake = asyncio.Event()

    def subscribe(self, key: str) -> Publication:
        """Put the current state of `key` into its slot at once, also when it was subscribed before.

        Raises TooManyKeysError.
        """
        if key not in self._keys and len(self._keys) >= MAX_KEYS_PER_WATCHER:
            raise TooManyKeysError(f"a watcher may hold {MAX_KEYS_PER_WATCHER} keys")
        self._keys.add(key)
        publication = self._hub._attach(key, self)
        self._pending[key] = publication
        self.wake()
        return publication

    def unsubscribe(self, key: str) -> None:
        """Forget `key` and what waits in its slot; nothing happens when it is not subscribed."""
        if key in self._keys:
            self._keys.discard(key)
            self._pending.pop(key, None)
            self._hub._detach(key, self)

    def take(self) -> Publication | None:
        """The publication that waits longest, or None."""
        if not self._pending:
            return None
        return self._pending.pop(next(iter(self._pending)))

    async def wait(self) -> None:
        """Return once wake() was called since the last wait(); a publication calls it."""
        await self._wake.wait()
        self._wake.clear()

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Leave the hub; idempotent."""
        for key in tuple(self._keys):
            self.unsubscribe(key)
        self._hub._watchers.discard(self)

    def _put(self, publication: Publication) -> bool:
        """Fill the slot; True when an older publication was replaced. The slot keeps its turn."""
        was_waiting = publication.stamp.key in self._pending
        self._pending[publication.stamp.key] = publication
        self.wake()
        return was_waiting


class _Topic:
    """A key that somebody watches. Dropped with its last watcher, so unknown names leave nothing behind."""

    __slots__ = ("publication", "view", "watchers")

    def __init__(self, view: AuthorityView | None, publication: Publication) -> None:
        self.view = view
        self.publication = publication
        # A dict for its order: watchers are served in the order in which they came.
        self.watchers: dict[Watcher, None] = {}


class Hub:
    """Owns the latest snapshot and the topics. All methods belong to the event loop's thread."""

    def __init__(self, epoch: str, snapshot: State, serialize: Serializer, now_unix_ns: Callable[[], int]) -> None:
        self.epoch = epoch
        self.publications_total = 0
        self.replaced_total = 0
        self._serialize = serialize
        self._now_unix_ns = now_unix_ns
        self._snapshot = snapshot
        self._topics: dict[str, _Topic] = {}
        self._watchers: set[Watcher] = set()

    @property
    def snapshot(self) -> State:
        return self._snapshot

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def watcher(self) -> Watcher:
        watcher = Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def current(self, key: str) -> Publication | None:
        """What is published for `key`, None when nobody watches it."""
        topic = self._topics.get(key)
        return topic.publication if topic else None

    def publish(self, snapshot: State) -> int:
        """Make `snapshot` the current one and hand every changed key to its watchers; returns how many changed."""
        is_moved = snapshot.consumers != self._snapshot.consumers
        self._snapshot = snapshot
        changed = 0
        for key, topic in self._topics.items():
            view = snapshot.view(key)
            if view == topic.view and snapshot.is_partial == topic.publication.stamp.is_partial:
                continue
            changed += 1
            topic.view = view
            topic.publication = self._publication(key, view)
            self.replaced_total += sum(watcher._put(topic.publication) for watcher in topic.watchers)
        for watcher in self._watchers:
            if is_moved or watcher.wakes_on_snapshots:
                watcher.wake()
        return changed

    def _publication(self, key: str, view: AuthorityView | None) -> Publication:
        self.publications_total += 1
        # A name that does not exist was last changed nobody knows when; this version is not below any sent before.
        version = self._snapshot.version if view is None else self._snapshot.version_of(key)
        stamp = Stamp(key, self.epoch, version, self._now_unix_ns(), self._snapshot.is_partial)
        return Publication(stamp, self._serialize(stamp, view))

    def _attach(self, key: str, watcher: Watcher) -> Publication:
        topic = self._topics.get(key)
        if topic is None:
            view = self._snapshot.view(key)
            topic = self._topics[key] = _Topic(view, self._publication(key, view))
        topic.watchers[watcher] = None
        return topic.publication

    def _detach(self, key: str, watcher: Watcher) -> None:
        topic = self._topics[key]
        topic.watchers.pop(watcher, None)
        if not topic.watchers:
            del self._topics[key]
