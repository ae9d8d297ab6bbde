"""What became of each object, written into the cluster by the replica that leads.

In: every state that was published. Out: what `telling` makes of it, Events and statuses, each once. A state is told
SETTLE_S after the last change, because a rollout writes its objects one after the other and half of it is no news.
What the API server refuses is tried again later and logged once; the tables of the proxies never wait for any of it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Protocol

from milliroute.control.snapshot import Snapshot
from milliroute.control.source.kubernetes.leader import Leader
from milliroute.control.source.kubernetes.telling import RefusedError

log = logging.getLogger(__name__)

SETTLE_S = 0.5
# Seconds until what was refused is tried again, and until everything is looked at anew: somebody may have changed it.
RETRY_S = 10.0
RECHECK_S = 30.0


class Teller(Protocol):
    """Writes one sort of things; raises RefusedError after everything was tried."""

    async def tell(self, snapshot: Snapshot) -> None: ...

    def forget(self) -> None:
        """Somebody else writes from now on."""


class Writer:
    """One per process; run() until it is cancelled."""

    def __init__(self, tellers: Sequence[Teller], leader: Leader, settle_s: float = SETTLE_S) -> None:
        self._tellers, self._leader, self._settle_s = tellers, leader, settle_s
        self._published: Snapshot | None = None
        self._refusals: dict[Teller, str] = {}

    def publish(self, snapshot: Snapshot) -> None:
        """This is in force from now on."""
        self._published = snapshot
        self._leader.changed.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        changed = self._leader.changed
        while True:
            # Not wait_for(), which until Python 3.12 may swallow a cancellation that comes with a change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_S):
                    await changed.wait()
            await asyncio.sleep(self._settle_s)
            changed.clear()
            if not await self._write():
                await asyncio.sleep(RETRY_S)
                changed.set()

    async def _write(self) -> bool:
        """Everything that was not told yet; False when something of it could not be."""
        is_done = True
        for teller in self._tellers:
            if self._published is None or not self._leader.leads:
                teller.forget()
                continue
            try:
                await teller.tell(self._published)
                self._refusals.pop(teller, None)
            except RefusedError as error:
                is_done = False
                self._note(teller, str(error))
            except Exception:  # a bug; no proxy notices
                is_done = False
                log.exception("writing into the cluster failed, trying again")
        return is_done

    def _note(self, teller: Teller, refusal: str) -> None:
        if self._refusals.get(teller) != refusal:
            log.warning("kubernetes: %s; objects are not told what became of them", refusal)
            self._refusals[teller] = refusal
