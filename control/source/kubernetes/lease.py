"""Which replica writes: an election by a Lease of coordination.k8s.io, as client-go's leader election has it.

In: the Lease as the API server has it, and the time. Out: the Lease to write, if any, and whether we lead. Pure. A
holder counts as gone when its Lease has not changed for its duration by *our* clock, so no two clocks need agree. The
rule: we lead only until RENEW_WITHIN_S after our last renewal was asked for, which ends before anybody else may take
the Lease.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from milliroute.control.source.kubernetes import tree

API = "coordination.k8s.io/v1"
# Seconds: those of client-go.
DURATION_S = 15
RENEW_WITHIN_S = 10.0
RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Record:
    """A Lease as we saw it; `seen_at` is when it was first seen like this."""

    holder: str
    renewed: str
    duration_s: int
    acquired: str
    transitions: int
    revision: str
    seen_at: float


class Election:
    """Of one candidate. Ask wanted(), write it, and tell wrote(); tell seen() before each wanted()."""

    def __init__(self, me: str, name: str, namespace: str, duration_s: int = DURATION_S) -> None:
        self.me, self.name, self.namespace = me, name, namespace
        self._duration_s = duration_s
        self._record: _Record | None = None
        self._leads_until = float("-inf")

    @property
    def holder(self) -> str:
        """As last seen; "" for nobody."""
        return self._record.holder if self._record else ""

    @property
    def collection(self) -> str:
        return f"/apis/{API}/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    def leads(self, now: float) -> bool:
        return now < self._leads_until

    def seen(self, lease: Mapping[str, object] | None, now: float) -> None:
        """The Lease as it is, None where there is none."""
        if lease is None:
            self._record = None
            return
        record = _record(lease, now)
        before = self._record
        if before is not None and (before.holder, before.renewed) == (record.holder, record.renewed):
            record = _record(lease, before.seen_at)
        self._record = record
        if record.holder != self.me:
            self._leads_until = float("-inf")

    def wanted(self, now: float, now_unix_s: float) -> dict[str, object] | None:
        """The Lease to write: to be created where it has no resourceVersion, else to replace the one seen. None: it is
        somebody else's."""
        record = self._record
        if record is None:
            return self._lease("", self.me, now_unix_s, now_unix_s, 0)
        if record.holder == self.me:
            return self._lease(record.revision, self.me, now_unix_s, record.acquired, record.transitions)
        if record.holder and now < record.seen_at + record.duration_s:
            return None
        return self._lease(record.revision, self.me, now_unix_s, now_unix_s, record.transitions + 1)

    def wrote(self, lease: Mapping[str, object], asked_at: float) -> None:
        """The API server took it; `asked_at` is when it was asked to."""
        self._record = _record(lease, asked_at)
        self._leads_until = asked_at + self._duration_s * RENEW_WITHIN_S / DURATION_S

    def release(self, now_unix_s: float) -> dict[str, object] | None:
        """The Lease that lets others in at once; None when it is not ours."""
        self._leads_until = float("-inf")
        record, self._record = self._record, None
        if record is None or record.holder != self.me:
            return None
        return self._lease(record.revision, "", now_unix_s, record.acquired, record.transitions)

    def _lease(
        self, revision: str, holder: str, renewed: float, acquired: float | str, transitions: int
    ) -> dict[str, object]:
        metadata = {"name": self.name, "namespace": self.namespace}
        return {
            "apiVersion": API,
            "kind": "Lease",
            "metadata": metadata | ({"resourceVersion": revision} if revision else {}),
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self._duration_s if holder else 1,
                "acquireTime": acquired if isinstance(acquired, str) else micro_time(acquired),
                "renewTime": micro_time(renewed),
                "leaseTransitions": transitions,
            },
        }


def micro_time(unix_s: float) -> str:
    """As the type MicroTime of the API is written."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _record(lease: Mapping[str, object], seen_at: float) -> _Record:
    spec, metadata = tree.mapping(lease.get("spec")), tree.mapping(lease.get("metadata"))
    return _Record(
        holder=tree.text(spec.get("holderIdentity")),
        renewed=tree.text(spec.get("renewTime")),
        duration_s=_number(spec.get("leaseDurationSeconds"), DURATION_S),
        acquired=tree.text(spec.get("acquireTime")) or tree.text(spec.get("renewTime")),
        transitions=_number(spec.get("leaseTransitions"), 0),
        revision=tree.text(metadata.get("resourceVersion")),
        seen_at=seen_at,
    )


def _number(value: object, default: int) -> int:
    """An int32 that is not negative, as the API's definition has both."""
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else default
