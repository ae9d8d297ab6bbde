"""What a machine runs out of: descriptors, memory, and its sense of time."""

import os
import resource
from pathlib import Path

from tests.chaos import mesh
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage
from tests.chaos.workers import GONE
from tests.e2e.stand import eventually, get, is_ready

# Beyond what is open when the limit falls.
SPARE_FDS = 4
IDLE_CLIENTS = 40
# Of address space, beyond what is mapped when the limit falls: an arena of Python's.
SPARE_BYTES = 1024 * 1024
# Clients that send all but the end of a head: some 30 KiB each in the worker.
HOGS = 400
CLOCK = Path(__file__).parent / "clock"


def _limited(pid: int, count: int) -> tuple[int, int]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, before[1]))
    return before


def _open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _worker_descriptors(stage: Stage) -> None:
    """Idle clients take the last ones; when they have gone and the limit is up, all is well."""
    (worker,) = stage.workers()
    before = _limited(worker, _open_fds(worker) + SPARE_FDS)
    clients = stage.connections(IDLE_CLIENTS)
    stage.hold()
    for client in clients:
        client.close()
    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    eventually(lambda: get(stage.port, "/")[0] == 200, "a new connection")


def _agent_descriptors(stage: Stage) -> None:
    before = _limited(stage.proxy.pid, _open_fds(stage.proxy.pid))
    stage.hold()
    resource.prlimit(stage.proxy.pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: is_ready(stage.admin), "the admin port")


def _control_descriptors(stage: Stage) -> None:
    """It cannot even open its files; what is in force stays, and the change comes when it can."""
    before = _limited(stage.control.pid, _open_fds(stage.control.pid))
    mesh.write_split(stage.folder, "500m", "500m")
    stage.hold()
    resource.prlimit(stage.control.pid, resource.RLIMIT_NOFILE, before)
    stage.await_weights("500m", "500m")


def _worker_memory(stage: Stage) -> str:
    """Clients that each make it hold the most it may. It may die of it; then there is another one."""
    (worker,) = stage.workers()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines())
    limit = int(status["VmSize"].split()[0]) * 1024 + SPARE_BYTES
    before = resource.prlimit(worker, resource.RLIMIT_AS)
    resource.prlimit(worker, resource.RLIMIT_AS, (limit, before[1]))
    hogs = stage.hogs(HOGS)
    stage.hold()
    for hog in hogs:
        hog.close()
    (now,) = eventually(stage.workers, "a worker")
    if now == worker:
        resource.prlimit(worker, resource.RLIMIT_AS, before)
    eventually(lambda: get(stage.port, "/")[0] == 200, "an answer")
    refused = sum(line == "MemoryError" for line in stage.proxy.lines)
    assert refused or now != worker, "the limit was not felt"
    return f"at least {refused} times out of memory, {'the same' if now == worker else 'a new'} worker"


def _turn_clock(stage: Stage, offset_s: int) -> None:
    with stage.clock.open("r+b") as file:  # in place: who reads a mapped file that was cut off gets SIGBUS
        file.write(offset_s.to_bytes(8, "little", signed=True))


def _jumping_clock(stage: Stage) -> str:
    """An hour ahead and back again and again, under a ramp: weights in force come from the wall clock."""
    mesh.write_split(stage.folder, "500m", "500m", ramp=f"{stage.seconds:g}s")
    for _ in stage.during(0.2):
        _turn_clock(stage, stage.rng.choice([-3600, 0, 3600]))
    _turn_clock(stage, 0)
    mesh.write_split(stage.folder)
    stage.await_weights("900m", "100m")
    return f"{stage.turns} jumps"


def _clock_behind(stage: Stage) -> None:
    """A day back for good: what is changed then still counts as new."""
    _turn_clock(stage, -86_400)
    stage.hold(0.5)
    mesh.write_split(stage.folder, "500m", "500m")
    stage.await_weights("500m", "500m")
    stage.hold(0.5)


def _own_clock(stage: Stage) -> None:
    stage.clock.write_bytes(bytes(8))
    path = os.pathsep.join([str(CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])])
    stage.environment = {"PYTHONPATH": path, "MILLIROUTE_CHAOS_CLOCK": str(stage.clock)}


SCENARIOS = [
    Scenario("descriptors-of-worker", _worker_descriptors),
    Scenario("descriptors-of-agent", _agent_descriptors),
    Scenario("descriptors-of-control", _control_descriptors, due=(500, 500)),
    Scenario("memory-of-worker", _worker_memory, GONE),
    Scenario("clock-jumps", _jumping_clock, prepare=_own_clock),
    Scenario("clock-a-day-behind", _clock_behind, due=(500, 500), prepare=_own_clock, is_short=True),
]
