"""The two ways in which an object's writer is told: Events of TrafficSplits, the status of routes.

In: a snapshot, and the entries of the reflectors. Out: requests, for what was not told yet; RefusedError when one was
refused. Nothing is written when we do not lead any more, at most one request late: an Event has a name that says what
it says, and a status is written only upon the version that was read.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from milliroute.control import errors
from milliroute.control.routestatus import RouteStatus, unreadable
from milliroute.control.snapshot import Snapshot
from milliroute.control.source.kubernetes import reports, resources, statuses, tree
from milliroute.control.source.kubernetes.answers import Entry
from milliroute.control.source.kubernetes.api import MERGE_PATCH, NoAnswerError
from milliroute.control.source.kubernetes.leader import Sending
from milliroute.control.source.kubernetes.reflector import Answer, Reflector
from milliroute.control.source.kubernetes.reports import Verdict
from milliroute.control.source.kubernetes.statuses import Json

# A status that others write at the same time is read and written again so often.
MAX_TRIES = 4


class RefusedError(errors.ControlError):
    """The API server did not take it."""


class EventTeller:
    """Of TrafficSplits."""

    def __init__(self, api: Sending, reflectors: Sequence[Reflector], leads: Callable[[], bool], me: str) -> None:
        self._api, self._leads, self._me = api, leads, me
        self._reflectors = [r for r in reflectors if r.resource in resources.SPLITS]
        # By uid: what was said, by us or, before we led, by whoever did.
        self._said: dict[str, tuple[str, str]] = {}
        # By the name of an Event: how often. Counted from when we began to lead: nobody may read Events for this alone.
        self._counts: dict[str, int] = {}

    def forget(self) -> None:
        self._said.clear()
        self._counts.clear()

    async def tell(self, snapshot: Snapshot) -> None:
        """Raises RefusedError, after everything was tried."""
        verdicts = list(self._verdicts(snapshot))
        uids = {verdict.entry.uid for verdict in verdicts}
        self._said = {uid: said for uid, said in self._said.items() if uid in uids}
        new = [verdict for verdict in verdicts if self._said.get(verdict.entry.uid) != verdict.meaning]
        await _each([partial(self._say, verdict) for verdict in new], self._leads, "events")

    def _verdicts(self, snapshot: Snapshot) -> Iterator[Verdict]:
        by_name = {report.name: report for report in snapshot.splits}
        for reflector in self._reflectors:
            entries = tuple(reflector.holding.entries.values())
            yield from reports.split_verdicts(reflector.resource, reflector.version, entries, by_name)

    async def _say(self, verdict: Verdict) -> Answer:
        event = reports.event(verdict, self._me, _now())
        path = f"/api/v1/namespaces/{verdict.entry.key[0]}/events"
        answer = await self._api.send("POST", path, event)
        if answer.status == 409 and verdict.entry.uid in self._said:
            # Said before, and something else since.
            answer = await self._repeat(path, reports.name_of(verdict))
        if answer.status in (200, 201, 409):
            self._said[verdict.entry.uid] = verdict.meaning
            return Answer(200)
        return answer

    async def _repeat(self, path: str, name: str) -> Answer:
        self._counts[name] = self._counts.get(name, 1) + 1
        patch = {"count": self._counts[name], "lastTimestamp": _now()}
        return await self._api.send("PATCH", f"{path}/{name}", patch, kind=MERGE_PATCH)


class StatusTeller:
    """Of routes."""

    def __init__(self, api: Sending, reflectors: Sequence[Reflector], leads: Callable[[], bool]) -> None:
        self._api, self._leads = api, leads
        self._reflectors = [r for r in reflectors if r.resource in resources.ROUTES]
        # By uid: upon which version what was written, until the watch tells of it.
        self._written: dict[str, tuple[str, str]] = {}

    def forget(self) -> None:
        self._written.clear()

    async def tell(self, snapshot: Snapshot) -> None:
        """Raises RefusedError, after everything was tried."""
        uids = {entry.uid for reflector in self._reflectors for entry in reflector.holding.entries.values()}
        self._written = {uid: written for uid, written in self._written.items() if uid in uids}
        new = list(self._new(snapshot))
        await _each([partial(self._write, *one) for one in new], self._leads, "status of routes")

    def _new(self, snapshot: Snapshot) -> Iterator[tuple[Reflector, Entry, list[Json]]]:
        known = {(s.group, s.kind, s.namespace, s.name): s for s in snapshot.routes}
        for reflector in self._reflectors:
            for entry in tuple(reflector.holding.entries.values()):
                resource = reflector.resource
                entries = _entries(entry, known.get((resource.group, resource.kind, *entry.key)))
                said = statuses.said(entries)
                if said != entry.status and self._written.get(entry.uid) != (entry.revision, said):
                    yield reflector, entry, entries

    async def _write(self, reflector: Reflector, entry: Entry, entries: list[Json]) -> Answer:
        namespace, name = entry.key
        path = reflector.resource.path(reflector.version, namespace, name)
        answer = Answer(409)
        for _ in range(MAX_TRIES):
            answer = await self._write_once(path, entry, entries)
            if answer.status != 409:
                break
        if answer.status == 200:
            self._written[entry.uid] = entry.revision, statuses.said(entries)
        return answer

    async def _write_once(self, path: str, entry: Entry, entries: list[Json]) -> Answer:
        found = await self._api.send("GET", path)
        if found.status == 404:
            return Answer(200)  # gone meanwhile
        if found.status != 200:
            return found
        route = _object(found)
        metadata = tree.mapping(route.get("metadata"))
        if metadata.get("uid") != entry.uid or metadata.get("generation", 0) != entry.generation:
            return Answer(200)  # what is to be said of it the watch will bring
        parents = statuses.merged(route, entries, _now())
        if parents is None:
            return Answer(200)
        # Whoever wrote in between makes it a 409: entries of other controllers are written back as they were read.
        patch = {"metadata": {"resourceVersion": metadata.get("resourceVersion")}, "status": {"parents": parents}}
        return await self._api.send("PATCH", path + "/status", patch, kind=MERGE_PATCH)


def _entries(entry: Entry, status: RouteStatus | None) -> list[Json]:
    if entry.errors:
        return statuses.wanted(unreadable(entry.parents, "; ".join(entry.errors)), entry.generation)
    if status is None or status.origin.path != _path(status):
        return []  # nothing to do with us, or a file has one of this name
    return statuses.wanted(status.parents, entry.generation)


def _path(status: RouteStatus) -> str:
    """As answers.py calls the origin of what is in the cluster."""
    return f"{status.kind} {status.namespace}/{status.name}"


async def _each(writings: Sequence[Callable[[], Awaitable[Answer]]], leads: Callable[[], bool], what: str) -> None:
    """One after the other, for as long as we lead. Raises RefusedError."""
    refusal = ""
    for write in writings:
        if not leads():
            return
        try:
            answer = await write()
        except NoAnswerError as error:
            refusal = f"{what}: {error}"
            continue
        if answer.status not in (200, 201):
            refusal = f"{what}: status {answer.status}"
    if refusal:
        raise RefusedError(refusal)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(answer: Answer) -> Mapping[str, object]:
    try:
        return tree.mapping(tree.decoded(answer.body))
    except msgspec.DecodeError:
        return {}
