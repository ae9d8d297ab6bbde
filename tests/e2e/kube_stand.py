"""A cluster on one machine: the API server stand-in, control services over it, and a proxy that reaches them as through
a Service: each new connection goes to one that is up."""

import socket
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from tests.control.kubernetes.building import Json
from tests.control.kubernetes.standing import cluster, endpoints, put, service, split
from tests.e2e.stand import Process, Stand, eventually, is_ready
from tests.kube.standin import Standin

__all__ = ["Front", "cluster", "control", "objects", "proxy", "set_weights"]

LEAVES = ("reviews-v1", "reviews-v2")


def objects(ports: Sequence[int], v1: str = "900m", v2: str = "100m") -> list[Json]:
    """A split of reviews over two leaves with these ports, all that is needed to route."""
    slices = [one for name, port in zip(LEAVES, ports, strict=True) for one in endpoints(name, port)]
    return [split("reviews", v1, v2), service("reviews"), *(service(name) for name in LEAVES), *slices]


def set_weights(api: Standin, v1: str, v2: str) -> None:
    put(api, split("reviews", v1, v2))


def control(here: Stand, kubeconfig: Path) -> Process:
    """Returns when it has announced its listeners: then it has listed everything."""
    process = here.milliroute(
        "control", "--kubernetes", "--kubeconfig", str(kubeconfig), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"
    )
    process.address("grpc")
    return process


def proxy(here: Stand, destination: str) -> Process:
    """Ready to route."""
    process = here.milliroute(
        "proxy", "--destination", destination, "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0"
    )
    admin = process.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return process


class Front:
    """What a Service is to its clients: connections go to the first of `ports` that takes them."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with closing(client):
            for port in self.ports:
                with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port))) as server:
                    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                    back.start()
                    _copy(client, server)
                    back.join()
                    return


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
