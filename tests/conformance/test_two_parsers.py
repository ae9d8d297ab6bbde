"""What goes on to a backend is read the same by servers of different make: as many requests, with the same bodies."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import pytest

from milliroute.proxy.message import CHUNKED
from tests.conformance import parsers
from tests.conformance.corpus import Case, cases, text
from tests.conformance.h2_client import H2CaseClient
from tests.conformance.h2_text import H2Case
from tests.conformance.h2_text import cases as h2_cases
from tests.conformance.recorders import H1Recorder, Record
from tests.conformance.stage import Stage, speaking, stage
from tests.proxy.serving import BOTH_CODECS, Client, until
from tests.proxy.tables import leaves

_CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_MAX_BODY = 100_000
# Accepted by us, refused by that server as a matter of taste, and so seen by it as nothing.
REFUSED_BY = {
    "TRACE with a content-length is framed by it": {"nginx"},  # 405
    "OPTIONS with an asterisk": {"nginx"},
    "OPTIONS of an absolute-form without a path is the asterisk": {"nginx"},
    "a target with percent-encoding passes unchanged": {"nginx"},  # %00
    "HTTP/1.0 without Host goes on with an empty one": {"nginx"},
    "a lower-case method is another method": {"nginx"},
    "OPTIONS *": {"nginx"},
    ":path with every byte that may be": {"nginx"},  # `%&` is no percent-encoding
    "100 fields pass": {"http.server"},  # they have become more than 100 on the way
}

Requests = list[tuple[str, str, bytes]]


@dataclass(slots=True)
class Parsers:
    here: Stage
    ports: dict[str, int] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    def read(self, name: str, sent: bytes) -> Requests:
        """What this server sees of what a client sends before it closes its side."""

        async def ask(client: Client) -> None:
            await client.send(sent)
            client.half_close()
            with suppress(ConnectionResetError):
                await client.rest()

        return self._seen(name, ask)

    def read_h2(self, name: str, case: H2Case) -> Requests:
        """The same of a client of HTTP/2, which waits for as many answers as the case says."""

        async def ask(raw: Client) -> None:
            client = H2CaseClient(raw.reader, raw.writer)
            await client.play(case.steps, has_opening=case.has_opening)
            answers = sum(outcome.startswith("answer ") for outcome in case.outcomes("h1", self.here.codec))
            await client.until(lambda: sum(answer.is_whole for answer in client.answers.values()) >= answers)

        return self._seen(name, ask)

    def _seen(self, name: str, ask: Callable[[Client], Awaitable[None]]) -> Requests:
        async def play(here: Stage) -> None:
            await here.proxy.update(speaking(leaves({"v1": [self.ports[name]]}, 1), "h1"))
            client = await here.proxy.client()
            await ask(client)
            client.close()
            await until(lambda: all(record.open_count == 0 for record in self.records.values()))

        for record in self.records.values():
            record.clear()
        self.here.run(play)
        record = self.records[name]
        assert record.refused == []
        return sorted((seen.method, seen.target, seen.body) for seen in record.seen)


@pytest.fixture(scope="module", params=BOTH_CODECS)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parsers]:
    with ExitStack() as stack:
        here = stack.enter_context(stage(request.param, "h1"))
        found = Parsers(here, {"h11": here.own_port}, {"h11": here.record})
        record = found.records["http.server"] = Record()
        found.ports["http.server"] = stack.enter_context(parsers.standard_library(record))
        if parsers.NGINX is not None:
            record = found.records["nginx"] = Record()
            behind = here.call(_recorder(record))
            stack.callback(behind.close)
            folder = tmp_path_factory.mktemp("nginx")
            found.ports["nginx"] = stack.enter_context(parsers.nginx(folder, behind.sockets[0].getsockname()[1]))
        yield found


async def _recorder(record: Record) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(lambda: H1Recorder(record), "127.0.0.1", 0)


def _whole(case: Case) -> bytes:
    """The request of the case, and the body that its head speaks of."""
    sent = text(case["send"])
    length = case["length"]
    if case.get("rest") or not length:
        return sent
    return sent + (b"2\r\nhi\r\n0\r\n\r\n" if length == CHUNKED else b"x" * min(length, _MAX_BODY))


ACCEPTED = [(case["name"], _whole(case)) for case in cases("requests") if "forwards" in case]
ACCEPTED += [(case["name"], _CHUNKED_POST + text(case["send"])) for case in cases("bodies") if "payload" in case]
# Not the cancelled ones: whether a server sees a request that was taken back is a matter of time.
H2_ANSWERED = [
    case
    for case in h2_cases("requests") + h2_cases("framing") + h2_cases("hpack")
    if any(outcome.startswith("answer ") for outcome in case.outcomes("h1", "fast"))
    and all(not outcome.startswith(("backend maybe", "backend any")) for outcome in case.outcomes("h1", "fast"))
]
REFUSED = [(case["name"], text(case["send"])) for case in cases("requests") if "status" in case]
REFUSED += [(case["name"], _CHUNKED_POST + text(case["send"])) for case in cases("bodies") if "status" in case]


@pytest.mark.skipif(parsers.NGINX is None, reason="NGINX IS NOT HERE, so two parsers only: apt-get install nginx-light")
def test_nginx_is_one_of_the_servers(servers: Parsers) -> None:
    assert "nginx" in servers.ports


@pytest.mark.parametrize(("name", "sent"), ACCEPTED, ids=[name for name, _ in ACCEPTED])
def test_what_is_accepted_is_read_the_same_by_each_server(servers: Parsers, name: str, sent: bytes) -> None:
    seen = {server: servers.read(server, sent) for server in servers.ports}
    refused = REFUSED_BY.get(name, set())
    assert all(seen[server] == [] for server in refused if server in seen)
    read = {server: requests for server, requests in seen.items() if server not in refused}
    assert read == dict.fromkeys(read, seen["h11"])


@pytest.mark.parametrize(("name", "sent"), REFUSED, ids=[name for name, _ in REFUSED])
def test_of_what_is_refused_a_backend_sees_no_whole_request(servers: Parsers, name: str, sent: bytes) -> None:
    assert servers.read("h11", sent) == []


@pytest.mark.parametrize("case", H2_ANSWERED, ids=[case.name for case in H2_ANSWERED])
def test_what_comes_over_http2_is_read_the_same_by_each_server(servers: Parsers, case: H2Case) -> None:
    seen = {server: servers.read_h2(server, case) for server in servers.ports}
    read = {server: requests for server, requests in seen.items() if server not in REFUSED_BY.get(case.name, ())}
    assert read == dict.fromkeys(read, seen["h11"])


def test_a_chunked_body_has_its_content_at_each_server(servers: Parsers) -> None:
    for case in cases("bodies"):
        if "payload" in case and not case.get("rest"):
            sent = _CHUNKED_POST + text(case["send"])
            for server in servers.ports:
                assert servers.read(server, sent) == [("POST", "/", text(case["payload"]))], case["name"]
