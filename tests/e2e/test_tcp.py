"""TCP pass-through with real processes, real servers and TLS: what is not HTTP is split per connection."""

import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.stand import (
    PATIENCE_S,
    Process,
    Stand,
    backend_flags,
    eventually,
    get,
    is_ready,
    sequence,
    stand,
    write_split,
)
from tests.sizes import CODEC

MIB = 1024 * 1024
NAMES = ("reviews-v1", "reviews-v2")
DECLARED = """\
apiVersion: v1
kind: Service
metadata: {name: mail}
spec:
  ports: [{port: 25, appProtocol: tcp}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mail-1, labels: {kubernetes.io/service-name: mail}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1]}]
ports: [{port: %d}]
"""


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 65536))
        assert part, f"ended {size} bytes early"
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _send_frame(sock: socket.socket, data: bytes) -> None:
    sock.sendall(struct.pack(">I", len(data)) + data)


def _send_all_and_end(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _frame(sock: socket.socket) -> bytes:
    (size,) = struct.unpack(">I", _exactly(sock, 4))
    return _exactly(sock, size)


class _Handler(socketserver.BaseRequestHandler):
    """By the first byte: TLS (an echo), a frame of a 4-byte length (its name, then an echo), or HTTP/1.1."""

    server: "_Leaf"

    def handle(self) -> None:
        sock: socket.socket = self.request
        first = sock.recv(1, socket.MSG_PEEK)
        if first == b"\x16":
            with self.server.tls.wrap_socket(sock, server_side=True) as secure:
                _send_frame(secure, self.server.name.encode() + _frame(secure))
        elif first == b"\x00":
            _send_frame(sock, self.server.name.encode() + _frame(sock))
            self._echo(sock)
        elif first:
            self._http(sock)

    def _echo(self, sock: socket.socket) -> None:
        while data := sock.recv(65536):
            sock.sendall(data)
        sock.sendall(b"end")

    def _http(self, sock: socket.socket) -> None:
        body = self.server.name.encode()
        held = b""
        while data := sock.recv(65536):
            held += data
            while b"\r\n\r\n" in held:
                held = held.partition(b"\r\n\r\n")[2]
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


class _Leaf(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, name: str, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.tls = tls


@contextmanager
def _leaves(tls: ssl.SSLContext) -> Iterator[list[int]]:
    servers = [_Leaf(name, tls) for name in NAMES]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield [server.server_address[1] for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Its own authority, with its key in the same file."""
    path = tmp_path / "reviews.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=reviews "
        f"-addext subjectAltName=DNS:reviews -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def _run(here: Stand, codec: str, *arguments: str) -> Process:
    run = here.milliroute(
        "run", *arguments, "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--codec", codec
    )
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


@contextmanager
def _proxy(folder: Path, codec: str = "fast", certificate: Path | None = None) -> Iterator[int]:
    """The port of a proxy with the split of the tutorials over both leaves."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        tls.load_cert_chain(certificate)
    with _leaves(tls) as ports, stand(folder) as here:
        arguments = ["-f", str(write_split(folder)), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews"]
        yield _run(here, codec, *arguments).port("proxy")


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


@CODEC
def test_1000_connections_split_exactly_beside_requests(tmp_path: Path, codec: str) -> None:
    with _proxy(tmp_path, codec) as port:
        seen = []
        for _ in range(1000):
            with _connect(port) as sock:
                _send_frame(sock, b"")
                seen.append(_frame(sock).decode())
        assert Counter(seen) == {NAMES[0]: 900, NAMES[1]: 100}
        assert all(seen[start : start + 10].count(NAMES[1]) == 1 for start in range(991))
        assert Counter(sequence(port, 1000)) == {NAMES[0]: 900, NAMES[1]: 100}


def test_8_mib_pass_both_ways_and_each_side_ends_on_its_own(tmp_path: Path) -> None:
    data = bytes(range(256)) * (8 * MIB // 256)
    with _proxy(tmp_path) as port, _connect(port) as sock:
        _send_frame(sock, b"")
        assert _frame(sock).decode() in NAMES
        sender = threading.Thread(target=_send_all_and_end, args=(sock, data))
        sender.start()
        back = _exactly(sock, len(data) + 3)
        sender.join()
        assert back == data + b"end"
        assert sock.recv(1) == b""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls_from_end_to_end_through_a_plain_listener(tmp_path: Path, certificate: Path) -> None:
    client = ssl.create_default_context(cafile=str(certificate))
    with _proxy(tmp_path, certificate=certificate) as port:
        seen = []
        for number in range(20):
            with _connect(port) as plain, client.wrap_socket(plain, server_hostname="reviews") as secure:
                _send_frame(secure, b" %d" % number)
                name, _, echoed = _frame(secure).decode().partition(" ")
                assert echoed == str(number)
                seen.append(name)
        assert Counter(seen) == {NAMES[0]: 18, NAMES[1]: 2}


def test_malformed_requests_are_answered_and_not_passed_on(tmp_path: Path) -> None:
    with _proxy(tmp_path) as port:
        for line in (b"GET / FOO", b"GET /", b"get / http/1.1", b"FOO / HTTP/1.1\rX", b"\x0bGET / HTTP/1.1"):
            with _connect(port) as sock:
                sock.sendall(line + b"\r\n\r\n")
                assert sock.recv(65536).startswith(b"HTTP/1.1 400 "), line


def test_a_declared_server_that_speaks_first_is_heard_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, stand(tmp_path) as here:
        (tmp_path / "mail.yaml").write_text(DECLARED % server.getsockname()[1])
        run = _run(here, "fast", "-f", str(tmp_path / "mail.yaml"), "--listen", "127.0.0.1:0=mail")
        with _connect(run.port("proxy")) as client:
            server.settimeout(PATIENCE_S)
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"220 ready\r\n")
                assert _exactly(client, 11) == b"220 ready\r\n"
                client.sendall(b"EHLO x\r\n")
                assert _exactly(accepted, 8) == b"EHLO x\r\n"
        series = 'tcp_open_total{direction="outbound",peer="dst"} 1.0'
        eventually(lambda: series in get(run.port("admin"), "/metrics")[1], "the connection in /metrics")
