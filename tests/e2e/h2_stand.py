"""What the HTTP/2 tests start besides milliroute: `run` before any backends, nghttpd, and leaves that say which version
of HTTP they speak.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from h2.events import RequestReceived

from tests.e2e.h2_peer import Backend, Peer, backend, client
from tests.e2e.stand import TUTORIAL, Process, Stand, backend_flags, eventually, get, is_ready, stand, write_split

H2C = "kubernetes.io/h2c"
LEAVES = ("reviews-v1", "reviews-v2")
BOTH_CODECS = pytest.mark.parametrize("codec", ["fast", "reference"])
_LEAF = """\
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{port: 80, appProtocol: {protocol}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{port: {port}}}]
"""
_COUNT = re.compile(r"^request_total\{(.*)\} (\S+)$", re.MULTILINE)


def needs(*commands: str) -> pytest.MarkDecorator:
    """Debian packages of the base run: curl, nghttp2-client, nghttp2-server (.ci/run installs them)."""
    missing = [command for command in commands if shutil.which(command) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(here: Stand, ports: Sequence[int], codec: str, *weights: str) -> Process:
    """milliroute before one backend for each port, speaking to them as its clients speak to it."""
    return _started(here, write_split(here.folder, *weights), codec, *backend_flags(ports))


def run_speaking(here: Stand, ports: Sequence[int], codec: str, protocol: str, *weights: str) -> Process:
    """The same with leaves whose Service port says its appProtocol."""
    path = here.folder / "leaves.yaml"
    v1, v2 = weights or ("900m", "100m")
    leaves = [_LEAF.format(name=name, port=port, protocol=protocol) for name, port in zip(LEAVES, ports, strict=False)]
    path.write_text(TUTORIAL.format(v1=v1, v2=v2) + "".join(leaves))
    return _started(here, path, codec)


def _started(here: Stand, path: Path, codec: str, *more: str) -> Process:
    made = here.milliroute(
        "run", "-f", str(path), *more, "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0",
        "--control-admin", "127.0.0.1:0", "--codec", codec,
    )  # fmt: skip
    admin = made.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return made


def nghttpd(here: Stand, folder: Path, *options: str) -> int:
    """The port of nghttp2's server without TLS, serving the folder's files; it can't choose a port by itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
    here.start("nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(folder), *options, str(port))
    eventually(lambda: _accepts(port), f"nghttpd on {port}")
    return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def requests_by_leaf(admin: int) -> Mapping[str, int]:
    """request_total of the proxy's /metrics."""
    found: dict[str, int] = {}
    for labels, value in _COUNT.findall(get(admin, "/metrics")[1]):
        name = re.search(r'dst_service="([^"]*)"', labels)
        assert name is not None, labels
        found[name[1]] = found.get(name[1], 0) + int(float(value))
    return found


def output(*command: str) -> str:
    """Of a client that must succeed within a minute."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}\n{done.stdout}"
    return done.stdout


@contextmanager
def between(folder: Path, codec: str, *, takes: bool = True) -> Iterator[tuple[Peer, Backend, Process]]:
    """A client, and the one leaf that has weight. takes: the client gives windows back by itself."""
    with stand(folder) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy"), takes=takes) as peer:
            yield peer, origin, proxy


def accepted(origin: Backend, *, takes: bool = True) -> tuple[Peer, int]:
    """The backend's side of the first request on a new connection."""
    server = origin.accept(takes=takes)
    stream_id = server.until(RequestReceived).stream_id
    assert stream_id is not None
    return server, stream_id
