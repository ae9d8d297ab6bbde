"""What this proxy watches and what it knows of each: the agent's book of authorities, keys and versions.

In: questions of workers, answers of the control service, Applied of workers. Out: what to tell the workers, and
verdicts (Accepted, Refused) for the control service. Pure. The rule: within an epoch a version never goes back, and a
version is in force only when every live worker said so; until then, or when one refuses it, the old one stays.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from milliroute.proxy.ipc import Alias, Applied, Update

# Every authority costs a slot here, in each worker and in the control service; a client must not be able to fill them.
MAX_WATCHED = 4096
# How many of the oldest are looked at for an unknown one when room must be made: bounds the work per new name.
EVICTION_LOOKS = 64
# A name the control service does not know is dropped this long after it was last asked for.
UNKNOWN_KEPT_S = 60.0
# An address that an app dialled is dropped this long after it was last used; Linkerd's inbound cache has the same.
IDLE_KEPT_S = 90.0
# RFC 1035 section 3.1: 255 octets for a name; the rest is for a port.
MAX_AUTHORITY_CHARS = 264


@dataclass(frozen=True, slots=True)
class Offer:
    """One version of one key as received; times are unix nanoseconds. is_partial: its service has not read all of its
    sources yet, so it may not know better than the one before it did."""

    update: Update
    published_unix_ns: int = 0
    received_unix_ns: int = 0
    is_from_disk: bool = False
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    key: str
    epoch: str
    version: int
    applied_unix_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    key: str
    epoch: str
    version: int
    reason: str


Verdict = Accepted | Refused


class Novelty(Enum):
    NEW = "new"  # tell the workers
    SAME = "same"  # known already: the verdict, if there is one, holds for this stream too
    STALE = "stale"  # older than what is known: ignore it
    KEPT = "kept"  # from a service that has just begun and does not know all yet: what is known is better


@dataclass(slots=True)
class Entry:
    """What is known of one key. newest is never older than in_force; verdict belongs to newest.

    propagation_ns: from publishing to in force, of the last change; a first table was published before we asked for it.
    """

    newest: Offer
    in_force: Offer | None = None
    applied_unix_ns: int = 0
    propagation_ns: int | None = None
    verdict: Verdict | None = None
    answers: dict[int, Applied] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        return self.in_force is not None and self.in_force.update.state is not None


@dataclass(slots=True)
class Wanted:
    """One authority as clients write it; key "" until it is resolved."""

    asked_s: float
    is_pinned: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class WatchOutcome:
    """is_new: subscribe to it. evicted: what made room for it. is_refused: no room, and nothing to evict."""

    is_new: bool = False
    is_refused: bool = False
    evicted: tuple[str, ...] = ()


class Catalog:
    """Who calls it: the agent only. now_s is a monotonic clock in seconds."""

    def __init__(self, max_watched: int = MAX_WATCHED) -> None:
        self.entries: dict[str, Entry] = {}
        self.wanted: dict[str, Wanted] = {}
        self._names: dict[str, dict[str, None]] = {}  # by key, in order of asking
        self._max_watched = max_watched

    def watch(self, authority: str, now_s: float, *, is_pinned: bool = False) -> WatchOutcome:
        """A client named it, or (pinned) a listener is for it: a pinned one is never evicted."""
        if wanted := self.wanted.pop(authority, None):
            # To the end: the order of the dict is that of asking.
            wanted.asked_s = now_s
            self.wanted[authority] = wanted
            return WatchOutcome()
        if len(authority) > MAX_AUTHORITY_CHARS:
            return WatchOutcome(is_refused=True)
        evicted: tuple[str, ...] = ()
        if len(self.wanted) >= self._max_watched and not is_pinned:
            oldest = self._to_evict()
            if oldest is None:
                return WatchOutcome(is_refused=True)
            self.forget(oldest)
            evicted = (oldest,)
        self.wanted[authority] = Wanted(now_s, is_pinned)
        return WatchOutcome(is_new=True, evicted=evicted)

    def resolve(self, authority: str, key: str, *, is_partial: bool = False) -> bool:
        """Whether this is news for the workers; an answer to a question nobody asked (any more) is not. is_partial: as
        in Offer."""
        wanted = self.wanted.get(authority)
        if wanted is None or wanted.key == key or (is_partial and self.is_answered(authority)):
            return False
        before = wanted.key
        self._unname(authority, before)
        wanted.key = key
        self._names.setdefault(key, {})[authority] = None
        if before not in self._names:
            self.entries.pop(before, None)
        return True

    def offer(self, offer: Offer) -> Novelty:
        """A version from the control service or the disk; of a key that is not wanted (any more) it is stale."""
        update = offer.update
        if update.key not in self._names:
            return Novelty.STALE
        entry = self.entries.get(update.key)
        if entry is None:
            self.entries[update.key] = Entry(offer)
            return Novelty.NEW
        known = entry.newest.update
        if offer.is_partial and known.epoch != update.epoch and known.state is not None:
            return Novelty.KEPT
        if known.epoch == update.epoch and update.version < known.version:
            return Novelty.STALE
        if known.epoch == update.epoch and update.version == known.version:
            if entry.in_force is entry.newest:
                entry.in_force = offer
            entry.newest = offer
            return Novelty.SAME
        entry.newest, entry.verdict, entry.answers = offer, None, {}
        return Novelty.NEW

    def applied(self, worker_id: int, message: Applied, live: Collection[int]) -> Verdict | None:
        """The verdict, when this answer completes it; None while others are awaited, and for old versions."""
        entry = self.entries.get(message.key)
        if entry is None:
            return None
        newest = entry.newest.update
        if (message.epoch, message.version) != (newest.epoch, newest.version) or entry.verdict is not None:
            return None
        entry.answers[worker_id] = message
        return _settle(entry, live)

    def worker_gone(self, live: Collection[int]) -> list[Verdict]:
        """Verdicts that only waited for a worker that is no more."""
        open_entries = [entry for entry in self.entries.values() if entry.verdict is None]
        return [verdict for entry in open_entries if (verdict := _settle(entry, live)) is not None]

    def replay(self) -> Iterator[Alias | Update]:
        """All a new worker must know, tables first, so that no alias names a key it has no table for."""
        for entry in self.entries.values():
            if (update := entry_update(entry)) is not None:
                yield update
        for authority, wanted in self.wanted.items():
            if wanted.key:
                yield Alias(authority, wanted.key)

    def replay_one(self, authority: str) -> Iterator[Alias | Update]:
        """The same for one authority, for a worker that asks for what the others know already."""
        wanted = self.wanted.get(authority)
        if wanted is None or not wanted.key:
            return
        if (entry := self.entries.get(wanted.key)) and (update := entry_update(entry)) is not None:
            yield update
        yield Alias(authority, wanted.key)

    def expire(self, now_s: float) -> list[str]:
        """Drops the unknown authorities not asked for lately, and returns them."""
        old = [name for name in self._unknown() if now_s - self.wanted[name].asked_s >= UNKNOWN_KEPT_S]
        for name in old:
            self.forget(name)
        return old

    def touch(self, key: str, now_s: float) -> None:
        """Requests were counted under this key; those of the pod's own ports without the labels that end it."""
        for authority in (*self.authorities_of(key), key):
            if authority in self.wanted:
                self.watch(authority, now_s)

    def expire_idle(self, now_s: float) -> list[str]:
        """The same for known ones that nobody uses: in a sidecar, where each address that an app has ever dialled
        would stay."""
        since_s = now_s - IDLE_KEPT_S
        old = [name for name, wanted in self.wanted.items() if not wanted.is_pinned and wanted.asked_s <= since_s]
        for name in old:
            self.forget(name)
        return old

    def forget(self, authority: str) -> None:
        wanted = self.wanted.pop(authority)
        self._unname(authority, wanted.key)
        if wanted.key not in self._names:
            self.entries.pop(wanted.key, None)

    def authorities_of(self, key: str) -> list[str]:
        return list(self._names.get(key, ()))

    def is_answered(self, authority: str) -> bool:
        """Whether every worker routes this authority by a table of its own."""
        wanted = self.wanted.get(authority)
        entry = self.entries.get(wanted.key) if wanted else None
        return entry is not None and entry.is_known

    def _unname(self, authority: str, key: str) -> None:
        names = self._names.get(key)
        if names is not None:
            names.pop(authority, None)
            if not names:
                del self._names[key]

    def _to_evict(self) -> str | None:
        """Of those longest not asked for the first unknown one, else the first: a client that still names it asks anew.

        Known ones too, because names are the clients' to choose: every spelling of a Service counts.
        """
        candidates = (authority for authority, wanted in self.wanted.items() if not wanted.is_pinned)
        oldest = list(islice(candidates, EVICTION_LOOKS))
        return next(filter(self._is_unknown, oldest), oldest[0] if oldest else None)

    def _unknown(self) -> Iterator[str]:
        """The one longest not asked for comes first."""
        return (name for name, wanted in self.wanted.items() if not wanted.is_pinned and self._is_unknown(name))

    def _is_unknown(self, authority: str) -> bool:
        entry = self.entries.get(self.wanted[authority].key)
        return entry is None or (entry.newest.update.state is None and not entry.is_known)


def entry_update(entry: Entry) -> Update | None:
    """What a worker should route by: the newest, unless it was refused; then the one in force, if any."""
    if not isinstance(entry.verdict, Refused):
        return entry.newest.update
    return entry.in_force.update if entry.in_force else None


def _settle(entry: Entry, live: Collection[int]) -> Verdict | None:
    update = entry.newest.update
    errors = [answer.error for answer in entry.answers.values() if answer.error]
    if errors:
        entry.verdict = Refused(update.key, update.epoch, update.version, errors[0])
    elif live and all(worker_id in entry.answers for worker_id in live):
        entry.applied_unix_ns = max(answer.unix_ns for answer in entry.answers.values())
        if entry.in_force is not None and not entry.in_force.is_from_disk:
            entry.propagation_ns = entry.applied_unix_ns - entry.newest.published_unix_ns
        entry.in_force = entry.newest
        entry.verdict = Accepted(update.key, update.epoch, update.version, entry.applied_unix_ns)
    return entry.verdict
