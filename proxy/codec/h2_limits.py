"""What one HTTP/2 connection may cost: sizes, counts, and budgets against floods (facts: DoS classes).

Both codecs ask the same Guard. The rule not to break: whatever a peer can make us do without us gaining a request from
it takes from a budget, and an empty budget ends the connection with ENHANCE_YOUR_CALM.
"""

from dataclasses import dataclass

from milliroute.proxy.codec.h2_frames import DEFAULT_WINDOW, ENHANCE_YOUR_CALM, MAX_WINDOW, ConnectionBroken
from milliroute.proxy.config import H2Config

_RESET_BURST_S = 5


@dataclass(frozen=True, slots=True)
class H2Limits:
    """Bytes, counts and counts per second. Every default is design section 7 or a peer's, as the comment says.

    None may be below the protocol's initial value, so no limit of ours waits for the acknowledgement of our SETTINGS.
    """

    # Envoy's edge guide, nghttp2, HAProxy; a stream above it is refused and can be tried again elsewhere.
    max_streams: int = 100
    # linkerd2-proxy; config.H2Config has more for a stream. It bounds what one slow stream can make us hold.
    stream_window_bytes: int = DEFAULT_WINDOW
    connection_window_bytes: int = 1024 * 1024
    max_list_bytes: int = 32 * 1024
    max_fields: int = 100
    # CVE-2024-27316 and its family: h2 stops at 64 frames; 64 KiB is twice the decoded limit.
    max_continuations: int = 64
    max_block_bytes: int = 64 * 1024
    # nghttp2's NGHTTP2_DEFAULT_MAX_SETTINGS: entries in one SETTINGS frame.
    max_settings: int = 32
    # CVE-2023-44487 and CVE-2025-8671: theirs, and ours that their errors make us send.
    reset_burst: int = 100
    resets_per_s: float = 20.0
    # CVE-2019-9512, 9513, 9515: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown types.
    control_burst: int = 100
    control_per_s: float = 100.0
    # Envoy's max_inbound_window_update_frames_per_data_frame_sent: a fast reader updates often, gRPC pings for its
    # bandwidth estimate on each DATA. Older browsers send PRIORITY with each stream.
    control_per_data: int = 10
    control_per_stream: int = 5
    # DATA of under 5 bytes (not even an empty gRPC message) that ends nothing, from a client: nghttp2's burst for
    # "glitches" and thrice its rate, so that who sends a small file byte by byte passes.
    tiny_data_burst: int = 10_000
    tiny_data_per_s: float = 1000.0
    # CVE-2019-9518: consecutive DATA, HEADERS or CONTINUATION without a byte of content.
    max_empty_frames: int = 10
    # Refused streams of a client that has not acknowledged our SETTINGS and so may not know max_streams.
    max_early_refusals: int = 1000
    # CVE-2019-9517: unwritten output above which DATA waits, and the replies that may still be added to it.
    max_backlog_bytes: int = 64 * 1024
    max_replies_behind: int = 100
    # A backend's 1xx storm (facts, section 3).
    max_interim: int = 16
    # WindowOpened is told when a stream's queue falls below this.
    low_water_bytes: int = 16 * 1024
    # RFC 8441, WebSocket over HTTP/2: a server announces SETTINGS_ENABLE_CONNECT_PROTOCOL.
    may_extended_connect: bool = True

    def __post_init__(self) -> None:
        if min(self.stream_window_bytes, self.connection_window_bytes) < DEFAULT_WINDOW:
            raise ValueError(f"windows below the protocol's initial {DEFAULT_WINDOW} bytes")


# Streams whose clients stand still that it takes to hold up the others of a connection to a backend, which many share.
_STUCK_STREAMS = 16


def limits_of(config: H2Config, *, is_upstream: bool = False) -> H2Limits:
    """A burst is what the rate allows in so many seconds as by default. A backend may fill a larger connection window:
    its connections are few, and what fills them is what our clients leave there.
    """
    window_bytes = config.connection_window_bytes
    if is_upstream:
        window_bytes = max(window_bytes, min(_STUCK_STREAMS * config.stream_window_bytes, MAX_WINDOW))
    return H2Limits(
        max_streams=config.max_streams,
        stream_window_bytes=config.stream_window_bytes,
        connection_window_bytes=window_bytes,
        reset_burst=config.resets_per_s * _RESET_BURST_S,
        resets_per_s=config.resets_per_s,
        control_burst=config.control_frames_per_s,
        control_per_s=config.control_frames_per_s,
    )


# Frames that earned credit covers at most this many control frames at once: nghttp2's burst for "glitches". A grpcio
# server that is sent 1,000 calls at once answers with 1,640 WINDOW_UPDATEs and PINGs before its first DATA (measured).
_MAX_CREDIT = 10_000
# The smallest DATA that says something: an empty gRPC message.
USEFUL_BYTES = 5


class Guard:
    """The budgets of one connection; every method raises ConnectionBroken when one is used up. now: set by receive."""

    __slots__ = (
        "_control",
        "_control_at",
        "_early_refusals",
        "_limits",
        "_resets",
        "_resets_at",
        "_tiny",
        "_tiny_at",
        "credit",
        "empty_frames",
        "now",
    )

    def __init__(self, limits: H2Limits) -> None:
        self._limits = limits
        self.now = 0.0
        self._resets, self._resets_at = float(limits.reset_burst), 0.0
        self._control, self._control_at = float(limits.control_burst), 0.0
        self._tiny, self._tiny_at = float(limits.tiny_data_burst), 0.0
        self._early_refusals = 0
        # Control frames earned by useful ones; the codec adds control_per_data and control_per_stream.
        self.credit = 0
        # Consecutive ones; the codec sets it to 0 at each frame with content.
        self.empty_frames = 0

    def on_control(self) -> None:
        if self.credit > 0:
            self.credit = min(self.credit, _MAX_CREDIT) - 1
            return
        limits = self._limits
        earned = (self.now - self._control_at) * limits.control_per_s
        self._control = min(limits.control_burst, self._control + earned) - 1
        self._control_at = self.now
        if self._control < 0:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, f"over {limits.control_per_s:g} control frames a second")

    def on_reset(self) -> None:
        limits = self._limits
        earned = (self.now - self._resets_at) * limits.resets_per_s
        self._resets = min(limits.reset_burst, self._resets + earned) - 1
        self._resets_at = self.now
        if self._resets < 0:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, f"over {limits.resets_per_s:g} stream resets a second")

    def on_tiny(self) -> None:
        limits = self._limits
        earned = (self.now - self._tiny_at) * limits.tiny_data_per_s
        self._tiny = min(limits.tiny_data_burst, self._tiny + earned) - 1
        self._tiny_at = self.now
        if self._tiny < 0:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, f"over {limits.tiny_data_per_s:g} DATA of a few bytes a second")

    def on_empty(self) -> None:
        self.empty_frames += 1
        if self.empty_frames > self._limits.max_empty_frames:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, f"over {self._limits.max_empty_frames} empty frames in a row")

    def on_refused(self, *, is_settled: bool) -> None:
        """A stream above the limit; only a client that knows the limit is blamed at once."""
        if is_settled:
            self.on_reset()
            return
        self._early_refusals += 1
        if self._early_refusals > self._limits.max_early_refusals:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, "streams above the limit, and SETTINGS not acknowledged")

    def on_block(self, frames: int, size: int) -> None:
        """frames: CONTINUATIONs of an unfinished field block so far; size: its bytes so far."""
        if frames > self._limits.max_continuations or size > self._limits.max_block_bytes:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, f"field block of {size} bytes in {frames} CONTINUATION frames")
