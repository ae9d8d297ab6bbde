"""A real etcd and kube-apiserver from the folder KUBEBUILDER_ASSETS, for the conformance suite."""

import contextlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kube.wire import Wire

FOLDER = "KUBEBUILDER_ASSETS"
_TOKEN = "conformance"
# The real server makes its own namespaces and roles before it says that it is ready.
_START_S = 60.0


def missing() -> str:
    """Why there is no real server to test against; empty when there is one."""
    folder = os.environ.get(FOLDER, "")
    if not folder:
        return f"{FOLDER} is not set: it names a folder with etcd and kube-apiserver; the stand-in alone was tested"
    lacking = [name for name in ("etcd", "kube-apiserver") if not (Path(folder) / name).exists()]
    return f"{FOLDER}={folder} has no {' and no '.join(lacking)}" if lacking else ""


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Wire]:
    """Both processes in this folder, ready; they are gone afterwards."""
    assets = Path(os.environ[FOLDER])
    etcd_port, peer_port, port = _ports(3)
    (folder / "tokens.csv").write_text(f'{_TOKEN},tester,tester,"system:masters"\n')
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    etcd = [
        str(assets / "etcd"), f"--data-dir={folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}", f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
    ]  # fmt: skip
    apiserver = [
        str(assets / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{etcd_port}", "--bind-address=127.0.0.1",
        f"--secure-port={port}", f"--cert-dir={folder / 'certs'}", f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://test",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
        "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip
    with _process(etcd, folder / "etcd.log"), _process(apiserver, folder / "apiserver.log"):
        # It signs its own certificate; whom this test talks to is known by the port.
        wire = Wire(f"https://127.0.0.1:{port}", _TOKEN, ssl._create_unverified_context())
        _wait(wire, folder)
        yield wire


def _wait(wire: Wire, folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if wire.ask("GET", "/readyz").status == 200 and wire.ask("GET", _DEFAULT).status == 200:
                return
        time.sleep(0.2)
    log = (folder / "apiserver.log").read_text()[-2000:]
    raise TimeoutError(f"kube-apiserver is not ready after {_START_S:.0f} s: {log}")


_DEFAULT = "/api/v1/namespaces/default"


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _ports(count: int) -> list[int]:
    """Free a moment ago: these servers cannot be asked for port 0."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]
