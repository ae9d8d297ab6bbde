"""A cluster as a source: one reflector per kind, and the Objects of all of them after each change.

In: an Api and the namespace to look at. Out: Objects, a few milliseconds after the API server told of a change.
begin() and close() once each, on one loop; read() any time between, and before, when nothing is known yet.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from random import Random

from milliroute.control.model import Objects
from milliroute.control.source.kubernetes import assembly, resources
from milliroute.control.source.kubernetes.backoff import Pace
from milliroute.control.source.kubernetes.following import Asked, follow
from milliroute.control.source.kubernetes.reflector import Reflector
from milliroute.control.source.kubernetes.resources import Resource

log = logging.getLogger(__name__)

# Seconds. Changes this close together are one: a rollout writes a split and its Services in one breath.
STEP_S = 0.005


class KubernetesSource:
    """Every kind of `watched` in one namespace, or in all of them for ""."""

    def __init__(
        self,
        api: Asked,
        namespace: str = "",
        *,
        watched: Sequence[Resource] = resources.WATCHED,
        pace: Pace = Pace(),  # noqa: B008  # a frozen value
        rng: Random | None = None,
    ) -> None:
        rng = rng or Random()
        self._api = api
        self.reflectors = tuple(Reflector(resource, namespace, rng, pace) for resource in watched)
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._known = asyncio.Event()

    def begin(self) -> None:
        """Watch from now on."""
        self._tasks = [
            asyncio.create_task(follow(reflector, self._api, self._note), name=reflector.resource.name)
            for reflector in self.reflectors
        ]

    @property
    def is_known(self) -> bool:
        """Whether every kind has been listed once, or is not there, or may not be read."""
        return self._known.is_set()

    async def is_known_within(self, seconds: float) -> bool:
        """Wait until every kind has been listed, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._known.wait()
        except TimeoutError:
            return False
        return True

    def read(self) -> Objects:
        return assembly.assemble(self.reflectors)

    async def watch(self) -> AsyncIterator[Objects]:
        """What is known at once, then after each change. One at a time."""
        last: Objects | None = None
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            begin = time.monotonic()
            objects = self.read()
            if objects != last:
                last = objects
                yield objects
            # As long as it took to put together and to publish: a storm of changes may have half of the loop.
            await asyncio.sleep(max(STEP_S, time.monotonic() - begin))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _note(self) -> None:
        self._changed.set()
        if not self._known.is_set() and assembly.is_known(self.reflectors):
            self._known.set()
