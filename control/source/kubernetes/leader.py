"""The election, held over the API: keeps asking for the Lease, and says when we lead.

In: an Election and an Api. Out: `leads` and an Event that is set while it holds. run() until it is cancelled;
release() afterwards, so that another replica need not wait for the Lease to run out.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from random import Random
from typing import Protocol

from milliroute.control.source.kubernetes import tree
from milliroute.control.source.kubernetes.api import NoAnswerError
from milliroute.control.source.kubernetes.lease import RETRY_S, Election
from milliroute.control.source.kubernetes.reflector import Answer

log = logging.getLogger(__name__)

# Seconds for one request about the Lease, well within the time that we may lead without renewing.
PATIENCE_S = 3.0


class Sending(Protocol):
    """What is needed of an Api."""

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: str = "application/json",
        params: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
    ) -> Answer: ...


class Leader:
    """One candidate."""

    def __init__(self, election: Election, api: Sending, retry_s: float = RETRY_S, rng: Random | None = None) -> None:
        self._election = election
        self._api = api
        self._retry_s = retry_s
        self._rng = rng or Random()
        self._said = ""
        self.changed = asyncio.Event()

    @property
    def leads(self) -> bool:
        return self._election.leads(time.monotonic())

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            led = self.leads
            try:
                await self._round()
            except NoAnswerError as error:
                self._say(str(error))
            if self.leads != led:
                log.info("lease %s: %s", self._election.name, "we lead" if self.leads else "we do not lead any more")
                self.changed.set()
            await asyncio.sleep(self._retry_s * self._rng.uniform(0.8, 1.2))

    async def release(self) -> None:
        """Let others in; best effort."""
        lease = self._election.release(time.time())
        if lease is not None:
            with contextlib.suppress(NoAnswerError):
                await self._api.send("PUT", self._election.path, lease, patience_s=PATIENCE_S)

    async def _round(self) -> None:
        found = await self._api.send("GET", self._election.path, patience_s=PATIENCE_S)
        if found.status not in (200, 404):
            self._refused(found)
            return
        self._election.seen(_object(found) if found.status == 200 else None, time.monotonic())
        lease = self._election.wanted(time.monotonic(), time.time())
        if lease is None:
            return
        asked_at = time.monotonic()
        is_new = found.status == 404
        method, path = ("POST", self._election.collection) if is_new else ("PUT", self._election.path)
        answer = await self._api.send(method, path, lease, patience_s=PATIENCE_S)
        if answer.status in (200, 201):
            self._election.wrote(_object(answer), asked_at)
            self._say("")
        elif answer.status != 409:  # 409: somebody was quicker, which the next round sees
            self._refused(answer)

    def _refused(self, answer: Answer) -> None:
        self._say(f"status {answer.status}")

    def _say(self, trouble: str) -> None:
        """Once per change."""
        if trouble and trouble != self._said:
            log.warning("lease %s: %s; nothing is written into the cluster", self._election.path, trouble)
        self._said = trouble


def _object(answer: Answer) -> Mapping[str, object]:
    try:
        return tree.mapping(tree.decoded(answer.body))
    except ValueError:  # msgspec.DecodeError is one
        return {}
