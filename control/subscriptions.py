"""What one stream is subscribed to: authorities in the client's words, and the keys that they mean.

In: authorities with their keys, as they come and go. Out: the keys that nobody means any more. Pure. Several
authorities may mean one key, which lasts as long as the last of them.
"""

from collections.abc import Sequence


class Subscriptions:
    """Made for one stream; its session owns it."""

    __slots__ = ("_authorities", "_keys", "_unsettled")

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._authorities: dict[str, set[str]] = {}
        self._unsettled: set[str] = set()

    @property
    def has_unsettled(self) -> bool:
        return bool(self._unsettled)

    def unsettled(self) -> Sequence[tuple[str, str]]:
        """The (authority, key) of those that may mean another key in another snapshot."""
        return [(authority, self._keys[authority]) for authority in self._unsettled]

    def all(self) -> Sequence[tuple[str, str]]:
        """Every (authority, key)."""
        return list(self._keys.items())

    def add(self, authority: str, key: str, *, is_settled: bool) -> str | None:
        """Also for one that is there. Returns the key that was left for this one and that nobody means any more."""
        left = self.drop(authority) if self._keys.get(authority) != key else None
        self._keys[authority] = key
        self._authorities.setdefault(key, set()).add(authority)
        if is_settled:
            self._unsettled.discard(authority)
        else:
            self._unsettled.add(authority)
        return left

    def drop(self, authority: str) -> str | None:
        """Returns the key that nobody means any more, if any."""
        key = self._keys.pop(authority, None)
        if key is None:
            return None
        self._unsettled.discard(authority)
        self._authorities[key].discard(authority)
        if self._authorities[key]:
            return None
        del self._authorities[key]
        return key
