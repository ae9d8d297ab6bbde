"""The cluster's side of a control service, wired by hand: client, source, election, writer.

In: a ClusterAccess. Out: a source to read and watch, and a place to leave each state that was published, so that its
objects' writers hear of it. begin() and close() once each.
"""

import asyncio
import logging
import os
import socket

from milliroute.control.config import ClusterAccess
from milliroute.control.snapshot import Snapshot
from milliroute.control.source.kubernetes.api import Api
from milliroute.control.source.kubernetes.leader import Leader
from milliroute.control.source.kubernetes.lease import Election
from milliroute.control.source.kubernetes.source import KubernetesSource
from milliroute.control.source.kubernetes.telling import EventTeller, StatusTeller
from milliroute.control.source.kubernetes.writer import Writer

log = logging.getLogger(__name__)

# Seconds that a start waits for the first lists, before proxies are answered with less than all.
FIRST_LIST_S = 10.0
LEASE = "milliroute-control"


class Cluster:
    """Raises ConfigError when there is no configuration."""

    def __init__(self, access: ClusterAccess) -> None:
        self._api = Api(access)
        self.source = KubernetesSource(self._api, access.namespace)
        # One per process, because two may run on one machine.
        me = f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}"
        self._leader = Leader(Election(me, LEASE, self._api.namespace), self._api)
        tellers = (
            EventTeller(self._api, self.source.reflectors, self._is_leader, me),
            StatusTeller(self._api, self.source.reflectors, self._is_leader),
        )
        self._writer = Writer(tellers, self._leader)
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Returns when everything was listed once, or after FIRST_LIST_S."""
        log.info("kubernetes: reading %s", self._api.server)
        self.source.begin()
        if not await self.source.is_known_within(FIRST_LIST_S):
            log.warning("kubernetes: not everything could be listed within %g s, going on with less", FIRST_LIST_S)
        self._tasks = [asyncio.create_task(one.run()) for one in (self._leader, self._writer)]

    def published(self, snapshot: Snapshot) -> None:
        """This is in force from now on."""
        self._writer.publish(snapshot)

    @property
    def is_known(self) -> bool:
        """Whether everything was listed once."""
        return self.source.is_known

    def _is_leader(self) -> bool:
        return self._leader.leads

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.source.close()
        await self._leader.release()
        await self._api.close()
