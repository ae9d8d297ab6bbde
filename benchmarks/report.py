"""Samples in; a table for people and a JSON document for programs out. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.run import Outcome, Plan
from benchmarks.scenario import SCENARIOS, Scenario
from benchmarks.scenario_h2 import H2_SCENARIOS, H2Scenario
from benchmarks.summary import Sample, Spread, Summary, is_split_right, paired_ratio, summarize

ENVOY = "envoy"
GRPC_AIO = "grpc-aio"
SUBJECT = "milliroute"
GUARDED = "guarded"

_COLUMNS = (
    "peer          CPU us/req    (min - max)   x envoy   (min - max)    req/s  busy    p50 ms    p99 ms   split  failed"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """In this scenario the subject's CPU per request may be at most this multiple of the reference's."""

    scenario: str
    reference: str
    most: float
    subject: str = SUBJECT


BARS = (
    Bar("get", ENVOY, 0.8),
    *(Bar(scenario.name, ENVOY, 0.9) for scenario in H2_SCENARIOS),
    *(Bar(scenario.name, GRPC_AIO, 0.35) for scenario in H2_SCENARIOS if scenario.protocol == "grpc"),
    # What protects may cost a tenth when it is on, and Envoy has none of it on.
    *(Bar(scenario.name, SUBJECT, 1.1, GUARDED) for scenario in (*SCENARIOS, *H2_SCENARIOS)),
    Bar("get", ENVOY, 0.8, GUARDED),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One peer under one scenario: all rounds folded, and its CPU as a multiple of each reference's."""

    summary: Summary
    ratios: Mapping[str, Spread | None]
    is_split_wrong: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bar says of a run; `ratio` and `is_met` are None where one of the two was not measured."""

    bar: Bar
    ratio: float | None
    is_met: bool | None


def rows(plan: Plan, samples: Sequence[Sample]) -> list[Row]:
    """A row for each scenario and peer that has samples, scenarios first."""
    made = []
    for scenario in plan.scenarios:
        by_peer = {
            peer.name: [s for s in samples if (s.scenario, s.peer) == (scenario.name, peer.name)] for peer in plan.peers
        }
        for peer in plan.peers:
            if own := by_peer[peer.name]:
                wrong = peer.splits and not all(_is_right(sample) for sample in own)
                ratios = {name: paired_ratio(own, by_peer.get(name, [])) for name in (ENVOY, GRPC_AIO, SUBJECT)}
                made.append(Row(summarize(own), ratios, wrong))
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
        found = {row.summary.peer: row for row in made if row.summary.scenario == scenario.name}
        for peer in plan.peers:
            if peer.name in found:
                lines.append(_line(found[peer.name]))
            elif peer.name in outcome.versions:
                lines.append(f"{peer.name:12}       N/A: it does not speak {scenario.protocol} on both sides")
    return "\n".join([*lines, "", *complaints(outcome, made), *(_judgement(one) for one in verdicts(made))])


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


def verdicts(made: Sequence[Row]) -> list[Verdict]:
    """On every bar of a scenario that was run."""
    run = {row.summary.scenario for row in made}
    by_name = {(row.summary.scenario, row.summary.peer): row for row in made}
    judged = []
    for bar in (bar for bar in BARS if bar.scenario in run):
        row = by_name.get((bar.scenario, bar.subject))
        found = None if row is None else row.ratios[bar.reference]
        ratio = None if found is None else found.median
        judged.append(Verdict(bar, ratio, None if ratio is None else ratio <= bar.most))
    return judged


def _judgement(verdict: Verdict) -> str:
    bar = verdict.bar
    said = f"bar: {bar.subject} at most {bar.most:.2f} x {bar.reference}'s CPU per request under {bar.scenario}:"
    if verdict.ratio is None:
        return f"{said} not judged, one of them was not measured"
    return f"{said} {verdict.ratio:.2f}, {'met' if verdict.is_met else 'MISSED'}"


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
            "verdicts": [asdict(verdict) for verdict in verdicts(made)],
            "rows": [asdict(row) for row in made],
            "samples": [asdict(sample) for sample in outcome.samples],
        }
    )


def _strict_json(value: object) -> str:
    # Python writes NaN, which is not JSON: read its own text back with null instead.
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), indent=1)


def _heading(plan: Plan, scenario: Scenario | H2Scenario) -> str:
    requests = round(plan.requests * scenario.effort)
    return f"{scenario.name}: {scenario.title}; {plan.rounds} rounds of {requests} requests; medians"


def _line(row: Row) -> str:
    one = row.summary
    busy = "-" if one.busy is None else f"{one.busy:.0%}"
    share = "-" if one.stable_share is None else f"{one.stable_share:.3f}"
    return (
        f"{one.peer:12} {_spread(one.cpu_us, 1)}  {_spread(row.ratios[ENVOY], 2)} "
        f"{one.requests_per_s.median:8.0f} {busy:>5} {one.p50_ms:9.3f} {one.p99_ms:9.3f} {share:>7} {one.failed:7}"
    )


def _spread(value: Spread | None, digits: int) -> str:
    if value is None:
        return f"{'-':>9} {'':15}"
    return f"{value.median:9.{digits}f} {f'({value.low:.{digits}f} - {value.high:.{digits}f})':>15}"
