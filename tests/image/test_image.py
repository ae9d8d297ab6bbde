"""`make image-test`: the image as deploy/image/build leaves it, in MILLIROUTE_IMAGE_FOLDER (the folder given to it).

Needs root, for namespaces and chroot; without either it says so and skips.
"""

import hashlib
import json
import os
import signal
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, stand
from tests.image import container

FOLDER = os.environ.get("MILLIROUTE_IMAGE_FOLDER", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="no MILLIROUTE_IMAGE_FOLDER: `make image-test` builds it and runs this"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the image is started in namespaces of its own"),
]
ROOT = Path(FOLDER) / "root"
STARTED: list[Process] = []
COMPILERS = ("gcc", "cc", "c++", "g++", "clang", "ld", "as", "make", "pip", "pip3", "apt", "apt-get")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as made:
        yield made
        # Its death would not be that of what it started: who changes its user loses the signal of its parent's death.
        for process in STARTED:
            container.kill(process.pid)
        STARTED.clear()


def started(here: Stand, *words: str) -> Process:
    STARTED.append(here.start(*container.command(ROOT, *words)))
    return STARTED[-1]


def test_proxy_and_control_service_are_ready_as_nobody_on_a_read_only_root(here: Stand) -> None:
    backends = here.backends("reviews-v1", "reviews-v2", "reviews-v3")
    # The manifest is in the image's own folder: a pod gets it by a volume.
    manifest = "/usr/local/lib/python3.11/dist-packages/milliroute/deploy/demo/split.yaml"
    address = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    control = started(here, "milliroute", "control", "-f", manifest, *backend_flags(backends), *address)
    destination = control.address("grpc")
    listen = ["--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0"]
    proxy = started(here, "milliroute", "proxy", "--destination", destination, *listen)
    for process, admin in ((control, "control-admin"), (proxy, "admin")):
        eventually(lambda: get(process.port(admin), "/ready")[0] == 200, f"{admin} is ready")  # noqa: B023
    port = proxy.port("proxy")
    answers = Counter(get(port)[1] for _ in range(99))
    assert answers == {"reviews-v1": 33, "reviews-v2": 33, "reviews-v3": 33}
    status = Path(f"/proc/{container.first_process(proxy.pid)}/status").read_text()
    assert f"Uid:\t{container.UID}\t{container.UID}\t{container.UID}" in status
    assert "CapEff:\t0000000000000000" in status
    os.kill(container.first_process(proxy.pid), signal.SIGTERM)
    assert proxy.wait() == 0


def test_nothing_in_it_can_be_written_to(here: Stand) -> None:
    tried = "import os, sys; sys.exit(any(os.access(d, os.W_OK) for d, _, _ in os.walk('/usr')))"
    assert started(here, "python3", "-c", tried).wait() == 0
    assert started(here, "python3", "-c", "open('/tmp/x', 'w')").wait() == 1


def test_the_other_programs_of_the_manifests_are_in_it(here: Stand) -> None:
    rules = subprocess.run(
        container.command(ROOT, "milliroute", "iptables", "--simulate"), capture_output=True, check=True
    )
    assert b"MILLIROUTE_OUTPUT" in rules.stdout
    cluster = started(here, "milliroute", "control", "--kubernetes", "--kubeconfig", "/nowhere")
    assert cluster.wait() == 2
    assert any("/nowhere" in line for line in cluster.lines), cluster.lines  # and not that lightkube is missing
    webhook = started(here, "milliroute", "webhook", "--tls-cert", "/nowhere", "--tls-key", "/nowhere")
    assert webhook.wait() == 1
    assert any("/nowhere" in line for line in webhook.lines), webhook.lines


def test_byte_code_is_there_and_is_what_is_run() -> None:
    sources = list(ROOT.glob("usr/local/lib/python3.11/dist-packages/milliroute/**/*.py"))
    assert sources
    for source in sources:
        assert (source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc").exists(), source


def test_there_is_no_compiler_no_installer_and_nobody_becomes_root() -> None:
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"):
        assert [name for name in COMPILERS if (ROOT / folder / name).exists()] == []
    found = subprocess.run(["find", ROOT, "-xdev", "-type", "f", "-perm", "/6000"], capture_output=True, check=True)
    assert found.stdout == b""


def test_archive_is_an_image_whose_blobs_are_what_their_names_say() -> None:
    with tarfile.open(Path(FOLDER) / "milliroute.tar") as archive:

        def blob(digest: str) -> bytes:
            file = archive.extractfile("blobs/" + digest.replace(":", "/"))
            assert file is not None
            content = file.read()
            assert digest == "sha256:" + hashlib.sha256(content).hexdigest()
            return content

        index_file = archive.extractfile("index.json")
        assert index_file is not None
        (described,) = json.load(index_file)["manifests"]
        manifest = json.loads(blob(described["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        (layer,) = manifest["layers"]
        assert len(blob(layer["digest"])) == layer["size"]
    assert config["config"]["User"] == "2102:2102"
    assert config["config"]["Entrypoint"] == ["milliroute"]
