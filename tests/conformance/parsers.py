"""HTTP/1.1 servers of different make that write down the requests they see: h11, the standard library, nginx.

Each is what our framing has to be unambiguous for. nginx hands each request it has read whole, as a new one with
a plain length, to an h11 recorder behind it.
"""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conformance.recorders import Record, Seen

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
# Nothing of what nginx would refuse or drop by taste rather than by framing; all bodies are read whole before they go
# on.
_CONFIG = """\
{user}daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    large_client_header_buffers 8 64k;
    ignore_invalid_headers off;
    underscores_in_headers on;
    merge_slashes off;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; }}
    }}
}}
"""


@contextmanager
def standard_library(record: Record) -> Iterator[int]:
    """The port of an http.server, its heads read by `email`, its chunks by hand."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(record))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(record: Record) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that hangs up in the middle of a body leaves no thread behind for longer.
        timeout = 5.0

        def __getattr__(self, name: str) -> Callable[[], None]:
            if not name.startswith("do_"):
                raise AttributeError(name)
            return self._serve

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _serve(self) -> None:
            body = self._body()
            if body is None:
                self.close_connection = True
                return
            record.seen.append(Seen(self.command, self.path, [], body))
            content = b"" if self.command == "HEAD" else b"ok"
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + content)

        def _body(self) -> bytes | None:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                return self._chunks()
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            return body if len(body) == length else None

        def _chunks(self) -> bytes | None:
            parts: list[bytes] = []
            while line := self.rfile.readline():
                size = int(line.partition(b";")[0], 16)
                if not size:
                    while (line := self.rfile.readline()) not in (b"\r\n", b""):
                        pass
                    return b"".join(parts) if line else None
                part = self.rfile.read(size + 2)
                if part[-2:] != b"\r\n" or len(part) != size + 2:
                    return None
                parts.append(part[:-2])
            return None

    return Handler


@contextmanager
def nginx(folder: Path, behind: int) -> Iterator[int]:
    """The port of an nginx that hands on to the port behind; only where NGINX is not None."""
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(_CONFIG.format(user=user, folder=folder, port=port, behind=behind))
    command = [NGINX, "-c", str(path), "-p", str(folder), "-e", str(folder / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(process, port)
            yield port
        finally:
            process.terminate()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        return
    raise AssertionError(f"nginx ended with {process.returncode}")
