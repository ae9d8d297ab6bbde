"""The arithmetic of a run: samples of single measurements in, medians, spreads and paired ratios out. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The share of the stable backend: weights 900 and 100 in every peer.
STABLE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer under one scenario in one round. `cpu_us` is per request, None for a peer without a process."""

    peer: str
    scenario: str
    round_number: int
    requests: int
    failed: int
    reasons: tuple[str, ...]
    elapsed_s: float
    cpu_us: float | None
    by_backend: Mapping[str, int]
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value it was taken from."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All rounds of one peer under one scenario. `busy` is the share of one core the proxy used."""

    peer: str
    scenario: str
    requests: int
    failed: int
    reasons: tuple[str, ...]
    cpu_us: Spread | None
    requests_per_s: Spread
    busy: float | None
    p50_ms: float
    p99_ms: float
    stable_share: float | None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending sequence; NaN when it is empty. `percent` is 0 to 100."""
    if not ordered:
        return math.nan
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def summarize(samples: Sequence[Sample]) -> Summary:
    """Fold the rounds of one peer and scenario, at least one, into a summary."""
    first = samples[0]
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    shares = [stable_share(sample.by_backend) for sample in samples]
    return Summary(
        peer=first.peer,
        scenario=first.scenario,
        requests=sum(sample.requests for sample in samples),
        failed=sum(sample.failed for sample in samples),
        reasons=tuple(dict.fromkeys(reason for sample in samples for reason in sample.reasons)),
        cpu_us=spread(cpu) if cpu else None,
        requests_per_s=spread([_requests_per_s(sample) for sample in samples]),
        busy=statistics.median(c * _requests_per_s(s) / 1e6 for c, s in zip(cpu, samples, strict=True))
        if cpu
        else None,
        p50_ms=statistics.median(sample.p50_ms for sample in samples),
        p99_ms=statistics.median(sample.p99_ms for sample in samples),
        stable_share=None if None in shares else statistics.fmean(share for share in shares if share is not None),
    )


def _busy(sample: Sample) -> float:
    return (sample.cpu_us or 0.0) * _requests_per_s(sample) / 1e6


def _requests_per_s(sample: Sample) -> float:
    return (sample.requests - sample.failed) / sample.elapsed_s if sample.elapsed_s else 0.0


def stable_share(by_backend: Mapping[str, int]) -> float | None:
    """The part of all answers that came from the backend named stable; None without answers."""
    total = sum(by_backend.values())
    return by_backend.get("stable", 0) / total if total else None


def is_split_right(share: float, requests: int) -> bool:
    """Whether a share is what weights 900/100 give, for an exact and for a random chooser.

    Six standard deviations of a random chooser (one false alarm in 500 million), and two requests for an exact one
    that starts anywhere in its cycle.
    """
    return abs(share - STABLE_SHARE) <= 6 * math.sqrt(STABLE_SHARE * (1 - STABLE_SHARE) / requests) + 2 / requests


def paired_ratio(samples: Sequence[Sample], reference: Sequence[Sample]) -> Spread | None:
    """CPU per request as a multiple of the reference's, divided round by round: what slows a whole round cancels out.

    None when no round has a CPU time of both.
    """
    base = {sample.round_number: sample.cpu_us for sample in reference}
    ratios = []
    for sample in samples:
        other = base.get(sample.round_number)
        if sample.cpu_us is not None and other:
            ratios.append(sample.cpu_us / other)
    return spread(ratios) if ratios else None
