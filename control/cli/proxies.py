"""What running proxies say of themselves: GET /splits of each admin listener.

In: addresses. Out: one ProxyPage for each that answered, and a reason for each that did not. The shape is that of
docs/operating.md, "Proxy: GET /splits"; an answer of another shape counts as no answer.
"""

import http.client
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from milliroute.control.config import parse_address

# Seconds. An admin listener is near and answers from memory; an operator is waiting.
TIMEOUT_S = 2.0
MAX_PAGE_BYTES = 64 * 1024 * 1024


class LeafPage(msgspec.Struct, frozen=True):
    leaf: str
    weight: str
    weight_micro: int
    share: float
    state: str = "ok"
    requests: int = 0
    successes: int = 0
    failures: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    out: list[str] = []
    sick: list[str] = []


class SplitPage(msgspec.Struct, frozen=True):
    name: str
    apex: str
    leaves: list[LeafPage]
    source: str = ""
    failover: list[str] | None = None
    rate_limits: list[str] = []
    fault: str | None = None

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0] or "default"


class AuthorityPage(msgspec.Struct, frozen=True):
    authority: str
    splits: list[SplitPage]
    published_unix_ns: int = 0


class ProxyPage(msgspec.Struct, frozen=True):
    proxy: str
    authorities: list[AuthorityPage]


@dataclass(frozen=True, slots=True)
class Answers:
    """`silent` are lines "ADDRESS: reason"."""

    pages: tuple[ProxyPage, ...]
    silent: tuple[str, ...]


def ask(addresses: Sequence[str]) -> Answers:
    """Ask every address once. Raises ConfigError for what is no address."""
    pages: list[ProxyPage] = []
    silent: list[str] = []
    for text in dict.fromkeys(addresses):
        address = parse_address(text, "--admin")
        try:
            pages.append(_get(address.host, address.port))
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            silent.append(f"{text}: {reason.lower()}")
    return Answers(tuple(pages), tuple(silent))


def _get(host: str, port: int) -> ProxyPage:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/splits")
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"GET /splits: saw status {response.status}, want 200")
        return msgspec.json.decode(response.read(MAX_PAGE_BYTES), type=ProxyPage)
    finally:
        connection.close()
