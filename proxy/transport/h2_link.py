"""An HTTP/2 connection on a transport, whichever side we are: bytes in, events told, frames out once a turn.

Who derives from it says what the events mean (`tell`) and makes and loses the connection.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from time import monotonic

from milliroute.proxy.codec.h2_codec import connect
from milliroute.proxy.codec.h2_events import Event
from milliroute.proxy.codec.h2_limits import limits_of
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.metrics import TcpSeries
from milliroute.proxy.transport import heap
from milliroute.proxy.upstream.dialer import Dialer

# RFC 9113 section 6.5.3: who has not acknowledged our SETTINGS by then gets SETTINGS_TIMEOUT; as long as in Go's http2.
SETTINGS_TIMEOUT_S = 10.0
# Where pieces of output are so long on average, a half of them being the heads of frames, they are parts of bodies, and
# go out unjoined: half the CPU of a 1 MiB body was joining it (measured); many small ones are written faster as one.
BULK_BYTES = 2 * 1024


def old_age_s(now: float, max_age_s: float) -> float:
    """When a connection made now has to go, spread by a tenth either way: those made together do not end together."""
    return now + max_age_s * random.uniform(0.9, 1.1) if max_age_s else math.inf


class H2Link(asyncio.Protocol):
    """Implements outbox.Flushable. heard_s: when the peer last sent something, by the monotonic clock."""

    __slots__ = ("_outbox", "_tcp", "_transport", "h2", "heard_s", "is_dirty")
    _transport: asyncio.Transport

    def __init__(self, dialer: Dialer, role: Role, tcp: TcpSeries) -> None:
        self._outbox = dialer.outbox
        self._tcp = tcp
        self.h2 = connect(dialer.codec_name, role, limits_of(dialer.h2, is_upstream=role == "client"))
        self.heard_s = 0.0
        self.is_dirty = False

    def tell(self, happened: Sequence[Event]) -> None:
        raise NotImplementedError

    def mark(self) -> None:
        """Something was sent: it is written in this turn of the loop."""
        self._outbox.mark(self)

    def flush(self) -> None:
        pieces = self.h2.take_output()
        if not pieces or self._transport.is_closing():
            return
        size = sum(map(len, pieces))
        self._tcp.write_bytes += size
        if size >= len(pieces) * BULK_BYTES:
            self._transport.writelines(pieces)
            heap.keep()
        else:
            self._transport.write(b"".join(pieces))

    # asyncio.Protocol

    def pause_writing(self) -> None:
        self.tell(self.h2.backlog(self._transport.get_write_buffer_size()))

    def resume_writing(self) -> None:
        self.tell(self.h2.backlog(0))
        self.mark()

    def data_received(self, data: bytes) -> None:
        self._tcp.read_bytes += len(data)
        now = self.heard_s = monotonic()
        self.tell(self.h2.receive(data, now))
        self.mark()
