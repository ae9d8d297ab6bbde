"""Manifests to inject, and reviews of the API server: changed and taken back byte for byte, or refused in words."""

from milliroute.control.errors import ControlError
from milliroute.control.inject import admission
from milliroute.control.inject.admission import ReviewError
from tests.control.inject import golden
from tests.control.inject.reviews import pod, response, review
from tests.fuzz.target import Target, check_said

_YAML = (
    b"&a ", b"*a", b"<<: *a", b"- ", b": ", b"{", b"}", b"[", b"]", b"'", b'"', b"|\n", b">-\n", b"---\n", b"...\n",
    b"# ", b"? ", b"!x ", b"null", b"~", b"annotations:", b"metadata: {}\n", b"  ", b"{}", b"initContainers: []\n",
)  # fmt: skip


def _inject(data: bytes) -> None:
    try:
        once = golden.injected(data, "f.yaml", "native").text.encode()
    except ControlError as error:
        _check_places(str(error))
        return
    assert golden.injected(once, "f.yaml", "native").text.encode() == once
    if once != data and b"io/inject" not in data and b"io/was-empty" not in data:
        assert golden.uninjected(once, "f.yaml").text.encode() == data


def _check_places(said: str) -> None:
    assert all(line.startswith("f.yaml") for line in said.split("\n"))


def _admission(data: bytes) -> None:
    try:
        answer = admission.answered(data, golden.NATIVE, "enabled")
    except ReviewError as error:
        check_said(error)
        return
    assert response(answer.body)["allowed"] is True


def _seeds() -> list[bytes]:
    return [document for source in golden.SOURCES for document in source.read_bytes().split(b"---\n") if document]


TARGETS = (
    Target("inject", _seeds, _inject, _YAML),
    Target(
        "admission",
        lambda: [review(pod(inject="enabled")), review(pod()), review(None)],
        _admission,
        (b'"', b"{", b"[", b"null"),
    ),
)
