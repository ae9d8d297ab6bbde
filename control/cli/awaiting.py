"""`milliroute await`: returns when a proxy says that it is ready.

For the classic sidecar's postStart hook; a native one has a startup probe for it.
"""

import http.client
import time

from milliroute.control import errors
from milliroute.control.config import Address

# Seconds between two questions, and for an answer.
POLL_S = 0.1
ANSWER_TIMEOUT_S = 1.0


def until_ready(address: Address, timeout_s: float) -> None:
    """Raises ControlError when the time is over."""
    deadline = time.monotonic() + timeout_s
    while (saw := _said(address)) != "200":
        if time.monotonic() >= deadline:
            raise errors.ControlError(f"{address}: not ready after {timeout_s:g} s (saw {saw}, want 200 from /ready)")
        time.sleep(POLL_S)


def _said(address: Address) -> str:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    finally:
        connection.close()
