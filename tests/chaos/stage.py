"""One mesh for one scenario: a control service, a proxy, three endpoints of two leaves, each a process, and a load.

A fault gets the Stage, hurts it, calls `hold` (or loops over `during`) and heals it. Everything is stopped by pid.
"""

import http.client
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.chaos import mesh, records
from tests.chaos.clients import PAUSE_MS
from tests.chaos.mesh import V1, V2
from tests.chaos.records import Record
from tests.e2e.stand import MILLIROUTE, PATIENCE_S, Process, Stand, eventually, get_json, is_ready

# Endpoints by name: the leaf and a letter.
ENDPOINTS = {"a": V1, "b": V1, "c": V2}
# A fresh proxy's retries are paid for by requests: some of them before the fault, and some after it.
WARM_S = 0.4


class Stage:
    """seconds: how long a fault lasts. flags: of the proxy. environment: of the control service and the proxy."""

    def __init__(self, here: Stand, seed: int, seconds: float) -> None:
        self.here = here
        self.folder = here.folder
        self.rng = random.Random(seed)
        self.seconds = seconds
        self._seed = seed
        self._processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        self.environment: dict[str, str] = {}
        self.flags: tuple[str, ...] = ()
        self.turns = 0
        self.files = ["split.yaml", "services.yaml", "endpoints.yaml"]
        self.clock = here.folder / "clock"

    def start(self, annotations: Mapping[str, str], *flags: str) -> None:
        self.flags = flags
        for name in ENDPOINTS:
            self._start_endpoint(name, 0)
        self.ports = {name: self._processes[name].port(name) for name in ENDPOINTS}
        mesh.write_split(self.folder)
        mesh.write_services(self.folder, annotations)
        mesh.write_endpoints(self.folder, self.ports_by_leaf())
        self.control_address = "127.0.0.1:0"
        self.start_control()
        self.control_address = self.control.address("grpc")
        self.proxy = self.here.start(
            MILLIROUTE, "proxy", "--destination", self.control_address, "--listen", "127.0.0.1:0=reviews",
            "--admin", "127.0.0.1:0", *flags, **self.environment,
        )  # fmt: skip
        self.port, self.admin = self.proxy.port("proxy"), self.proxy.port("admin")
        eventually(lambda: is_ready(self.admin), "readiness")

    # Endpoints

    def ports_by_leaf(self, *without: str) -> dict[str, list[int]]:
        leaves: dict[str, list[int]] = {V1: [], V2: []}
        for name, leaf in ENDPOINTS.items():
            if name not in without:
                leaves[leaf].append(self.ports[name])
        return leaves

    def _start_endpoint(self, name: str, port: int) -> None:
        command = (sys.executable, "-m", "tests.chaos.backend", name, str(port), str(self.folder / f"ledger-{name}"))
        self._processes[name] = self.here.start(*command)

    def kill(self, name: str) -> None:
        self._processes[name].signal(signal.SIGKILL)
        self._processes[name].wait()

    def restart(self, name: str) -> None:
        self._start_endpoint(name, self.ports[name])
        self._processes[name].port(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].signal(number)

    def set_mode(self, name: str, mode: str) -> None:
        """Of tests/chaos/faulty.py, by the endpoint's own port."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=PATIENCE_S)) as connection:
            connection.request("PUT", f"/_/{mode}")
            assert connection.getresponse().status == 200

    def sent_twice(self) -> int:
        """POSTs that reached endpoints more than once."""
        seen = [line for name in ENDPOINTS for line in (self.folder / f"ledger-{name}").read_text().splitlines()]
        return len(seen) - len(set(seen))

    # Control service and proxy

    def start_control(self, *files: str) -> None:
        """files: in place of its own."""
        paths = [part for name in files or self.files for part in ("-f", str(self.folder / name))]
        self.control = self.here.start(
            MILLIROUTE, "control", *paths, "--listen", self.control_address, "--admin", "127.0.0.1:0",
            **self.environment,
        )  # fmt: skip
        self.control.address("grpc")

    def kill_control(self) -> None:
        self.control.signal(signal.SIGKILL)
        self.control.wait()

    def workers(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/children").read_text().split()]

    def is_connected(self) -> bool:
        control = get_json(self.admin, "/splits")["control"]
        assert isinstance(control, dict)
        return bool(control["state"] == "connected")

    def await_weights(self, v1: str, v2: str) -> None:
        eventually(partial(self._has_weights, [v1, v2]), f"the weights {v1} and {v2} in the proxy")

    def _has_weights(self, wanted: list[str]) -> bool:
        return [leaf["weight"] for leaf in self._leaves()] == wanted

    def version(self) -> int:
        """Of the table in force."""
        return int(get_json(self.admin, "/splits")["authorities"][0]["version"])  # type: ignore[index]  # JSON

    def _leaves(self) -> list[dict[str, object]]:
        """Of the split, as the proxy shows it; none while it does not know the apex."""
        page = get_json(self.admin, "/splits")
        authority = page["authorities"][0]  # type: ignore[index]  # JSON
        return authority["splits"][0]["leaves"] if authority["known"] else []

    def settle(self) -> None:
        """Until the proxy has in force what the control service has published, and has all endpoints."""
        eventually(self._has_all_endpoints, "all endpoints in the proxy")

    def _has_all_endpoints(self) -> bool:
        return [leaf["endpoints"] for leaf in self._leaves()] == [2, 1]

    def logs(self) -> str:
        """The last of what the control service and the proxy have said."""
        return "\n".join(f"    {line}" for line in (*self.control.lines[-8:], *self.proxy.lines[-8:]))

    # Time and load

    def hold(self, share: float = 1.0) -> None:
        time.sleep(self.seconds * share)

    def during(self, period_s: float) -> Iterator[int]:
        """Numbers, one for each period, until the fault's time is over; turns: how many there were."""
        begin, self.turns = time.monotonic(), 0
        while time.monotonic() - begin < self.seconds:
            yield self.turns
            self.turns += 1
            time.sleep(max(0.0, begin + self.turns * period_s - time.monotonic()))

    @contextmanager
    def load(self, into: list[Record], pause_ms: float = PAUSE_MS) -> Iterator[None]:
        """The clients of tests/chaos/clients.py while the block runs, and a little before and after."""
        file = self.folder / "records"
        process = self.here.start(
            sys.executable, "-m", "tests.chaos.clients", str(self.port), str(file), str(self._seed), str(pause_ms)
        )
        process.address("load")
        try:
            time.sleep(WARM_S)
            yield
            time.sleep(WARM_S)
        finally:
            process.close_stdin()
            ended = process.wait()
        assert ended == 0, process.lines
        into += records.read(file)

    def connections(self, count: int) -> list[socket.socket]:
        """Idle ones to the proxy; the caller closes them."""
        return [socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) for _ in range(count)]

    def hogs(self, count: int) -> list[socket.socket]:
        """The same, each with a head of 30 KiB that does not end. Fewer where the proxy takes no more."""
        made = []
        for _ in range(count):
            with suppress(OSError):
                client = socket.create_connection(("127.0.0.1", self.port), 0.2)
                made.append(client)
                client.sendall(
                    b"GET / HTTP/1.1\r\nhost: reviews\r\n" + b"x-hog: %b\r\n" % bytes(750).hex().encode() * 20
                )
        return made
