"""grpc.aio: how gRPC is proxied in Python today; see `benchmarks.grpc_aio`. It speaks nothing but gRPC."""

import importlib.util
import platform
import sys
from importlib.metadata import version

from benchmarks.peers.peer import Lab, Running
from benchmarks.process import Process


class GrpcAio:
    """One process; grpc's own threads are counted with it."""

    name = "grpc-aio"
    splits = True

    def find(self) -> str | None:
        return sys.executable if importlib.util.find_spec("grpc") else None

    def how_to_install(self) -> str:
        return ".venv/bin/pip install grpcio"

    def version(self, program: str) -> str:
        return f"grpcio {version('grpcio')}, Python {platform.python_version()}"

    def start(self, program: str, lab: Lab) -> Running:
        backends = [f"127.0.0.1:{port}" for port in (lab.h2.stable_port, lab.h2.canary_port)]
        process = Process([program, "-m", "benchmarks.grpc_aio", *backends], lab.folder, self.name, lab.cores.proxy)
        try:
            port = int(process.wait_for_line(r"^(\d+)\n", process.output)[1])
        except BaseException:
            process.stop()
            raise
        return Running({"grpc": port}, (process,), (process,))
