"""`python -m tests.chaos.slow_clients [COUNT] [SECONDS]`: ordinary clients beside so many slow ones of each kind.

A row for each kind of tests/chaos/slow_attackers.py: p99 of the ordinary requests before the slow ones, while they
arrive (slow readers bring answers of 1 MiB, so that is bulk transfer) and beside them, and how the last compares with
the first; what failed, the worker's memory and descriptors, and what became of the slow ones. Exit code 1 for a failed
request.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from tests.chaos import gauge
from tests.chaos.records import Record
from tests.chaos.slow_attackers import OPENINGS
from tests.chaos.stage import Stage
from tests.e2e.stand import Process, eventually, stand

# Of the proxy, so that a run of some seconds sees attackers cut off; the defaults are in docs/operating.md.
FLAGS = ("--header-timeout-s", "5")
# After the last has connected, until what they asked for has come as far as it will.
SETTLE_S = 5.0


def measure(folder: Path, kind: str, count: int, seconds: float) -> tuple[str, int]:
    """The row, and how many ordinary requests failed."""
    with stand(folder) as here:
        stage = Stage(here, 1, seconds)
        stage.start({}, *FLAGS)
        (worker,) = stage.workers()
        before: list[Record] = []
        with stage.load(before):
            stage.hold()
        calm = gauge.sample(worker)
        attack = here.start(sys.executable, "-m", "tests.chaos.slow_attackers", str(stage.port), kind, str(count))
        arriving: list[Record] = []
        with stage.load(arriving):
            attack.address("attack")
            time.sleep(SETTLE_S)
        during: list[Record] = []
        with stage.load(during):
            stage.hold()
            loaded = gauge.sample(worker)
        told = _ended(attack)
    failed = sum(record.status != 200 for record in (*before, *arriving, *during))
    p99s = [_p99_ms(records) for records in (before, arriving, during)]
    row = (
        f"{kind:5} p99 {p99s[0]:.1f}, {p99s[1]:.1f}, {p99s[2]:.1f} ms (x {p99s[2] / p99s[0]:.2f})  requests "
        f"{len(before)}, {len(arriving)}, {len(during)}, failed {failed}  worker {calm.rss_kib / 1024:.1f} -> "
        f"{loaded.rss_kib / 1024:.1f} MiB, {calm.descriptors} -> {loaded.descriptors} fds  slow: {told}"
    )
    return row, failed


def _p99_ms(records: Sequence[Record]) -> float:
    return quantiles([record.latency_ms for record in records], n=100)[98]


def _ended(attack: Process) -> str:
    attack.close_stdin()
    assert attack.wait() == 0, attack.lines
    return eventually(lambda: next((line for line in attack.lines if line.startswith("opened")), ""), "its counts")


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < count * 2 + 500:
        sys.exit(f"needs {count * 2 + 500} descriptors for a process, has {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failures, begin = 0, time.monotonic()
    for kind in OPENINGS:
        with tempfile.TemporaryDirectory() as folder:
            row, failed = measure(Path(folder), kind, count, seconds)
        failures += failed
        print(row, flush=True)
    print(f"{count} slow clients of each kind, {time.monotonic() - begin:.0f} s, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
