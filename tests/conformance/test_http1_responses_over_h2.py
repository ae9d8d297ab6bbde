"""What hostile HTTP/1.1 backends answer is 502 to a client of HTTP/2 where it is refused, else a right answer."""

from collections.abc import Iterator

import pytest

from milliroute.proxy.message import UNTIL_CLOSE
from tests.conformance.corpus import Case, cases, text
from tests.conformance.h2_client import H2CaseClient
from tests.conformance.stage import Stage, speaking, stage
from tests.proxy.backends import Origin, Visit
from tests.proxy.codec.h2_peers import GET, headers
from tests.proxy.serving import BOTH_CODECS, to

CASES = [case for case in cases("responses") if not case.get("may_upgrade") and not case.get("upgrade")]
_OF_THE_CONNECTION = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"}


@pytest.fixture(scope="module", params=BOTH_CODECS)
def before(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(request.param, "h1") as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_answer_over_http1_is_right_over_http2_or_502(before: Stage, case: Case) -> None:
    async def answers(visit: Visit) -> None:
        if await visit.request():
            await visit.send(text(case["send"]))

    async def play(here: Stage) -> None:
        async with Origin(answers) as origin:
            await here.proxy.update(speaking(to(origin), "h1"))
            raw = await here.proxy.client()
            client = H2CaseClient(raw.reader, raw.writer)
            pseudo = [(name, case["method"].encode() if name == b":method" else value) for name, value in GET]
            await client.play([headers(1, pseudo)], has_opening=True)
            await client.until(lambda: 1 in client.resets or (1 in client.answers and client.answers[1].is_whole))
            await client.mark()
            _check(client, case)
            raw.close()
            await here.restore()
            await here.probe()

    before.run(play)


def _check(client: H2CaseClient, case: Case) -> None:
    answer = client.answers[1]
    assert not client.goaway
    assert not any(name in _OF_THE_CONNECTION or name != name.lower() for name, _ in answer.fields)
    if "status" in case:
        assert (answer.status, answer.is_whole) == (502, True)
        return
    wanted = int(case["forwards"].split(" ")[1])
    assert answer.status == (wanted if wanted >= 200 else 502)  # behind an interim answer the backend hangs up
    if case["length"] == UNTIL_CLOSE or case["length"] == 0:
        assert answer.is_whole
