"""`python -m tests.chaos.soak MINUTES [PAUSE_MS]`: hours in small. Does anything grow, and does anything fail?

HTTP/1.1, HTTP/2 and gRPC clients (new ones each minute), weights that change twice a second and endpoints four times.
A row for each minute: requests, what failed, resident memory, descriptors and CPU of worker, agent and control
service; at the end how much memory has drifted since the first minute, which is for warming up and not counted.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos import gauge, mesh, records
from tests.chaos.clients import PAUSE_MS
from tests.chaos.gauge import Sample
from tests.chaos.records import Record
from tests.chaos.stage import Stage
from tests.e2e.stand import Stand, eventually, stand

MINUTE_S = 60.0
TICK_S = 0.25
SAMPLE_TICKS = 20
GRPC_LANES = 4
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


class Soak:
    def __init__(self, here: Stand, pause_ms: float) -> None:
        self._here = here
        self._pause_ms = pause_ms
        self._ports = here.backends("echo-v1", "echo-v2", kind="grpc_backend")
        self.stage = Stage(here, seed=1, seconds=MINUTE_S)
        self.stage.files.append("echo.yaml")
        self._write_echo(90)
        self.stage.start({}, "--listen", "127.0.0.1:0=echo")
        (self._echo_port,) = eventually(self._ports_of_echo, "the listener of echo")
        self.samples: dict[str, list[Sample]] = {"worker": [], "agent": [], "control": []}

    def _ports_of_echo(self) -> list[int]:
        found = [line for line in self.stage.proxy.lines if line.endswith("=echo")]
        return [int(line.removesuffix("=echo").rpartition(":")[2]) for line in found]

    def _write_echo(self, v1: int) -> None:
        services = mesh.endpoint_slices({"echo-v1": self._ports[:1], "echo-v2": self._ports[1:]})
        path = self.stage.folder / "echo.yaml"
        mesh.replace(path, _ECHO.format(v1=v1, v2=100 - v1) + mesh.services(["echo", "echo-v1", "echo-v2"]) + services)

    def minute(self) -> list[Record]:
        found: list[Record] = []
        with ExitStack() as loads:
            loads.enter_context(self.stage.load(found, self._pause_ms))
            loads.enter_context(self._grpc_load(found))
            for tick in self.stage.during(TICK_S):
                self._churn(tick)
                if tick % SAMPLE_TICKS == 0:
                    self._sample()
        return found

    @contextmanager
    def _grpc_load(self, into: list[Record]) -> Iterator[None]:
        file = self.stage.folder / "grpc-records"
        arguments = [str(self._echo_port), str(file), str(GRPC_LANES), str(self._pause_ms * 2)]
        process = self._here.start(sys.executable, "-m", "tests.chaos.grpc_lanes", *arguments)
        process.address("load")
        yield
        process.close_stdin()
        assert process.wait() == 0, process.lines
        into += records.read(file)

    def _churn(self, tick: int) -> None:
        stage, rng = self.stage, self.stage.rng
        if tick % 2:
            v1 = rng.randrange(1, 100)
            mesh.write_split(stage.folder, str(v1), str(100 - v1))
            self._write_echo(100 - v1)
        out = rng.sample("abc", rng.randrange(3))
        mesh.write_endpoints(stage.folder, stage.ports_by_leaf(*out))

    def _sample(self) -> None:
        (worker,) = self.stage.workers()
        pids = {"worker": worker, "agent": self.stage.proxy.pid, "control": self.stage.control.pid}
        for name, pid in pids.items():
            self.samples[name].append(gauge.sample(pid))


def _row(minute: int, found: Sequence[Record], samples: Mapping[str, Sequence[Sample]]) -> str:
    failed = [record for record in found if record.status != 200]
    held = "  ".join(
        f"{name} {of[-1].rss_kib / 1024:.1f} MiB {of[-1].descriptors} fds {of[-1].cpu_s - of[0].cpu_s:.1f} s CPU"
        for name, of in samples.items()
    )
    why = f"  {failed[0].protocol} {failed[0].method}: {failed[0].reason}" if failed else ""
    return f"minute {minute}: {len(found)} requests, {len(failed)} failed{why}  {held}"


def _is_steady(name: str, samples: Sequence[Sample]) -> bool:
    memory = [sample.rss_kib for sample in samples]
    grown, lately = gauge.drift(memory), gauge.drift(memory[len(memory) // 2 :])
    fds = [sample.descriptors for sample in samples]
    held = f"descriptors {min(fds)} to {max(fds)}, last {fds[-1]}"
    print(f"{name}: memory {grown:+.2%}, in the second half {lately:+.2%}, {held}")
    return grown < MAX_DRIFT


def main() -> int:
    minutes = int(sys.argv[1])
    pause_ms = float(sys.argv[2]) if len(sys.argv) > 2 else PAUSE_MS
    requests = failed = 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as here:
        soak = Soak(here, pause_ms)
        for minute in range(minutes + 1):
            before = {name: len(samples) for name, samples in soak.samples.items()}
            found = soak.minute()
            requests += len(found)
            failed += sum(record.status != 200 for record in found)
            print(_row(minute, found, {name: of[before[name] :] for name, of in soak.samples.items()}), flush=True)
            if minute == 0:
                soak.samples = {name: [] for name in soak.samples}
    print(f"{requests} requests in {time.monotonic() - begin:.0f} s, {failed} failed")
    verdicts = [_is_steady(name, of) for name, of in soak.samples.items()]
    return 0 if all(verdicts) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
