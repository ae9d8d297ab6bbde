"""The agent's end of one worker's pipe.

In: messages for the worker, by slot. Out: what the worker says, and the end of its life. A worker that does not read
stalls nobody: the transport holds one frame or two, the mailbox the newest of each slot.
"""

import asyncio
import logging
from typing import Protocol

import msgspec

from milliroute.proxy.agent.mailbox import Mailbox
from milliroute.proxy.ipc import Down, FrameBuffer, Up, decode_up, encode

log = logging.getLogger(__name__)

# Small, so that what waits is in the mailbox, where a newer version replaces it.
_HIGH_WATER_BYTES = 64 * 1024


class LinkOwner(Protocol):
    def on_up(self, worker_id: int, message: Up) -> None: ...

    def on_hangup(self, worker_id: int) -> None: ...


class WorkerLink(asyncio.Protocol):
    """The end of the pipe is the end of the worker: on_hangup comes once, after its last message."""

    def __init__(self, worker_id: int, owner: LinkOwner) -> None:
        self._worker_id = worker_id
        self._owner = owner
        self._frames = FrameBuffer()
        self._mailbox = Mailbox()
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    def send(self, slot: str, message: Down) -> None:
        self.send_frame(slot, encode(message))

    def send_frame(self, slot: str, frame: bytes) -> None:
        """frame: of ipc.encode, made once for all workers."""
        self._mailbox.put(slot, frame)
        self._flush()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._owner.on_up(self._worker_id, decode_up(frame))
        except (ValueError, msgspec.DecodeError) as error:
            # Our own bug, or another program at the pipe: such a worker cannot be led.
            log.error("worker %d: %s", self._worker_id, error)
            self.close()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.on_hangup(self._worker_id)

    def _flush(self) -> None:
        while self._transport is not None and not self._is_paused and (frame := self._mailbox.take()) is not None:
            self._transport.write(frame)
