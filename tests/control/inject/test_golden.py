"""Manifests of many layouts: what is printed, that nothing else changed, and that it can be taken back."""

import base64
import copy
import json
from pathlib import Path

import jsonpatch
import kubernetes_validate
import pytest
import yaml

from milliroute.control.inject import admission, plan
from milliroute.control.inject.edits import applied, json_patch
from tests.control.inject import golden
from tests.control.inject.golden import FOLDER, NATIVE, SOURCES

CASES = list(golden.cases())
NAMES = [kept.name for _, _, kept in CASES]
# Says itself that it is to be injected: there is nothing to bring, and what it says is what is taken away.
SAYS_SO = ("nginx.yaml", "annotated")


@pytest.mark.parametrize(("source", "form", "kept"), CASES, ids=NAMES)
def test_inject_prints_what_is_kept(source: Path, form: str, kept: Path) -> None:
    assert golden.injected(source.read_bytes(), source.name, form).text.encode() == kept.read_bytes()


@pytest.mark.parametrize(("source", "form", "kept"), CASES, ids=NAMES)
def test_uninject_gives_the_original_back_byte_for_byte(source: Path, form: str, kept: Path) -> None:
    if (source.name, form) != SAYS_SO:
        assert golden.uninjected(kept.read_bytes(), source.name).text.encode() == source.read_bytes()


@pytest.mark.parametrize(("source", "form", "kept"), CASES, ids=NAMES)
def test_inject_twice_is_inject_once(source: Path, form: str, kept: Path) -> None:
    assert golden.injected(kept.read_bytes(), source.name, form).text.encode() == kept.read_bytes()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_uninject_leaves_alone_what_was_never_injected(source: Path) -> None:
    if source.name != SAYS_SO[0]:
        assert golden.uninjected(source.read_bytes(), source.name).text.encode() == source.read_bytes()


@pytest.mark.parametrize(("source", "form", "kept"), CASES, ids=NAMES)
def test_what_is_printed_is_what_kubernetes_takes(source: Path, form: str, kept: Path) -> None:
    for thing in _objects(kept):
        kubernetes_validate.validate(thing, "1.34", strict=True)


@pytest.mark.parametrize(("source", "form", "kept"), [c for c in CASES if c[1] == "native"], ids=lambda c: str(c)[-20:])
def test_a_json_patch_applied_by_a_stranger_gives_what_inject_prints(source: Path, form: str, kept: Path) -> None:
    for before, after in zip(_objects(source), _objects(kept), strict=True):
        if before["kind"] == "Namespace":
            continue
        # Without a text, as in the webhook: nothing remembers how an empty value was written.
        patch = json_patch(plan.mesh(before, NATIVE).edits)
        assert jsonpatch.apply_patch(copy.deepcopy(before), patch) == _without_memory(after)


def test_the_webhook_gives_a_pod_what_inject_prints_for_it() -> None:
    pod = _objects(FOLDER / "manifests" / "list.yaml")[0]
    request = {"uid": "1", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    response = json.loads(admission.answered(json.dumps(review).encode(), NATIVE, "enabled").body)["response"]
    patch = json.loads(base64.b64decode(response["patch"]))
    assert jsonpatch.apply_patch(pod, patch) == applied(pod, plan.mesh(pod, NATIVE).edits)
    assert jsonpatch.apply_patch(pod, patch) == _objects(FOLDER / "golden" / "list.native.yaml")[0]


def _objects(path: Path) -> list[dict[str, object]]:
    """Kubernetes' own kinds only."""
    found = [thing for thing in yaml.safe_load_all(path.read_bytes()) if thing]
    listed = [item for thing in found for item in (thing["items"] if thing["kind"] == "List" else [thing])]
    return [thing for thing in listed if not thing["apiVersion"].startswith("example.org/")]


def _without_memory(thing: dict[str, object]) -> object:
    copied = copy.deepcopy(thing)
    for value in _mappings(copied):
        value.pop("milliroute.io/was-empty", None)
    return copied


def _mappings(value: object) -> list[dict[str, object]]:
    if isinstance(value, list):
        return [found for item in value for found in _mappings(item)]
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in _mappings(item))]
    return []
