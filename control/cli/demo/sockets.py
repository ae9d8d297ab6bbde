"""Ports before anything is started: a taken one is found while the message can still be one clear line."""

import socket
from contextlib import ExitStack

from milliroute.control.cli.demo.plan import HOST, Ports


class PortTaken(Exception):
    """A fixed port of the demo is in use."""

    def __init__(self, name: str, port: int) -> None:
        flag = "--page-port" if name == "page" else "--port-base"
        super().__init__(f"port {port} ({name}) is taken on {HOST}: stop what listens there, or choose with {flag} N")


def settle(ports: Ports) -> Ports:
    """Put a free port in the place of each 0. Raises PortTaken for a fixed one that is in use."""
    settled: dict[str, int] = {}
    with ExitStack() as held:
        # All are held until the last one is known, or one free port could be handed out twice.
        for name, port in sorted(ports.items(), key=lambda item: item[1] == 0):
            probe = held.enter_context(socket.socket())
            # As the servers do: a connection in TIME_WAIT from the run before does not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError as error:
                raise PortTaken(name, port) from error
            settled[name] = probe.getsockname()[1]
    return settled
