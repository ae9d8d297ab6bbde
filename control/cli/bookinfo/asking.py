"""How one Bookinfo service asks another: which headers go along, and what counts as no answer."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from milliroute.control.cli.bookinfo.client import Unreachable, Upstream

# Who the user is (a sticky split goes by it) and the trace a call belongs to: a service passes them on.
PASSED_ON = ("x-user", "cookie", "x-request-id", "traceparent", "tracestate", "b3", "user-agent")

Model = TypeVar("Model")


async def ask(upstream: Upstream, target: str, headers: Mapping[str, str], model: type[Model]) -> Model:
    """Fetch `target` and decode it. Raises Unreachable for everything that is not a 200 with such a body."""
    reply = await upstream.get(target, [(name, headers[name]) for name in PASSED_ON if name in headers])
    if reply.status != 200:
        raise Unreachable(f"{target}: status {reply.status}, wanted 200")
    try:
        return msgspec.json.decode(reply.body, type=model)
    except msgspec.DecodeError as error:
        raise Unreachable(f"{target}: {error}") from error
