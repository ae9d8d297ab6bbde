"""What a process holds, from Linux's /proc."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """Since its start cpu_s, and waited_s: ready to run, while others had the CPUs (of its first thread; 0 where the
    kernel does not say). at_s: when, by the monotonic clock."""

    rss_kib: int
    descriptors: int
    cpu_s: float
    waited_s: float
    at_s: float


def sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss = next(line for line in status if line.startswith("VmRSS:"))
    # man 5 proc: utime and stime are fields 14 and 15; the name before them may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(int(rss.split()[1]), descriptors, cpu_s, _waited_s(pid), time.monotonic())


def _waited_s(pid: int) -> float:
    """Kernel documentation, scheduler/sched-stats: the second number is nanoseconds on a run queue."""
    path = Path(f"/proc/{pid}/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def load(samples: Sequence[Sample]) -> tuple[float, float]:
    """Between the first and the last: the share of the time it had something to do, and of that on a CPU. They are the
    same on a machine that does nothing else."""
    first, last = samples[0], samples[-1]
    passed_s, cpu_s = last.at_s - first.at_s, last.cpu_s - first.cpu_s
    return (cpu_s + last.waited_s - first.waited_s) / passed_s, cpu_s / passed_s


def drift(values: Sequence[float], part: int) -> float:
    """How much higher the last `part` of them are than the first, as a share of the first."""
    first, last = sum(values[:part]) / part, sum(values[-part:]) / part
    return last / first - 1
