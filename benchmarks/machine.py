"""What a number is worth nothing without: commit, machine, versions; and which core does what."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the proxy alone on one core, load generator and backends on another; empty sets: anywhere."""

    proxy: frozenset[int]
    load: frozenset[int]


def divide_cores(available: Sequence[int]) -> Cores:
    """The first core for the proxy and the second for the rest; with one core nothing is pinned."""
    if len(available) < 2:
        return Cores(frozenset(), frozenset())
    first, second = sorted(available)[:2]
    return Cores(frozenset({first}), frozenset({second}))


def describe() -> dict[str, str]:
    """Commit, processor, cores, kernel, Python, uvloop and how busy the machine is, as text."""
    return {
        "commit": commit(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": version("uvloop"),
        # Above 0.5 something else is running here, and the spread will show it.
        "load average": f"{os.getloadavg()[0]:.2f}",
    }


def commit() -> str:
    """The short commit hash of this tree, with `+changes` when it is not clean; `unknown` outside git."""
    head = first_line(["git", "rev-parse", "--short=10", "HEAD"])
    changes = first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{head}+changes" if head and changes else head or "unknown"


def first_line(command: Sequence[str]) -> str:
    """The first line that a command prints, stdout before stderr; empty when it fails or does not exist."""
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"benchmarks: {command[0]}: {error}", file=sys.stderr)
        return ""
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
