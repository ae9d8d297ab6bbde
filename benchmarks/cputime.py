"""CPU time of a process tree, user and system, at nanosecond resolution (Linux).

`/proc/PID/stat` counts in ticks of 10 ms. The kernel's per-process CPU clock has the same time in nanoseconds, of all
threads, also of those that have ended; its id is made from the pid as clock_getcpuclockid(3) does.
"""

import time
from collections.abc import Iterable
from pathlib import Path

# The low bits of a process-wide clock id: CPUCLOCK_SCHED, user and system time by the scheduler's accounting.
_CPUCLOCK_SCHED = 2


def cpu_ns(pid: int) -> int:
    """User and system time that the process `pid` has used, in ns; OSError when there is no such process."""
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)


def tree_cpu_ns(pids: Iterable[int]) -> int:
    """The sum over several processes."""
    return sum(cpu_ns(pid) for pid in pids)


def process_tree(root: int, proc: Path = Path("/proc")) -> tuple[int, ...]:
    """`root` and all its living descendants, ascending; empty when `root` does not live."""
    parents = dict(filter(None, (_parent(stat) for stat in proc.glob("[0-9]*/stat"))))
    tree = {root} & parents.keys()
    while found := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= found
    return tuple(sorted(tree))


def _parent(stat: Path) -> tuple[int, int] | None:
    try:
        text = stat.read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses itself; state and parent follow the last one (proc(5)).
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return None if state == "Z" else (int(stat.parent.name), int(parent))
