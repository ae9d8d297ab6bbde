"""`python -m tests.chaos.slow_clients [COUNT] [SECONDS] [KIND ...]`: ordinary clients beside so many slow ones.

A row for each kind of tests/chaos/slow_attackers.py: p99 of the ordinary requests before the slow ones, while they
arrive and beside them, and how the last compares with the first; what failed, the worker's memory and descriptors, and
what became of the slow ones. A backend in a process of its own has the answers that slow readers ask for (4 MiB), so
that no ordinary request waits for its work. What all these processes take of the CPUs makes everything slower on a
small machine: beside each p99 in brackets stands that of other clients at the same time, who ask a backend without
the proxy. On a machine with other work, `chrt -r 1` before the command takes that out of it. Exit code 1 for a failed
request.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.chaos import gauge, mesh, records
from tests.chaos.records import Record
from tests.chaos.slow_attackers import OPENINGS
from tests.chaos.stage import Stage
from tests.e2e.stand import Process, eventually, stand

# Of the proxy, so that a run of some seconds sees attackers cut off; the defaults are in docs/operating.md. The second
# listener is for what they ask.
FLAGS = ("--header-timeout-s", "5", "--listen", "127.0.0.1:0=big")
# After the last has connected, until what they asked for has come as far as it will.
SETTLE_S = 5.0
# The slow ones and the backend of large answers would be on other machines: with the lowest priority they take what the
# proxy, its clients and their backends leave of the CPUs. The proxy's own work for them is none the less.
ELSEWHERE = ("chrt", "--other", "0", "nice", "-n", "19")
# Between two requests of a lane that does without the proxy: enough of them for a p99, and little load.
ASIDE_PAUSE_MS = 80.0


@dataclass(frozen=True, slots=True)
class Phase:
    """requests: through the proxy; aside: at the same time without it. mib: the worker's, most of all."""

    requests: Sequence[Record]
    aside: Sequence[Record]
    end: gauge.Sample

    def __str__(self) -> str:
        return f"{p99_ms(self.requests):.1f} ({p99_ms(self.aside):.1f})"


class Scene:
    """A stage with a backend of large answers, and one that the proxy does not know."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        served = stage.here.start(*ELSEWHERE, sys.executable, "-m", "tests.e2e.big_backend", "big")
        big = stage.folder / "big.yaml"
        mesh.replace(big, mesh.services(["big"]) + mesh.endpoint_slices({"big": [served.port("big")]}))
        stage.files.append(big.name)
        stage.start({}, *FLAGS)
        (self._worker,) = stage.workers()
        ledger = str(stage.folder / "ledger-aside")
        aside = stage.here.start(sys.executable, "-m", "tests.chaos.backend", "aside", "0", ledger)
        self._aside = aside.port("aside")

    def attack(self, kind: str, count: int) -> Process:
        command = (sys.executable, "-m", "tests.chaos.slow_attackers", str(self._port(kind)), kind, str(count))
        return self._stage.here.start(*ELSEWHERE, *command)

    def _port(self, kind: str) -> int:
        if kind != "read":
            return self._stage.port
        said = next(line for line in self._stage.proxy.lines if line.endswith("=big"))
        return int(said.removesuffix("=big").rpartition(":")[2])

    def phase(self, act: Callable[[], object]) -> Phase:
        """What ordinary clients see while it acts."""
        requests, file, stage = list[Record](), self._stage.folder / "aside", self._stage
        aside = stage.here.start(
            sys.executable, "-m", "tests.chaos.clients", str(self._aside), str(file), "1", str(ASIDE_PAUSE_MS)
        )
        with stage.load(requests):
            act()
            sample = gauge.sample(self._worker)
        aside.close_stdin()
        assert aside.wait() == 0, aside.lines
        return Phase(requests, records.read(file), sample)


def measure(folder: Path, kind: str, count: int, seconds: float) -> tuple[str, int]:
    """The row, and how many ordinary requests failed."""
    with stand(folder) as here:
        stage = Stage(here, 1, seconds)
        scene = Scene(stage)
        before = scene.phase(stage.hold)
        attack = scene.attack(kind, count)
        arriving = scene.phase(lambda: _arrived(attack))
        beside = scene.phase(stage.hold)
        told = _ended(attack)
    phases = (before, arriving, beside)
    failed = sum(record.status != 200 for phase in phases for record in phase.requests)
    ratios = [p99_ms(during) / p99_ms(calm) for during, calm in
              ((beside.requests, before.requests), (beside.aside, before.aside))]  # fmt: skip
    row = (
        f"{kind:5} p99 {before}, {arriving}, {beside} ms (x {ratios[0]:.2f}, without the proxy x {ratios[1]:.2f})  "
        f"requests {', '.join(str(len(phase.requests)) for phase in phases)}, failed {failed}  worker "
        f"{' -> '.join(f'{phase.end.rss_kib / 1024:.1f}' for phase in phases)} MiB, "
        f"{' -> '.join(str(phase.end.descriptors) for phase in phases)} fds  slow: {told}"
    )
    return row, failed


def p99_ms(requests: Sequence[Record]) -> float:
    return quantiles([record.latency_ms for record in requests], n=100)[98]


def _arrived(attack: Process) -> None:
    attack.address("attack")
    time.sleep(SETTLE_S)


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
    for kind in sys.argv[3:] or OPENINGS:
        with tempfile.TemporaryDirectory() as folder:
            row, failed = measure(Path(folder), kind, count, seconds)
        failures += failed
        print(row, flush=True)
    print(f"{count} slow clients of each kind, {time.monotonic() - begin:.0f} s, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
