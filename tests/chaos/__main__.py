"""`python -m tests.chaos [NAME...] [--seed N] [--share S]`: plays scenarios, a row for each; exit code 1 for any fault.

NAME is the beginning of names, such as `backend-` or `control-stopped`. --share: of each scenario's time, for a
quick look.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.chaos.catalog import SCENARIOS
from tests.chaos.outcome import HEADER
from tests.chaos.scenario import Scenario, play


def _chosen(names: Sequence[str]) -> list[Scenario]:
    found = [scenario for scenario in SCENARIOS if not names or scenario.name.startswith(tuple(names))]
    if not found:
        sys.exit(f"no scenario begins with {' or '.join(names)}; there are: {' '.join(s.name for s in SCENARIOS)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0)
    asked = parser.parse_args()
    begin, bad = time.monotonic(), 0
    print(HEADER, flush=True)
    for scenario in _chosen(asked.names):
        outcome = play(scenario, asked.seed, asked.share)
        print(outcome.row(), flush=True)
        for fault in outcome.faults():
            bad += 1
            print(f"    FAULT: {fault}", flush=True)
    print(f"seed {asked.seed}, {time.monotonic() - begin:.0f} s, faults: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
