"""HAProxy: `apt-get install haproxy`."""

from benchmarks.machine import first_line
from benchmarks.peers.peer import Backends, Lab, Running, find_program, start_and_wait, two_ports
from benchmarks.process import free_ports

# A server's weight is at most 256 (configuration manual, "weight"), so 900/100 is said as 225/25.
_CONFIG = """\
global
    nbthread 1
    maxconn 1000

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always

frontend bench
    bind 127.0.0.1:{port}
    default_backend split

backend split
    balance roundrobin
    server stable 127.0.0.1:{stable_port} weight 225
    server canary 127.0.0.1:{canary_port} weight 25

frontend bench_h2
    bind 127.0.0.1:{h2_port} proto h2
    default_backend split_h2

backend split_h2
    balance roundrobin
    server stable 127.0.0.1:{stable_h2_port} weight 225 proto h2
    server canary 127.0.0.1:{canary_h2_port} weight 25 proto h2
"""


class Haproxy:
    """One process, one thread, weighted round robin, `http-reuse always`."""

    name = "haproxy"
    splits = True

    def find(self) -> str | None:
        return find_program("haproxy", "BENCH_HAPROXY")

    def how_to_install(self) -> str:
        return "apt-get install haproxy, or set BENCH_HAPROXY to the binary"

    def version(self, program: str) -> str:
        # "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"
        return " ".join(first_line([program, "-v"]).split()[2:3]) or "unknown"

    def start(self, program: str, lab: Lab) -> Running:
        port, h2_port = free_ports(2)
        path = lab.folder / "haproxy.cfg"
        path.write_text(config(port, lab.h1, h2_port, lab.h2))
        # -db: stay in the foreground, one process.
        return start_and_wait([program, "-f", str(path), "-db"], lab, self.name, two_ports(port, h2_port))


def config(port: int, h1: Backends, h2_port: int, h2: Backends) -> str:
    """The configuration file."""
    return _CONFIG.format(
        port=port, stable_port=h1.stable_port, canary_port=h1.canary_port,
        h2_port=h2_port, stable_h2_port=h2.stable_port, canary_h2_port=h2.canary_port,
    )  # fmt: skip
