"""Files beside a cluster: two sources as one, and what is in a file wins.

In: the Objects of both. Out: one whole. An object that both have is taken from the file, and said to be there twice.
The endpoints that files, or --backend, give a Service are all of its endpoints: so somebody may send one leaf of a
cluster's split to a process on the desk. A --backend without ports leaves the cluster's Service its ports, as it does
with files.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import fields, replace
from typing import Protocol

from milliroute.control.model import Objects, Service, SourceStatus

BOTH = "kubernetes, beside files"
# Fields of Objects that are no tuples of objects.
_NO_OBJECTS = ("defaults", "sources")


class Part(Protocol):
    """What is needed of either."""

    def read(self) -> Objects: ...

    def watch(self) -> AsyncIterator[Objects]: ...


class BesideSource:
    """Both at once; as with each of them, read() and watch() must not run at once."""

    def __init__(self, files: Part, cluster: Part) -> None:
        self._files = files
        self._cluster = cluster

    def read(self) -> Objects:
        return combine(self._files.read(), self._cluster.read())

    async def watch(self) -> AsyncIterator[Objects]:
        """Raises what either raises."""
        newest: list[Objects | None] = [None, None]
        changed = asyncio.Event()

        async def pump(number: int, part: Part) -> None:
            async for objects in part.watch():
                newest[number] = objects
                changed.set()

        async def next_change() -> None:
            await changed.wait()
            changed.clear()

        pumps = [asyncio.create_task(pump(n, part)) for n, part in enumerate((self._files, self._cluster))]
        waiting: asyncio.Task[None] | None = None
        try:
            while True:
                waiting = asyncio.create_task(next_change())
                done, _ = await asyncio.wait((waiting, *pumps), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await task
                if waiting in done and newest[0] is not None and newest[1] is not None:
                    yield combine(newest[0], newest[1])
        finally:
            for task in (*pumps, *([waiting] if waiting else [])):
                task.cancel()
            await asyncio.gather(*pumps, *([waiting] if waiting else []), return_exceptions=True)


def combine(files: Objects, cluster: Objects) -> Objects:
    """One whole, with the defaults of `files`."""
    twice: list[str] = []
    bare = {_name(service) for service in files.services if service.origin.path.startswith("--backend ")}
    declared = bare & {_name(service) for service in cluster.services}
    files = replace(files, services=tuple(s for s in files.services if _name(s) not in declared))
    served = {(one.namespace, one.service) for one in files.slices}
    slices = tuple(one for one in cluster.slices if (one.namespace, one.service) not in served)
    cluster = replace(cluster, slices=slices)
    merged = {
        name: (*getattr(files, name), *_new(getattr(files, name), getattr(cluster, name), twice))
        for name in (field.name for field in fields(Objects))
        if name not in _NO_OBJECTS
    }
    said = (SourceStatus(BOTH, "rest", tuple(twice)),) if twice else ()
    whole = replace(files, **merged)  # type: ignore[arg-type]  # only the fields that hold objects
    return replace(whole, sources=(*files.sources, *cluster.sources, *said))


def _name(service: Service) -> tuple[str, str]:
    return service.namespace, service.name


def _new(files: Iterable[object], cluster: Iterable[object], twice: list[str]) -> Iterator[object]:
    """Those of the cluster whose name no file has."""
    known = {_key(found): found for found in files}
    for found in cluster:
        other = known.get(_key(found))
        if other is None:
            yield found
        else:
            kind, namespace, name = _key(found)
            where = getattr(other, "origin", "a file")
            twice.append(f"{BOTH}: {kind} {namespace}/{name} is in {where} too (want each once): the file's counts")


def _key(found: object) -> tuple[str, str, str]:
    kind = f"{getattr(found, 'kind', type(found).__name__)} {getattr(found, 'group', '')}".strip()
    return kind, getattr(found, "namespace", ""), getattr(found, "name", "")
