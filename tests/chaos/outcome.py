"""What a scenario came to, from the records of its clients and the ratio after it; judged and printed as a row."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.chaos.records import Record

_PORT = re.compile(r"127\.0\.0\.1:\d+")
HEADER = (
    f"{'scenario':28} {'sent':>6} {'right':>6} {'failed':>6} {'GET lost':>8} {'wrong':>5} {'twice':>5} "
    f"{'after 1,000':>11} {'max ms':>6}  why"
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Why replay-safe requests may be lost, or given another's answer, by a fault's nature, and which."""

    why: str
    allows: Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """may_lose: None if no GET may be. twice: POSTs that endpoints got more than once. after: of 1,000 requests one
    after the other, how many each leaf answered; due: how many it should have. unhealed: what did not come back."""

    name: str
    records: Sequence[Record]
    may_lose: Loss | None
    twice: int
    after: tuple[int, int]
    due: tuple[int, int]
    note: str = ""
    unhealed: str = ""

    def failed(self) -> list[Record]:
        return [record for record in self.records if record.status != 200]

    def lost(self) -> list[Record]:
        """Replay-safe and not answered."""
        return [record for record in self.failed() if record.is_safe]

    def wrong(self) -> list[Record]:
        """Answered 200 with what is not the answer to this request."""
        return [record for record in self.records if record.status == 200 and not record.is_right]

    def faults(self) -> list[str]:
        """What must not be, in words; nothing of it is allowed to any scenario but the losses it explains."""
        found = []
        lost, wrong = self._unexplained(self.lost()), self._unexplained(self.wrong())
        if lost:
            found.append(f"{len(lost)} replay-safe requests lost: {_reasons(lost)}")
        if wrong:
            found.append(f"{len(wrong)} answers to other requests, such as {wrong[0]}")
        if self.twice:
            found.append(f"{self.twice} POSTs were sent twice")
        if self.after != self.due:
            found.append(f"afterwards {self.after}, wanted {self.due}")
        if self.unhealed:
            found.append(self.unhealed)
        if len(self.records) < 50:
            found.append(f"only {len(self.records)} requests: the load did not run")
        unanswered = [record for record in self.records if record.error.startswith("no answer")]
        if unanswered:
            found.append(f"{len(unanswered)} requests without any answer")
        return found

    def _unexplained(self, records: Sequence[Record]) -> list[Record]:
        return [record for record in records if not (self.may_lose and self.may_lose.allows(record))]

    def row(self) -> str:
        records = self.records
        right = sum(record.is_right for record in records)
        slowest = max((record.latency_ms for record in records), default=0.0)
        why = "; ".join(filter(None, [self.note, _reasons(self.failed())]))
        return (
            f"{self.name:28} {len(records):6} {right:6} {len(self.failed()):6} {len(self.lost()):8} "
            f"{len(self.wrong()):5} {self.twice:5} {self.after[0]:>7}/{self.after[1]:<3} {slowest:6.0f}  {why}"
        )


def _reasons(records: Sequence[Record]) -> str:
    counts = Counter((record.method, record.protocol, _PORT.sub("ENDPOINT", record.reason)) for record in records)
    told = [f"{count} {method} {protocol} {reason}" for (method, protocol, reason), count in counts.most_common(4)]
    return ", ".join(told) + (" ..." if len(counts) > 4 else "")
