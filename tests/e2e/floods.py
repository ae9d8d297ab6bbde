"""HTTP/2 floods beside ordinary clients: what the attackers get, and what the others feel.

Used by tests/e2e/test_h2_floods.py, which asserts the former and that no ordinary request fails, and by
`python -m tests.e2e.floods [SECONDS] [CODEC]`, which prints the ratio of the others' p99 during and before each flood.
"""

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.e2e import traffic
from tests.e2e.flooder import ATTACKS
from tests.e2e.h2_stand import LEAVES, run
from tests.e2e.stand import Process, eventually, stand
from tests.e2e.traffic import Record

# Of the ordinary clients: on one connection, each after the one before it.
CALLS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """cut: how many of the attackers' connections were answered ENHANCE_YOUR_CALM, ended otherwise, not at all."""

    before: Sequence[Record]
    during: Sequence[Record]
    cut: tuple[int, int, int]

    def failed(self) -> list[Record]:
        return [record for record in (*self.before, *self.during) if record.status != 200]

    def p99_ratio(self) -> float:
        return _p99_ms(self.during) / _p99_ms(self.before)


def _p99_ms(records: Sequence[Record]) -> float:
    return quantiles([(record.done_ns - record.sent_ns) / 1e6 for record in records], n=100)[98]


def measure(folder: Path, attack: str, codec: str, seconds: float) -> Outcome:
    """So many seconds without the flood and as many with it."""
    with stand(folder) as here:
        servers = here.start(sys.executable, "-m", "tests.e2e.grpc_backend", *LEAVES)
        port = run(here, [servers.port(name) for name in LEAVES], codec).port("proxy")
        with here.load(port, CALLS, "grpc_traffic") as load:
            time.sleep(0.5)  # connections and interpreters are warm then
            begin_ns = time.time_ns()
            time.sleep(seconds)
            flood = here.start(sys.executable, "-m", "tests.e2e.flooder", str(port), attack)
            start_ns = time.time_ns()
            flood.address("flood")
            flooded_ns = time.time_ns()
            time.sleep(seconds)
            end_ns = time.time_ns()
            cut = _ended(flood)
        records = traffic.read(load.file)
    before = [record for record in records if begin_ns < record.sent_ns < start_ns]
    during = [record for record in records if flooded_ns < record.sent_ns < end_ns]
    return Outcome(before, during, cut)


def _ended(flood: Process) -> tuple[int, int, int]:
    flood.close_stdin()
    assert flood.wait() == 0, flood.lines
    said = eventually(lambda: next((line for line in flood.lines if line.startswith("connections")), ""), "its counts")
    _, calm, other, uncut = (int(number) for number in re.findall(r"\d+", said))
    return calm, other, uncut


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    codec = sys.argv[2] if len(sys.argv) > 2 else "fast"
    for attack in ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            outcome = measure(Path(folder), attack, codec, seconds)
        calm, other, uncut = outcome.cut
        print(f"{attack:14} p99 {_p99_ms(outcome.before):.2f} -> {_p99_ms(outcome.during):.2f} ms ", end="")
        print(f"(x {outcome.p99_ratio():.2f})  requests {len(outcome.before)} -> {len(outcome.during)}  ", end="")
        print(f"failed {len(outcome.failed())}  attackers: calm {calm} other {other} uncut {uncut}")


if __name__ == "__main__":
    main()
