"""Samples in; a table for people and a JSON document for programs out. Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.run import Outcome, Plan
from benchmarks.scenario import Scenario
from benchmarks.summary import Sample, Spread, Summary, is_split_right, paired_ratio, summarize

REFERENCE = "envoy"
SUBJECT = "milliroute"
# The first bar: CPU per request of SUBJECT over REFERENCE's, both HTTP/1.1, in the first scenario.
BAR_SCENARIO = "get"
BAR = 0.8

_COLUMNS = (
    "peer          CPU us/req    (min - max)   x envoy   (min - max)    req/s  busy    p50 ms    p99 ms   split  failed"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One peer under one scenario: all rounds folded, and its CPU as a multiple of the reference's."""

    summary: Summary
    ratio: Spread | None
    is_split_wrong: bool


def rows(plan: Plan, samples: Sequence[Sample]) -> list[Row]:
    """A row for each scenario and peer that has samples, scenarios first."""
    made = []
    for scenario in plan.scenarios:
        reference = [s for s in samples if (s.scenario, s.peer) == (scenario.name, REFERENCE)]
        for peer in plan.peers:
            own = [s for s in samples if (s.scenario, s.peer) == (scenario.name, peer.name)]
            if own:
                wrong = peer.splits and not all(_is_right(sample) for sample in own)
                made.append(Row(summarize(own), paired_ratio(own, reference), wrong))
    return made


def _is_right(sample: Sample) -> bool:
    answered = sum(sample.by_backend.values())
    return answered > 0 and is_split_right(sample.by_backend.get("stable", 0) / answered, answered)


def text(plan: Plan, outcome: Outcome, machine: dict[str, str]) -> str:
    """The whole report, ready to print."""
    made = rows(plan, outcome.samples)
    lines = ["; ".join(f"{name} {value}" for name, value in machine.items())]
    lines += ["; ".join(f"{name} {version}" for name, version in outcome.versions.items())]
    for scenario in plan.scenarios:
        lines += ["", _heading(plan, scenario), _COLUMNS]
        lines += [_line(row) for row in made if row.summary.scenario == scenario.name]
    return "\n".join([*lines, "", *complaints(outcome, made), verdict(made)[1]])


def complaints(outcome: Outcome, made: Sequence[Row]) -> list[str]:
    """What the numbers lack or what makes them worthless; a line each."""
    lines = [f"ABSENT: {name} is not installed ({how})" for name, how in outcome.absent.items()]
    lines += [f"NOT MEASURED: {name} did not start: {why}" for name, why in outcome.broken.items()]
    for row in made:
        who = f"{row.summary.peer} under {row.summary.scenario}"
        if row.summary.failed:
            lines.append(f"FAILED: {who}: {row.summary.failed} requests: {'; '.join(row.summary.reasons)}")
        if row.is_split_wrong:
            lines.append(f"WRONG SPLIT: {who}: {row.summary.stable_share} from stable, wanted 0.9")
    return lines


def verdict(made: Sequence[Row]) -> tuple[bool | None, str]:
    """Whether the bar is met, None when it cannot be judged, and a line that says so."""
    bar = f"bar: {SUBJECT} at most {BAR:.2f} x {REFERENCE}'s CPU per request under {BAR_SCENARIO}:"
    found = [r for r in made if (r.summary.peer, r.summary.scenario) == (SUBJECT, BAR_SCENARIO)]
    if not found or found[0].ratio is None:
        return None, f"{bar} not judged, one of them was not measured"
    is_met = found[0].ratio.median <= BAR
    return is_met, f"{bar} {found[0].ratio.median:.2f}, {'met' if is_met else 'MISSED'}"


def document(plan: Plan, outcome: Outcome, machine: dict[str, str]) -> str:
    """Everything as JSON, every sample included; numbers that do not exist are null."""
    made = rows(plan, outcome.samples)
    return _strict_json(
        {
            "machine": machine,
            "versions": outcome.versions,
            "absent": outcome.absent,
            "broken": outcome.broken,
            "rounds": plan.rounds,
            "requests": plan.requests,
            "verdict": {"bar": BAR, "is_met": verdict(made)[0]},
            "rows": [asdict(row) for row in made],
            "samples": [asdict(sample) for sample in outcome.samples],
        }
    )


def _strict_json(value: object) -> str:
    # Python writes NaN, which is not JSON: read its own text back with null instead.
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), indent=1)


def _heading(plan: Plan, scenario: Scenario) -> str:
    requests = round(plan.requests * scenario.effort)
    return f"{scenario.name}: {scenario.title}; {plan.rounds} rounds of {requests} requests; medians"


def _line(row: Row) -> str:
    one = row.summary
    busy = "-" if one.busy is None else f"{one.busy:.0%}"
    share = "-" if one.stable_share is None else f"{one.stable_share:.3f}"
    return (
        f"{one.peer:12} {_spread(one.cpu_us, 1)}  {_spread(row.ratio, 2)} {one.requests_per_s.median:8.0f} {busy:>5} "
        f"{one.p50_ms:9.3f} {one.p99_ms:9.3f} {share:>7} {one.failed:7}"
    )


def _spread(value: Spread | None, digits: int) -> str:
    if value is None:
        return f"{'-':>9} {'':15}"
    return f"{value.median:9.{digits}f} {f'({value.low:.{digits}f} - {value.high:.{digits}f})':>15}"
