"""Memory that bodies have used serves the next ones."""

import subprocess
import sys

import pytest

# As a turn of the loop has it: reads that are held together, and freed together. Prints the page faults of 100 turns.
TURNS = """
import resource
from milliroute.proxy.transport import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        held = [b"x" * size for size in (250_000, 64_000) * 4]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
heap.keep()
heap.keep()
faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is left to the C library")
def test_memory_of_bodies_is_kept_for_the_next_ones() -> None:
    done = subprocess.run([sys.executable, "-c", TURNS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < 100 < before


def test_where_it_cannot_be_told_so_nothing_happens() -> None:
    text = "import sys; sys.modules['ctypes'] = None; from milliroute.proxy.transport.heap import keep; keep(); keep()"
    subprocess.run([sys.executable, "-c", text], check=True)
