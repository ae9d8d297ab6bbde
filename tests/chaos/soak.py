"""`python -m tests.chaos.soak MINUTES [PERCENT]`: hours in small. Does anything grow, and does anything fail?

HTTP/1.1, HTTP/2 and gRPC clients (new ones each minute), weights that change twice a second and endpoints four times,
at a load that keeps the worker busy for PERCENT (50) of the time. A row for each minute: requests, what failed,
resident memory, descriptors and load (how long busy, how much CPU; gauge.load) of worker, agent and control service; at
the end how much memory has drifted since the first minute after those for warming up, which are not counted.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos import gauge, lean_lanes, mesh, records
from tests.chaos.clients import PAUSE_MS
from tests.chaos.gauge import Sample
from tests.chaos.records import Record
from tests.chaos.stage import Stage
from tests.e2e.stand import Stand, eventually, stand

MINUTE_S = 60.0
TICK_S = 0.25
SAMPLE_TICKS = 20
SAMPLES = int(MINUTE_S / TICK_S / SAMPLE_TICKS)  # a minute
# Pools, interpreters and caches fill up, and the load is found that keeps the worker as busy as it is to be.
WARM_MINUTES = 2
GRPC_LANES = 4
LEAN_LANES = 8
PERCENT = 50.0
# Of the lean lanes, requests a second; the first minute's, and all that they may become.
FIRST_RATE, MAX_RATE = 400.0, 5000.0
MAX_DRIFT = 0.03

_ECHO = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: echo}}
spec:
  service: echo
  backends:
  - {{service: echo-v1, weight: {v1}}}
  - {{service: echo-v2, weight: {v2}}}
---
"""


@dataclass(slots=True)
class Minute:
    requests: int = 0
    failed: list[Record] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {"worker": [], "agent": [], "control": []})

    def add(self, found: Sequence[Record]) -> None:
        self.requests += len(found)
        self.failed += [record for record in found if record.status != 200]

    def row(self) -> str:
        held = "  ".join(
            f"{name} {of[-1].rss_kib / 1024:.1f} MiB {of[-1].descriptors} fds {busy:.0%} busy {cpu:.0%} CPU"
            for name, of in self.samples.items()
            for busy, cpu in (gauge.load(of),)
        )
        why = "".join(f"  {record.protocol} {record.method}: {record.reason}" for record in self.failed[:1])
        return f"{self.requests} requests, {len(self.failed)} failed{why}  {held}"


class Soak:
    def __init__(self, here: Stand, wanted: float) -> None:
        """wanted: how busy the worker is to be, 1 for always."""
        self._here = here
        self._wanted = wanted
        self._rate = FIRST_RATE
        self._ports = here.backends("echo-v1", "echo-v2", kind="grpc_backend")
        self.stage = Stage(here, seed=1, seconds=MINUTE_S)
        self.stage.files.append("echo.yaml")
        self._write_echo(90)
        self.stage.start({}, "--listen", "127.0.0.1:0=echo")
        (self._echo_port,) = eventually(self._ports_of_echo, "the listener of echo")

    def _ports_of_echo(self) -> list[int]:
        found = [line for line in self.stage.proxy.lines if line.endswith("=echo")]
        return [int(line.removesuffix("=echo").rpartition(":")[2]) for line in found]

    def _write_echo(self, v1: int) -> None:
        services = mesh.endpoint_slices({"echo-v1": self._ports[:1], "echo-v2": self._ports[1:]})
        path = self.stage.folder / "echo.yaml"
        mesh.replace(path, _ECHO.format(v1=v1, v2=100 - v1) + mesh.services(["echo", "echo-v1", "echo-v2"]) + services)

    def minute(self) -> Minute:
        minute, found = Minute(), list[Record]()
        with ExitStack() as loads:
            loads.enter_context(self.stage.load(found))
            loads.enter_context(self._grpc_load(found))
            loads.enter_context(self._lean_load(minute))
            for tick in self.stage.during(TICK_S):
                self._churn(tick)
                if tick % SAMPLE_TICKS == 0:
                    self._sample(minute)
        minute.add(found)
        self._steer(minute)
        return minute

    @contextmanager
    def _grpc_load(self, into: list[Record]) -> Iterator[None]:
        file = self.stage.folder / "grpc-records"
        with self._lanes("grpc_lanes", self._echo_port, file, GRPC_LANES, PAUSE_MS * 2):
            yield
        into += records.read(file)

    @contextmanager
    def _lean_load(self, into: Minute) -> Iterator[None]:
        file = self.stage.folder / "lean-records"
        with self._lanes("lean_lanes", self.stage.port, file, LEAN_LANES, self._rate):
            yield
        summary = msgspec.msgpack.decode(file.read_bytes(), type=lean_lanes.Summary)
        into.requests += summary.right
        into.add(summary.wrong)

    @contextmanager
    def _lanes(self, module: str, port: int, file: Path, lanes: int, pace: float) -> Iterator[None]:
        arguments = [str(port), str(file), str(lanes), str(pace)]
        process = self._here.start(sys.executable, "-m", f"tests.chaos.{module}", *arguments)
        process.address("load")
        yield
        process.close_stdin()
        assert process.wait() == 0, process.lines

    def _churn(self, tick: int) -> None:
        stage, rng = self.stage, self.stage.rng
        if tick % 2:
            v1 = rng.randrange(1, 100)
            mesh.write_split(stage.folder, str(v1), str(100 - v1))
            self._write_echo(100 - v1)
        out = rng.sample("abc", rng.randrange(3))
        mesh.write_endpoints(stage.folder, stage.ports_by_leaf(*out))

    def _sample(self, into: Minute) -> None:
        (worker,) = self.stage.workers()
        pids = {"worker": worker, "agent": self.stage.proxy.pid, "control": self.stage.control.pid}
        for name, pid in pids.items():
            into.samples[name].append(gauge.sample(pid))

    def _steer(self, minute: Minute) -> None:
        """Towards the wanted load, by what a request has cost."""
        busy, _ = gauge.load(minute.samples["worker"])
        missing = (self._wanted - busy) / busy * minute.requests / MINUTE_S
        self._rate = min(max(self._rate + 0.7 * missing, 1.0), MAX_RATE)


def _is_steady(name: str, samples: Sequence[Sample]) -> bool:
    memory = [sample.rss_kib for sample in samples]
    grown, lately = gauge.drift(memory, SAMPLES), gauge.drift(memory[len(memory) // 2 :], SAMPLES)
    fds = [sample.descriptors for sample in samples]
    held = f"descriptors {min(fds)} to {max(fds)}, last {fds[-1]}"
    print(f"{name}: memory {grown:+.2%}, in the second half {lately:+.2%}, {held}")
    return grown < MAX_DRIFT


def _are_steady(samples: Mapping[str, Sequence[Sample]]) -> bool:
    found = [_is_steady(name, of) for name, of in samples.items()]
    return all(found)


def main() -> int:
    minutes = int(sys.argv[1])
    wanted = float(sys.argv[2]) if len(sys.argv) > 2 else PERCENT
    whole, begin = Minute(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as here:
        soak = Soak(here, wanted / 100)
        for number in range(-WARM_MINUTES, minutes):
            minute = soak.minute()
            whole.requests += minute.requests
            whole.failed += minute.failed
            if number >= 0:
                for name, samples in minute.samples.items():
                    whole.samples[name] += samples
            print(f"{'minute' if number >= 0 else 'warm-up'} {number}: {minute.row()}", flush=True)
    print(f"{whole.requests} requests in {time.monotonic() - begin:.0f} s, {len(whole.failed)} failed")
    return 0 if _are_steady(whole.samples) and not whole.failed else 1


if __name__ == "__main__":
    sys.exit(main())
