"""`milliroute inject` and `uninject`: files or stdin to stdout, and a line on stderr for each workload.

All files are read and changed before the first is printed, so that a bad one leaves nothing half said in a pipe to
kubectl.
"""

import os
import sys
from collections.abc import Iterator, Sequence

from milliroute.control import errors
from milliroute.control.inject import manifests, plan
from milliroute.control.inject.manifests import Decide, Outcome, Rewritten
from milliroute.control.inject.plan import Wish
from milliroute.control.source import reading
from milliroute.control.source.yaml import MAX_FILE_BYTES

STDIN = "-"


def inject(paths: Sequence[str], wish: Wish, is_whole: bool) -> None:
    """`is_whole`: the proxy itself, not only the annotation. Raises ControlError."""
    make = plan.mesh if is_whole else plan.annotate
    _rewrite(paths, lambda thing, written: make(thing, wish, written), "injected" if is_whole else "annotated")


def uninject(paths: Sequence[str]) -> None:
    """Raises ControlError."""
    _rewrite(paths, lambda thing, _: plan.unmesh(thing), "uninjected")


def _rewrite(paths: Sequence[str], decide: Decide, done: str) -> None:
    contents = [(path, _read(path)) for path in _files(paths)]
    rewritten = [manifests.rewrite(content, path, decide) for path, content in contents]
    sys.stdout.buffer.write(_joined(rewritten).encode())
    sys.stdout.buffer.flush()
    for outcome in (outcome for file in rewritten for outcome in file.outcomes):
        for line in _lines(outcome, done):
            print(f"milliroute: {outcome.title}: {line}", file=sys.stderr)


def _lines(outcome: Outcome, done: str) -> Iterator[str]:
    yield done if outcome.plan.edits else f"left as it is: {outcome.plan.skipped}"
    yield from (f"warning: {text}" for text in outcome.plan.warnings)


def _joined(files: Sequence[Rewritten]) -> str:
    """Several files are one stream of documents."""
    text = ""
    for file in files:
        if text and not file.text.startswith("---"):
            text += "---\n" if text.endswith("\n") else "\n---\n"
        text += file.text
    return text


def _files(paths: Sequence[str]) -> Iterator[str]:
    for path in paths or (STDIN,):
        if path != STDIN and os.path.isdir(path):
            yield from reading.listed(path)
        else:
            yield path


def _read(path: str) -> bytes:
    """One byte more than is allowed, so that `manifests` can refuse what is too large."""
    if path == STDIN:
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise errors.ControlError(f"{path}: {(error.strerror or str(error)).lower()}") from error
