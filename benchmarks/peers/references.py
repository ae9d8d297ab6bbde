"""Two honest references: no proxy at all, and bytes copied by uvloop with nothing understood. Neither splits."""

import platform
import sys
from importlib.metadata import version

from benchmarks.peers.peer import Lab, Running, two_ports
from benchmarks.process import Process


class Direct:
    """Load generator to backend: what all rates and latencies hold before any proxy adds to them."""

    name = "direct"
    splits = False

    def find(self) -> str | None:
        return "no proxy"

    def how_to_install(self) -> str:
        return "nothing to install"

    def version(self, program: str) -> str:
        return program

    def start(self, program: str, lab: Lab) -> Running:
        return Running(two_ports(lab.h1.stable_port, lab.h2.stable_port), (), ())


class Splice:
    """`benchmarks.splice`: the floor of any asyncio proxy."""

    name = "splice"
    splits = False

    def find(self) -> str | None:
        return sys.executable

    def how_to_install(self) -> str:
        return "nothing to install"

    def version(self, program: str) -> str:
        return f"uvloop {version('uvloop')}, Python {platform.python_version()}"

    def start(self, program: str, lab: Lab) -> Running:
        backends = [f"127.0.0.1:{lab.h1.stable_port}", f"127.0.0.1:{lab.h1.canary_port}"]
        command = [program, "-m", "benchmarks.splice", *backends]
        process = Process(command, lab.folder, self.name, lab.cores.proxy)
        try:
            port = int(process.wait_for_line(r"^(\d+)\n", process.output)[1])
            process.wait_until_serving(port)
        except BaseException:
            process.stop()
            raise
        return Running({"h1": port}, (process,), (process,))
