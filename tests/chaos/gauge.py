"""What a process holds, from Linux's /proc."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """cpu_s: since its start."""

    rss_kib: int
    descriptors: int
    cpu_s: float


def sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss = next(line for line in status if line.startswith("VmRSS:"))
    # man 5 proc: utime and stime are fields 14 and 15; the name before them may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return Sample(int(rss.split()[1]), len(os.listdir(f"/proc/{pid}/fd")), cpu_s)


def drift(values: Sequence[float]) -> float:
    """How much higher the last fifth is than the first, as a share of the first."""
    part = max(1, len(values) // 5)
    first, last = sum(values[:part]) / part, sum(values[-part:]) / part
    return last / first - 1
