"""Messages for a reader that may be slow: one slot per subject, the newest message of a subject wins.

Used before a worker's pipe and before the control stream. Memory is bounded by the number of subjects, whatever the
reader does; a slow reader skips versions and never misses the last one.
"""


class Mailbox:
    """Slots leave in the order in which they were first filled."""

    __slots__ = ("_slots", "replaced")

    def __init__(self) -> None:
        self._slots: dict[str, bytes] = {}
        self.replaced = 0

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, slot: str, message: bytes) -> None:
        if slot in self._slots:
            self.replaced += 1
        self._slots[slot] = message

    def take(self) -> bytes | None:
        """The oldest slot's message, or None."""
        for slot in self._slots:
            return self._slots.pop(slot)
        return None

    def clear(self) -> None:
        self._slots.clear()
