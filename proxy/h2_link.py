"""An HTTP/2 connection on a transport, whichever side we are: bytes in, events told, frames out once a turn.

Who derives from it says what the events mean (`tell`) and makes and loses the connection.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic

from milliroute.proxy.codec.h2_codec import connect
from milliroute.proxy.codec.h2_events import Event
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.config import Codec
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.outbox import Outbox


class H2Link(asyncio.Protocol):
    """Implements outbox.Flushable."""

    __slots__ = ("_outbox", "_tcp", "_transport", "h2", "is_dirty")
    _transport: asyncio.Transport

    def __init__(self, codec: Codec, role: Role, outbox: Outbox, tcp: TcpSeries) -> None:
        self._outbox = outbox
        self._tcp = tcp
        self.h2 = connect(codec, role, H2Limits())
        self.is_dirty = False

    def tell(self, happened: Sequence[Event]) -> None:
        raise NotImplementedError

    def mark(self) -> None:
        """Something was sent: it is written in this turn of the loop."""
        self._outbox.mark(self)

    def flush(self) -> None:
        data = self.h2.take_output()
        if data and not self._transport.is_closing():
            self._tcp.write_bytes += len(data)
            self._transport.write(data)

    # asyncio.Protocol

    def pause_writing(self) -> None:
        self.tell(self.h2.backlog(self._transport.get_write_buffer_size()))

    def resume_writing(self) -> None:
        self.tell(self.h2.backlog(0))
        self.mark()

    def data_received(self, data: bytes) -> None:
        self._tcp.read_bytes += len(data)
        self.tell(self.h2.receive(data, monotonic()))
        self.mark()
