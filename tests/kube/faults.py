"""What a test asks a server to do wrong: the state that `server` and `streams` look at.

It is changed from the server's loop only.
Access is shared by all replicas of one cluster; Faults are one server's own.
"""

import asyncio
from collections import deque

from tests.kube import errors
from tests.kube.errors import ApiError


class Access:
    """Who may come in (tokens) and what they may not do (refusals, by plural and verb; "*" is any)."""

    def __init__(self, token: str) -> None:
        self.tokens = {token}
        self._refusals: dict[tuple[str, str], int] = {}

    def check_token(self, authorization: str, is_tls: bool) -> None:
        """None at all will do without TLS: client-go sends none then."""
        if not authorization and not is_tls:
            return
        if authorization.removeprefix("Bearer ") not in self.tokens:
            raise ApiError(401, "Unauthorized", "Unauthorized")

    def refuse(self, plural: str, verb: str, status: int) -> None:
        self._refusals[plural, verb] = status

    def allow(self, plural: str, verb: str) -> None:
        self._refusals.pop((plural, verb), None)

    def check(self, plural: str, group: str, verb: str, namespace: str) -> None:
        for key in ((plural, verb), (plural, "*"), ("*", verb), ("*", "*")):
            if (status := self._refusals.get(key)) is not None:
                where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
                raise errors.forbidden(plural, group, verb, where) if status == 403 else errors.of_code(status)


class Faults:
    def __init__(self) -> None:
        # (status, seconds of Retry-After or None), one for each of the next requests.
        self.next_statuses: deque[tuple[int, int | None]] = deque()
        # Bytes of the body after which each of the next watches is cut.
        self.cuts: deque[int] = deque()
        # Bytes and seconds between them, for what watches send.
        self.dribble: tuple[int, float] | None = None
        # Set: requests are answered and watches tell. Clear: neither, and connections stay open.
        self.awake = asyncio.Event()
        self.awake.set()
        # How a watch from a version that is too old hears of it.
        self.is_gone_a_status = False

    def check_next(self) -> None:
        if not self.next_statuses:
            return
        code, retry_after_s = self.next_statuses.popleft()
        error = errors.of_code(code)
        if retry_after_s is not None:
            error.details["retryAfterSeconds"] = retry_after_s
        raise error
