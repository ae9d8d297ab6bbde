"""deploy/ says what `milliroute install` says, and kubectl's kustomize builds every overlay."""

import json
import runpy
import shutil
import subprocess
import tarfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from milliroute.control.config import VERSION
from milliroute.control.install.options import Options

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ["base", *(f"overlays/{path.name}" for path in sorted((DEPLOY / "overlays").iterdir()))]


def test_manifests_are_what_install_prints() -> None:
    made = runpy.run_path(str(DEPLOY / "make_manifests.py"))["made"]()
    for path, content in made.items():
        assert (DEPLOY / path).read_text() == content, f"{path}: run deploy/make_manifests.py"


def test_image_is_called_what_install_asks_for(tmp_path: Path) -> None:
    root, archive = tmp_path / "root", tmp_path / "image.tar"
    root.mkdir()
    runpy.run_path(str(DEPLOY / "image" / "pack.py"))["main"](root, archive, VERSION)
    with tarfile.open(archive) as made:
        index = made.extractfile("index.json")
        assert index is not None
        (described,) = json.load(index)["manifests"]
    assert described["annotations"] == {
        "org.opencontainers.image.ref.name": Options().image,
        "io.containerd.image.name": f"docker.io/library/{Options().image}",
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl: overlays are not built")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_builds_and_is_valid(overlay: str) -> None:
    built = subprocess.run(["kubectl", "kustomize", DEPLOY / overlay], capture_output=True, check=True, text=True)
    objects = [one for one in yaml.safe_load_all(built.stdout) if "cert-manager" not in one["apiVersion"]]
    assert objects
    for one in objects:
        kubernetes_validate.validate(one, "1.29", strict=True)
    replicas = {one["spec"]["replicas"] for one in objects if one["kind"] == "Deployment"}
    assert replicas == ({1} if overlay.endswith("small") else {2})
