"""A worker started by exec and not by fork: `python -m milliroute.proxy.worker_main PIPE_FD LISTEN_FDS CONFIG LEVEL`.

Only the agent starts it (children.spawn); the arguments are its own, so what does not decode is a bug and raises.
"""

import sys

import milliroute.proxy.lean  # isort: skip  # noqa: F401  # before msgspec
import msgspec

from milliroute.proxy import worker
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.logs import configure_logs
from milliroute.proxy.shield import shield_from_terminal


def main(argv: list[str]) -> None:
    shield_from_terminal()
    pipe_fd, listen_fds, config, log_level = argv
    parsed = msgspec.json.decode(config, type=ProxyConfig)
    configure_logs(log_level)
    worker.main(int(pipe_fd), [int(fd) for fd in listen_fds.split(",")], parsed)


if __name__ == "__main__":
    main(sys.argv[1:])
