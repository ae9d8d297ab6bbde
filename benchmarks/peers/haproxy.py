"""HAProxy: `apt-get install haproxy`."""

from benchmarks.machine import first_line
from benchmarks.peers.peer import Lab, Running, find_program, start_and_wait
from benchmarks.process import free_port

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
        port = free_port()
        path = lab.folder / "haproxy.cfg"
        path.write_text(config(port, lab.stable_port, lab.canary_port))
        # -db: stay in the foreground, one process.
        return start_and_wait([program, "-f", str(path), "-db"], lab, self.name, port)


def config(port: int, stable_port: int, canary_port: int) -> str:
    """The configuration file."""
    return _CONFIG.format(port=port, stable_port=stable_port, canary_port=canary_port)
