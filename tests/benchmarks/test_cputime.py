"""Reading what other processes have used."""

import os
import time
from pathlib import Path

import pytest

from benchmarks.cputime import cpu_ns, process_tree


def proc(folder: Path, *processes: tuple[int, str, str, int]) -> Path:
    """A /proc of (pid, name, state, parent)."""
    for pid, name, state, parent in processes:
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} ({name}) {state} {parent} 1 1 0")
    return folder


def test_tree_holds_all_descendants_and_nobody_else(tmp_path: Path) -> None:
    made = proc(
        tmp_path, (1, "init", "S", 0), (9, "agent", "S", 1), (4, "worker", "R", 9), (5, "w", "S", 4), (6, "x", "S", 1)
    )
    assert process_tree(9, made) == (4, 5, 9)


def test_name_with_spaces_and_parentheses_does_not_confuse(tmp_path: Path) -> None:
    assert process_tree(2, proc(tmp_path, (2, "a) S 7 (b", "S", 1), (3, "x", "S", 2))) == (2, 3)


def test_dead_processes_do_not_count(tmp_path: Path) -> None:
    made = proc(tmp_path, (2, "agent", "S", 1), (3, "worker", "Z", 2))
    assert process_tree(2, made) == (2,)
    assert process_tree(8, made) == ()


def test_cpu_time_of_a_process_is_its_own_process_time() -> None:
    before, read, after = time.process_time_ns(), cpu_ns(os.getpid()), time.process_time_ns()
    assert before <= read <= after


def test_cpu_time_of_nobody_is_an_error() -> None:
    with pytest.raises(OSError):  # noqa: PT011 -- the errno differs between kernels
        cpu_ns(2**22 + 1)
