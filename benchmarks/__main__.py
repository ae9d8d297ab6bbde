"""`python -m benchmarks`: arguments in, table on stdout, JSON in benchmarks/results/, progress on stderr.

Exit code 0: everything measured was right and each bar was met or could not be judged; 1: it was not; 2: usage.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

from benchmarks import machine, peers, report
from benchmarks.run import Plan, run
from benchmarks.scenario import SCENARIOS as H1_SCENARIOS
from benchmarks.scenario_h2 import H2_SCENARIOS

SCENARIOS = (*H1_SCENARIOS, *H2_SCENARIOS)
_RESULTS = Path(__file__).parent / "results"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="CPU per proxied request, interleaved.")
    made.add_argument("--rounds", type=_positive, help="how often everything is measured (default 9)")
    made.add_argument("--requests", type=_positive, help="requests of a full-effort measurement (default 15000)")
    made.add_argument("--peers", type=_names(peers.ALL), help=f"some of {_list(peers.ALL)} (default all)")
    made.add_argument("--scenarios", type=_names(SCENARIOS), help=f"some of {_list(SCENARIOS)} (default all)")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the JSON goes (default benchmarks/results/)")
    made.add_argument("--quick", action="store_true", help="2 rounds of 3000 requests: a look, not a result")
    return made


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the arguments ask for."""
    rounds, requests = (2, 3000) if arguments.quick else (9, 15000)
    return Plan(
        peers=_chosen(peers.ALL, arguments.peers),
        scenarios=_chosen(SCENARIOS, arguments.scenarios),
        rounds=arguments.rounds or rounds,
        requests=arguments.requests or requests,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    arguments = parser().parse_args(argv)
    plan = plan_of(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    facts = machine.describe() | {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    try:
        outcome = run(plan, machine.divide_cores(sorted(os.sched_getaffinity(0))), _tell)
    except KeyboardInterrupt:
        _tell("interrupted; everything is stopped")
        return 1
    path = arguments.json or _RESULTS / f"{facts['started'].replace(':', '')}-{facts['commit']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.document(plan, outcome, facts))
    print(report.text(plan, outcome, facts))
    _tell(f"written to {path}")
    made = report.rows(plan, outcome.samples)
    is_wrong = bool(outcome.broken) or any(row.summary.failed or row.is_split_wrong for row in made)
    return 1 if is_wrong or any(verdict.is_met is False for verdict in report.verdicts(made)) else 0


def _tell(line: str) -> None:
    print(f"benchmarks: {line}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {word}")
    return number


def _list(named: Sequence[_Named]) -> str:
    return ",".join(one.name for one in named)


def _names(named: Sequence[_Named]) -> Callable[[str], list[str]]:
    known = [one.name for one in named]

    def parse(word: str) -> list[str]:
        for name in (wanted := word.split(",")):
            if name not in known:
                raise argparse.ArgumentTypeError(f"wanted some of {','.join(known)}, got {name!r}")
        return wanted

    return parse


def _chosen(named: Sequence[_N], wanted: Sequence[str] | None) -> tuple[_N, ...]:
    return tuple(one for one in named if wanted is None or one.name in wanted)


if __name__ == "__main__":
    sys.exit(main())
