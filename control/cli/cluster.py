"""`split show --kubernetes` and `split set --kubernetes`: the splits of a cluster instead of those in files.

In: how to reach the cluster. Out: its Objects, read once; or a split with new weights, by a merge patch upon the
version that was read, so that nobody's change in between is lost. Whichever version of the API is served, a weight
keeps the type that it had: text where it was one, else a number.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from milliroute.control import errors
from milliroute.control.cli import apex as apexes
from milliroute.control.cli.editing import Change
from milliroute.control.cli.setting import Done
from milliroute.control.config import ClusterAccess
from milliroute.control.model import Objects
from milliroute.control.source.kubernetes import answers, resources, tree
from milliroute.control.source.kubernetes.api import MERGE_PATCH, Api, NoAnswerError
from milliroute.control.source.kubernetes.reflector import Answer
from milliroute.control.source.kubernetes.resources import Resource
from milliroute.control.source.kubernetes.source import KubernetesSource

# Seconds for everything to be listed; an operator is waiting.
LIST_S = 10.0
REQUEST_S = 10.0
# A split that others write at the same time is read and written again so often.
MAX_TRIES = 4
_WHOLE = re.compile(r"[0-9]{1,15}\Z")

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Found:
    """A split in the cluster, and where it stands."""

    path: str
    item: Json

    @property
    def title(self) -> str:
        metadata = tree.mapping(self.item.get("metadata"))
        return f"{tree.text(metadata.get('namespace'))}/{tree.text(metadata.get('name'))}"

    @property
    def spec(self) -> Json:
        return tree.mapping(self.item.get("spec"))


def read(access: ClusterAccess) -> Objects:
    """Everything once. What could not be read says so in `sources`. Raises ControlError."""
    return asyncio.run(_read(access))


def set_weights(asked: str, weights: Mapping[str, str], access: ClusterAccess) -> Done:
    """Give the leaves named their weights and every other leaf of the split 0. Raises ControlError."""
    return asyncio.run(_set(asked, weights, access))


async def _read(access: ClusterAccess) -> Objects:
    async with _api(access) as api:
        source = KubernetesSource(api, access.namespace)
        source.begin()
        try:
            await source.is_known_within(LIST_S)
            return source.read()
        finally:
            await source.close()


async def _set(asked: str, weights: Mapping[str, str], access: ClusterAccess) -> Done:
    async with _api(access) as api:
        for _ in range(MAX_TRIES):
            found = await _one(api, asked, access.namespace)
            backends, changes = _edited(found, weights)
            metadata = tree.mapping(found.item.get("metadata"))
            precondition = {"resourceVersion": metadata.get("resourceVersion")}
            body = {"metadata": precondition, "spec": {"backends": backends}}
            answer = await api.send("PATCH", found.path, body, kind=MERGE_PATCH, patience_s=REQUEST_S)
            if answer.status != 409:
                break
    if answer.status != 200:
        raise _refused(f"TrafficSplit {found.title}", answer)
    return Done(f"TrafficSplit {found.title}", found.title, tuple(changes))


@asynccontextmanager
async def _api(access: ClusterAccess) -> AsyncIterator[Api]:
    api = Api(access)
    try:
        yield api
    except NoAnswerError as error:
        raise NoAnswerError(f"{api.server}: {error}") from error
    finally:
        await api.close()


async def _one(api: Api, asked: str, namespace: str) -> _Found:
    """The one split that is asked for. Raises ControlError."""
    hits = [
        found
        for resource in resources.SPLITS
        for found in await _all(api, resource, namespace)
        if apexes.matches(asked, tree.text(found.spec.get("service")), found.title.partition("/")[0])
    ]
    if len(hits) == 1:
        return hits[0]
    if not hits:
        raise errors.ControlError(f"no TrafficSplit with the apex {asked} in {api.server}")
    where = ", ".join(found.title for found in hits)
    raise errors.ControlError(f"{asked} is the apex of {len(hits)} splits: {where}; want one, try NAMESPACE/{asked}")


async def _all(api: Api, resource: Resource, namespace: str) -> list[_Found]:
    version = await _version(api, resource)
    if version is None:
        return []
    answer = await _got(api, resource.path(version, namespace), resource.name)
    listed = tree.mapping(tree.decoded(answer.body)).get("items")
    found = []
    for item in map(tree.mapping, listed if isinstance(listed, list) else ()):
        metadata = tree.mapping(item.get("metadata"))
        place, name = tree.text(metadata.get("namespace")), tree.text(metadata.get("name"))
        found.append(_Found(resource.path(version, place, name), item))
    return found


async def _version(api: Api, resource: Resource) -> str | None:
    """The newest that is served."""
    answer = await api.get(resource.group_path(""), {}, REQUEST_S)
    if answer.status == 404:
        return None
    served = resources.versions(_good(answer, resource.group).body, resource)
    for version in served:
        if resources.serves((await _got(api, resource.group_path(version), resource.group)).body, resource):
            return version
    return None


async def _got(api: Api, path: str, what: str) -> Answer:
    return _good(await api.get(path, {}, REQUEST_S), what)


def _good(answer: Answer, what: str) -> Answer:
    """Raises ControlError."""
    if answer.status != 200:
        raise _refused(what, answer)
    return answer


def _refused(what: str, answer: Answer) -> errors.ControlError:
    said = answers.message(answer.body)
    return errors.ControlError(f"{what}: status {answer.status}" + (f": {said}" if said else ""))


def _edited(found: _Found, weights: Mapping[str, str]) -> tuple[list[Json], list[Change]]:
    """All backends, and what changed. Raises ControlError."""
    listed = found.spec.get("backends")
    before = [tree.mapping(one) for one in listed] if isinstance(listed, list) else []
    known = [tree.text(one.get("service")) for one in before]
    unknown = [leaf for leaf in weights if leaf not in known]
    if unknown:
        raise errors.ControlError(
            f"TrafficSplit {found.title}: no leaf {', '.join(unknown)} (it has {', '.join(known)})"
        )
    after: list[Json] = []
    changes = []
    for leaf, one in zip(known, before, strict=True):
        new, old = weights.get(leaf, "0"), one.get("weight")
        after.append({**one, "weight": _typed(new, old)})
        changes.append(Change(0, leaf, "nothing" if old is None else str(old), new))
    return after, changes


def _typed(new: str, old: object) -> object:
    """As the old one was: some definitions take only numbers, some only text."""
    is_number = isinstance(old, int | tree.Number)
    return int(new) if is_number and _WHOLE.match(new) else new
