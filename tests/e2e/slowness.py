"""Slow heads, slow bodies and slow readers beside ordinary clients: who is cut off, and what the others feel.

Used by tests/e2e/test_overload.py, and by `python -m tests.e2e.slowness [COUNT] [SECONDS] [FLAGS OF THE PROXY ...]`,
which prints the ratio of the others' p99 during and before.
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
from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, is_ready, stand, write_split
from tests.e2e.traffic import Record

# Of the ordinary clients.
CONNECTIONS = 4
LEAVES = ("reviews-v1", "reviews-v2")
# So that each kind is cut off some times in a short test.
STRICT = ("--header-timeout-s", "1", "--rate-grace-s", "1", "--stall-timeout-s", "1.5")


@dataclass(frozen=True, slots=True)
class Outcome:
    """slow: (connections, cut off) by kind. admin_ms: the slowest of the answers of the admin port meanwhile."""

    before: Sequence[Record]
    during: Sequence[Record]
    slow: dict[str, tuple[int, int]]
    admin_ms: float
    memory_mib: float

    def failed(self) -> list[Record]:
        return [record for record in (*self.before, *self.during) if record.status != 200]

    def p99_ratio(self) -> float:
        return p99_ms(self.during) / p99_ms(self.before)


def p99_ms(records: Sequence[Record]) -> float:
    return quantiles([(record.done_ns - record.sent_ns) / 1e6 for record in records], n=100)[98]


def proxy_of(here: Stand, *more: str, wrapper: Sequence[str] = ()) -> Process:
    """Before two backends for ordinary clients and one in a process of its own for big answers, so that what is seen is
    the proxy's doing; its control service apart. wrapper: words before the command."""
    ports, (big,) = here.backends(*LEAVES), here.backends("big", kind="big_backend")
    control = here.milliroute(
        "control", "-f", str(write_split(here.folder)), *backend_flags(ports), "--backend", f"big=127.0.0.1:{big}",
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
    )  # fmt: skip
    proxy = here.start(
        *wrapper, sys.executable, "-m", "milliroute.proxy", "--destination", control.address("grpc"),
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *more,
    )  # fmt: skip
    eventually(lambda: is_ready(proxy.port("admin")), "readiness")
    return proxy


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(folder: Path, count: int, seconds: float, limits: Sequence[str] = STRICT) -> Outcome:
    """So many seconds without them and as many with them."""
    with stand(folder) as here:
        proxy = proxy_of(here, *limits)
        port, admin = proxy.port("proxy"), proxy.port("admin")
        with here.load(port, CONNECTIONS) as load:
            time.sleep(0.5)  # connections and interpreters are warm then
            begin_ns = time.time_ns()
            time.sleep(seconds)
            start_ns = time.time_ns()
            slow = here.start(sys.executable, "-m", "tests.e2e.slow_peers", str(port), str(count))
            slow.address("slow")
            slow_ns = time.time_ns()
            admin_ms = _watched(admin, seconds)
            end_ns = time.time_ns()
            memory_mib = sum(map(_resident_mib, children(proxy.pid)))
            counts = _ended(slow)
        records = traffic.read(load.file)
    before = [record for record in records if begin_ns < record.sent_ns < start_ns]
    during = [record for record in records if slow_ns < record.sent_ns < end_ns]
    return Outcome(before, during, counts, admin_ms, memory_mib)


def _watched(admin: int, seconds: float) -> float:
    worst_s, end_s = 0.0, time.monotonic() + seconds
    while (began_s := time.monotonic()) < end_s:
        assert get(admin, "/ready") == (200, "ready\n")
        assert "milliroute_control_connected 1.0" in get(admin, "/metrics")[1]
        worst_s = max(worst_s, time.monotonic() - began_s)
        time.sleep(0.1)
    return worst_s * 1000


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _ended(slow: Process) -> dict[str, tuple[int, int]]:
    slow.close_stdin()
    assert slow.wait() == 0, slow.lines
    said = eventually(lambda: next((line for line in slow.lines if line.startswith("slow ")), ""), "its counts")
    words = said.split()[1:]
    return {words[at]: (int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words), 3)}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), count, seconds, sys.argv[3:] or STRICT)
    print(f"{count} slow clients: p99 {p99_ms(outcome.before):.2f} -> {p99_ms(outcome.during):.2f} ms ", end="")
    print(f"(x {outcome.p99_ratio():.2f})  requests {len(outcome.before)} -> {len(outcome.during)}  ", end="")
    print(f"failed {len(outcome.failed())}  worker {outcome.memory_mib:.0f} MiB  admin {outcome.admin_ms:.0f} ms")
    print("  ".join(f"{kind}: {opened} connections, {cut} cut off" for kind, (opened, cut) in outcome.slow.items()))


if __name__ == "__main__":
    main()
