"""What `forwarding` does to heads, for those of HTTP/2: worked out once for each thing that is said, and kept. Pure.

In: a head and the fields by which proxies have said something in it (RequestVerdict.said); the head is changed in
place. The rule not to break: what is changed is what Forwarder.change says, which depends on nothing that is not in the
key here.
"""

from collections.abc import Sequence

from milliroute.proxy.codec.hpack_static import Field, key_of
from milliroute.proxy.codec.hpack_wire import own_wire
from milliroute.proxy.heads.forwarding import Forwarder
from milliroute.proxy.heads.message_h2 import H2RequestHead
from milliroute.proxy.message import Fields

# Half a MiB or so; a client that says something new in each request only makes the others' be worked out again.
MAX_KEPT = 512
# Longer ones come from those who want to fill our memory, or have come a long way.
MAX_KEPT_BYTES = 512
# Few values for all clients of a proxy, so worth an entry in the table of each connection to a backend. Addresses and
# hosts are as many as clients make them, and would push others' fields out of it.
_SHARED = frozenset((b"via", b"x-forwarded-proto"))

# Which of the fields that say something go, by their places, and what is said instead.
Change = tuple[tuple[int, ...], list[Field]]


class Introduction:
    """Of one client's connection."""

    __slots__ = ("_client_ip", "_forwarder", "_is_https", "_kept")

    def __init__(self, forwarder: Forwarder, client_ip: str, *, is_https: bool) -> None:
        self._forwarder = forwarder
        self._kept = forwarder.kept
        self._client_ip = client_ip
        self._is_https = is_https

    def rewrite(self, head: H2RequestHead, said: Sequence[Field]) -> None:
        """Once per request, before it is routed. Raises LoopDetected."""
        # As what is in one tuple for all cases, but 0.4 us less for nearly all.
        key: tuple[object, ...]
        if not said:
            key = (self._client_ip, self._is_https, head.host)
        elif len(said) == 1:
            key = (self._client_ip, self._is_https, head.host, said[0].name, said[0].value)
        else:
            key = (self._client_ip, self._is_https, head.host, *(text for f in said for text in (f.name, f.value)))
        drop, more = self._kept.get(key) or self._work_out(key, head, said)
        head.amend([said[place] for place in drop] if drop else (), more)

    def _work_out(self, key: tuple[object, ...], head: H2RequestHead, said: Sequence[Field]) -> Change:
        fields = [(field.name, field.value) for field in said]
        drop, more = self._forwarder.change(fields, head, self._client_ip, self._is_https)
        places = tuple(place for place, field in enumerate(said) if field.name in drop)
        made = places, [_ready(name, value) for name, value in more]
        if len(head.host) + _size(fields) <= MAX_KEPT_BYTES:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = made
        return made


def _ready(name: bytes, value: bytes) -> Field:
    """To be sent again and again."""
    return Field(name, value, own_wire(name, value), key_of(name, value) if name in _SHARED else b"")


def _size(fields: Fields) -> int:
    return sum(len(name) + len(value) for name, value in fields)
