"""deploy/ says what `milliroute install` says, and kubectl's kustomize builds every overlay."""

import runpy
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ["base", *(f"overlays/{path.name}" for path in sorted((DEPLOY / "overlays").iterdir()))]


def test_manifests_are_what_install_prints() -> None:
    made = runpy.run_path(str(DEPLOY / "make_manifests.py"))["made"]()
    for path, content in made.items():
        assert (DEPLOY / path).read_text() == content, f"{path}: run deploy/make_manifests.py"


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
