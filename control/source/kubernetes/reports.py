"""What is to be said to the writers of objects in the cluster: Events of TrafficSplits.

In: the entries of the TrafficSplits, and the reports of the snapshot in force. Out: one Verdict for each split, and
the Event that says it. Pure. SMI's TrafficSplit has no status to write, so `kubectl describe` is where a writer looks.
The name of an Event follows from what it says of which object: who leads next says the same thing under the same name,
and so never twice.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from milliroute.control.snapshot import SplitReport
from milliroute.control.source.kubernetes.answers import Entry
from milliroute.control.source.kubernetes.resources import Resource
from milliroute.control.source.kubernetes.statuses import CONTROLLER

COMPONENT = "milliroute-control"
# Of an Event: core/v1 validation.
MAX_MESSAGE_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one object."""

    kind: str
    api_version: str
    entry: Entry
    reason: str
    message: str
    is_warning: bool = False

    @property
    def meaning(self) -> tuple[str, str]:
        return self.reason, self.message


def split_verdicts(
    resource: Resource, version: str, entries: Iterable[Entry], reports: Mapping[str, SplitReport]
) -> Iterator[Verdict]:
    """`reports` by "namespace/name"."""
    for entry in entries:
        reason, message = _verdict(entry, reports.get("/".join(entry.key)))
        api_version = resource.api_version(version)
        yield Verdict(resource.kind, api_version, entry, reason, message[:MAX_MESSAGE_CHARS], reason != "Accepted")


def _verdict(entry: Entry, report: SplitReport | None) -> tuple[str, str]:
    if entry.errors:
        begin = f"TrafficSplit {'/'.join(entry.key)}: "
        return "Invalid", "; ".join(error.removeprefix(begin) for error in entry.errors)
    if report is None:
        return "Overridden", "not in force: another object of this name is"
    if not report.source.startswith("TrafficSplit "):
        return "Overridden", f"not in force: {report.source} has a split of this name, and files come first"
    if report.status == "conflict":
        return "Conflict", "not in force: " + "; ".join(report.warnings)
    if report.warnings:
        return "Incomplete", "in force, but: " + "; ".join(report.warnings)
    return "Accepted", f"in force for {report.apex}"


def event(verdict: Verdict, me: str, now: str) -> dict[str, object]:
    """A core/v1 Event; `now` as RFC 3339."""
    namespace, name = verdict.entry.key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": name_of(verdict)},
        "involvedObject": {
            "apiVersion": verdict.api_version,
            "kind": verdict.kind,
            "namespace": namespace,
            "name": name,
            "uid": verdict.entry.uid,
            "resourceVersion": verdict.entry.revision,
        },
        "type": "Warning" if verdict.is_warning else "Normal",
        "reason": verdict.reason,
        "message": verdict.message,
        "source": {"component": COMPONENT},
        "reportingComponent": CONTROLLER,
        "reportingInstance": me[:128],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def name_of(verdict: Verdict) -> str:
    """Of its Event."""
    text = "\0".join((verdict.entry.uid, verdict.reason, verdict.message))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{verdict.entry.key[1][:200]}.{digest}"
