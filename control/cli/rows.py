"""One row per leaf: what the files want beside what the proxies did.

Pure. Counts of several proxies are added; p50 and p99 are the worst of them, because percentiles cannot be added.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from milliroute.control.cli.proxies import LeafPage, ProxyPage, SplitPage
from milliroute.control.snapshot import LeafReport, SplitReport


@dataclass(frozen=True, slots=True)
class Row:
    """None: nobody knows. Shares are 0..1, times are milliseconds, counts are since the weights took effect.

    `out`, `sick`: endpoints that some proxy leaves out for their failures, or by its health checks. `is_taken`: of a
    failover split, whether some proxy sends everything here; None for others. `rate_limits`, `fault`: of the split.
    """

    split: str
    apex: str
    leaf: str
    weight: str
    share: float
    observed: float | None
    requests: int | None
    success: float | None
    p50_ms: float | None
    p99_ms: float | None
    state: str
    out: tuple[str, ...] = ()
    sick: tuple[str, ...] = ()
    is_taken: bool | None = None
    rate_limits: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    successes: int = 0
    failures: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    state: str = "ok"
    out: set[str] = field(default_factory=set)
    sick: set[str] = field(default_factory=set)

    def add(self, leaf: LeafPage) -> None:
        self.out.update(leaf.out)
        self.sick.update(leaf.sick)
        self.requests += leaf.requests
        self.successes += leaf.successes
        self.failures += leaf.failures
        self.p50_ms = _worst(self.p50_ms, leaf.p50_ms)
        self.p99_ms = _worst(self.p99_ms, leaf.p99_ms)
        if leaf.state != "ok":
            self.state = leaf.state


@dataclass(slots=True)
class _Split:
    """One split while it is put together; `leaves` holds (weight text, share) in the order of the newest state."""

    apex: str
    published_unix_ns: int = -1
    leaves: dict[str, tuple[str, float]] = field(default_factory=dict)
    counts: dict[str, _Counts] = field(default_factory=dict)
    taken: set[str] | None = None
    rate_limits: tuple[str, ...] = ()
    fault: str | None = None


Wanted = Callable[[str, str], bool]


def merge(pages: Sequence[ProxyPage], configured: Sequence[SplitReport], wanted: Wanted) -> list[Row]:
    """Rows in a stable order. `wanted(apex, namespace)` says which splits; the files' weights beat the proxies'."""
    splits: dict[str, _Split] = {}
    for page in pages:
        for authority in page.authorities:
            for split in authority.splits:
                # "" is an authority without a TrafficSplit: there is nothing to split.
                if split.name and wanted(split.apex, split.namespace):
                    _add(splits, split, authority.published_unix_ns)
    for report in configured:
        namespace = report.name.partition("/")[0]
        if wanted(report.apex, namespace):
            entry = splits.setdefault(report.name, _Split(report.apex))
            entry.apex, entry.leaves, entry.fault = report.apex, _leaves(report.leaves), report.fault or None
            if report.rate_limit and not entry.rate_limits:
                entry.rate_limits = (report.rate_limit,)
    return [row for name in sorted(splits) for row in _rows(name, splits[name])]


def _add(splits: dict[str, _Split], split: SplitPage, published_unix_ns: int) -> None:
    entry = splits.setdefault(split.name, _Split(split.apex))
    if published_unix_ns > entry.published_unix_ns:
        entry.published_unix_ns = published_unix_ns
        entry.apex, entry.leaves = split.apex, _leaves(split.leaves)
        entry.rate_limits, entry.fault = tuple(split.rate_limits), split.fault
        if split.failover is None:
            entry.taken = None
    if split.failover is not None:
        entry.taken = (entry.taken or set()) | set(split.failover)
    for leaf in split.leaves:
        entry.counts.setdefault(leaf.leaf, _Counts()).add(leaf)


def _leaves(leaves: Iterable[LeafPage | LeafReport]) -> dict[str, tuple[str, float]]:
    return {leaf.leaf: (leaf.weight, leaf.share) for leaf in leaves}


def _rows(name: str, split: _Split) -> list[Row]:
    total = sum(counts.requests for counts in split.counts.values())
    namespace = name.partition("/")[0]
    apex = split.apex if namespace == "default" else f"{split.apex}.{namespace}"
    rows = []
    for leaf, (weight, share) in split.leaves.items():
        counts = split.counts.get(leaf)
        ended = counts.successes + counts.failures if counts else 0
        rows.append(
            Row(
                split=name,
                apex=apex,
                leaf=leaf,
                weight=weight,
                share=share,
                observed=counts.requests / total if counts and total else None,
                requests=counts.requests if counts else None,
                success=counts.successes / ended if counts and ended else None,
                p50_ms=counts.p50_ms if counts else None,
                p99_ms=counts.p99_ms if counts else None,
                state=counts.state if counts else "",
                out=tuple(sorted(counts.out)) if counts else (),
                sick=tuple(sorted(counts.sick)) if counts else (),
                is_taken=None if split.taken is None else leaf in split.taken,
                rate_limits=split.rate_limits,
                fault=split.fault,
            )
        )
    return rows


def _worst(left: float | None, right: float | None) -> float | None:
    return max((value for value in (left, right) if value is not None), default=None)
