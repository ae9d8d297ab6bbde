"""The objects of one kind as they are known: replaced as a whole by a list, one by one by a watch.

The rule, as for files: of an object whose newest version is broken the last good one stays in force, and what is wrong
is told. An object that was deleted and made anew has no last good version.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace

from milliroute.control.model import KubeObject
from milliroute.control.source.kubernetes.answers import Entry, Key

_KEPT = "; its last good version stays in force"


@dataclass(frozen=True, slots=True)
class Held:
    """In order of their keys, so that the order of a list changes nothing."""

    objects: tuple[KubeObject, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(slots=True)
class _State:
    """`keys` stay in order, because sorting 5,000 of them takes 15 ms, more than a change should. `held` is made when
    somebody asks for it: a storm of events costs one tuple and not one each."""

    entries: dict[Key, Entry]
    keys: list[Key]
    held: Held | None = None


class Holding:
    """Every change says whether it makes a difference to held(). A thread may replace() while others read, who find the
    state before or the one after."""

    def __init__(self) -> None:
        self._state = _State({}, [])

    @property
    def entries(self) -> dict[Key, Entry]:
        return self._state.entries

    def held(self) -> Held:
        state = self._state
        if state.held is None:
            ordered = [state.entries[key] for key in state.keys]
            state.held = Held(
                tuple(entry.value for entry in ordered if entry.value is not None),
                tuple(error for entry in ordered for error in entry.errors),
            )
        return state.held

    def replace(self, found: Iterable[Entry]) -> bool:
        """Exactly these are there now: what is not among them was deleted."""
        before, after = self._state, {entry.key: self._kept(entry) for entry in found}
        is_news = _meaning(before.entries) != _meaning(after)
        self._state = _State(after, sorted(after), None if is_news else before.held)
        return is_news

    def put(self, entry: Entry) -> bool:
        state, kept = self._state, self._kept(entry)
        before = state.entries.get(entry.key)
        state.entries[entry.key] = kept
        if before is None:
            insort(state.keys, entry.key)
        if (before.value, before.errors) == (kept.value, kept.errors) if before else _says_nothing(kept):
            return False
        state.held = None
        return True

    def drop(self, key: Key) -> bool:
        state = self._state
        before = state.entries.pop(key, None)
        if before is None:
            return False
        del state.keys[bisect_left(state.keys, key)]
        if _says_nothing(before):
            return False
        state.held = None
        return True

    def _kept(self, entry: Entry) -> Entry:
        before = self.entries.get(entry.key)
        if not entry.errors or before is None or before.value is None or before.uid != entry.uid:
            return entry
        return replace(entry, value=before.value, errors=tuple(error + _KEPT for error in entry.errors))


def _says_nothing(entry: Entry) -> bool:
    return entry.value is None and not entry.errors


def _meaning(entries: dict[Key, Entry]) -> dict[Key, object]:
    return {key: (entry.value, entry.errors) for key, entry in entries.items() if not _says_nothing(entry)}
