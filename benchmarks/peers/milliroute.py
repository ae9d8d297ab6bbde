"""milliroute: the control service on the other core, the proxy (agent and worker, both counted) on its own."""

import os
import sys
from pathlib import Path

from benchmarks.machine import first_line
from benchmarks.peers.peer import Lab, Running, two_ports
from benchmarks.process import Process

SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata:
  name: bench
spec:
  service: apex
  backends:
  - service: stable
    weight: 900m
  - service: canary
    weight: 100m
---
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata:
  name: bench-h2
spec:
  service: apex-h2
  backends:
  - service: stable-h2
    weight: 900m
  - service: canary-h2
    weight: 100m
"""


class Milliroute:
    """As users run it: defaults, one worker, metrics on; control service and proxy as two programs."""

    name = "milliroute"
    splits = True
    proxy_flags: tuple[str, ...] = ()

    def manifest(self) -> str:
        """What the control service reads."""
        return SPLIT

    def find(self) -> str | None:
        named = os.environ.get("BENCH_MILLIROUTE")
        script = Path(named) if named else Path(sys.executable).with_name("milliroute")
        return str(script) if os.access(script, os.X_OK) else None

    def how_to_install(self) -> str:
        return "make install"

    def version(self, program: str) -> str:
        return first_line([program, "version"]) or "unknown"

    def start(self, program: str, lab: Lab) -> Running:
        manifest = lab.folder / "split.yaml"
        manifest.write_text(self.manifest())
        control = Process(control_command(program, lab, manifest), lab.folder, "control", lab.cores.load)
        started = [control]
        try:
            grpc_port = int(control.wait_for_line(r"listening grpc \S+:(\d+)", control.log)[1])
            proxy = Process(
                [*proxy_command(program, grpc_port), *self.proxy_flags], lab.folder, "proxy", lab.cores.proxy
            )
            started.append(proxy)
            port = int(proxy.wait_for_line(r"listening proxy \S+?:(\d+)=apex$", proxy.log)[1])
            h2_port = int(proxy.wait_for_line(r"listening proxy \S+?:(\d+)=apex-h2$", proxy.log)[1])
            proxy.wait_until_serving(port)
        except BaseException:
            for process in reversed(started):
                process.stop()
            raise
        return Running(two_ports(port, h2_port), (proxy,), (control, proxy))


def control_command(program: str, lab: Lab, manifest: Path) -> list[str]:
    """`milliroute control` over this file."""
    backends = {
        "stable": lab.h1.stable_port, "canary": lab.h1.canary_port,
        "stable-h2": lab.h2.stable_port, "canary-h2": lab.h2.canary_port,
    }  # fmt: skip
    named = [word for name, port in backends.items() for word in ("--backend", f"{name}=127.0.0.1:{port}")]
    listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    return [program, "control", "-f", str(manifest), *named, *listen]


def proxy_command(program: str, grpc_port: int) -> list[str]:
    """`milliroute proxy` with two listeners, on free ports, the second for those who speak HTTP/2."""
    listen = ["--listen", "127.0.0.1:0=apex", "--listen", "127.0.0.1:0=apex-h2", "--admin", "127.0.0.1:0"]
    return [program, "proxy", "--destination", f"127.0.0.1:{grpc_port}", *listen]
