"""python -m tests.fuzz [TARGET|all] [SECONDS] [SEED]: exit code 1 when an input was found, which is then in found/."""

import logging
import random
import sys
import traceback

from tests.fuzz.catalog import TARGETS
from tests.fuzz.running import hunt, keep


def main(words: list[str]) -> int:
    name, seconds, seed = [*words, *["all", "10", str(random.randrange(1 << 32))][len(words) :]]
    if name != "all" and name not in TARGETS:
        print(f"no target {name}; there are: all, {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    # A bug in a page is logged by the servers and would fill the terminal of a long run. Here and not in a target: the
    # tests import those.
    logging.getLogger("milliroute").setLevel(logging.CRITICAL)
    found = 0
    for target in TARGETS.values() if name == "all" else (TARGETS[name],):
        outcome = hunt(target, float(seconds), int(seed))
        rate = outcome.cases / outcome.seconds
        print(
            f"{target.name:14} {outcome.cases:9} cases {rate:7.0f}/s in {outcome.seconds:.0f} s, seed {seed}",
            flush=True,
        )
        if outcome.failure is not None and outcome.error is not None:
            found += 1
            print(f"FOUND {keep(target, outcome.failure)}: {outcome.failure!r}", flush=True)
            traceback.print_exception(outcome.error)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
