"""What hostile HTTP/2 backends answer reaches a client only where it is right, whichever version the client speaks."""

from collections.abc import Iterator

import h11
import pytest

from tests.conformance.h2_backend import HostileBackend
from tests.conformance.h2_client import Answer, H2CaseClient
from tests.conformance.h2_text import H2Case, cases, escaped
from tests.conformance.stage import Stage, speaking, stage
from tests.proxy.backends import Origin
from tests.proxy.codec.h2_peers import POST, data, headers
from tests.proxy.serving import BOTH_CODECS, Client, post, to

CASES = cases("responses")
_ASKED = headers(1, [(b":authority", b"reviews") if f[0] == b":authority" else f for f in POST], end=False)


@pytest.fixture(scope="module", params=BOTH_CODECS)
def before(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(request.param, "h2") as made:
        yield made


@pytest.mark.parametrize("version", ["h1", "h2"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hostile_answer_is_turned_into_an_error_or_broken_off(before: Stage, version: str, case: H2Case) -> None:
    async def play(here: Stage) -> None:
        backend = HostileBackend(case.steps)
        async with Origin(backend) as origin:
            await here.proxy.update(speaking(to(origin), "h2"))
            raw = await here.proxy.client()
            answer = await (_ask_h2(raw) if version == "h2" else _ask_h1(raw))
            expected = case.outcomes(version, here.codec)
            assert _outcomes(answer, backend, expected) == expected
            raw.close()
            await here.restore()
            await here.probe()

    before.run(play)


async def _ask_h2(raw: Client) -> Answer | None:
    client = H2CaseClient(raw.reader, raw.writer)
    await client.play([_ASKED + data(1, b"hi", end=True)], has_opening=True)
    await client.until(lambda: 1 in client.resets or (1 in client.answers and client.answers[1].is_whole))
    await client.mark()
    assert client.goaway == ""
    answer = client.answers.get(1)
    if answer is not None and client.resets.get(1, "NO_ERROR") != "NO_ERROR":
        answer.is_whole = False
    return answer


async def _ask_h1(raw: Client) -> Answer | None:
    """Read by h11, which knows what a broken end is."""
    await raw.send(post(b"hi"))
    reading, answer, interims = h11.Connection(h11.CLIENT), None, 0
    reading.send(h11.Request(method="POST", target="/", headers=[("host", "reviews"), ("content-length", "0")]))
    reading.send(h11.EndOfMessage())
    while True:
        try:
            event = reading.next_event()
            if event is h11.NEED_DATA:
                reading.receive_data(await raw.reader.read(65536))
                continue
        except (ConnectionResetError, h11.RemoteProtocolError):
            return answer
        match event:
            case h11.ConnectionClosed():
                return answer
            case h11.InformationalResponse():
                interims += 1
            case h11.Response():
                fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
                answer = Answer(event.status_code, fields, interims)
            case h11.Data() if answer is not None:
                answer.body += bytes(event.data)
            case h11.EndOfMessage() if answer is not None:
                answer.is_whole = True
                answer.fields += [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
                return answer


def _outcomes(answer: Answer | None, backend: HostileBackend, expected: list[str]) -> list[str]:
    if answer is None:
        return ["nothing"]
    body = f' "{escaped(answer.body)}"' if answer.is_whole and answer.body else ""
    found = [f"{'status' if answer.is_whole else 'broken'} {answer.status}{body}"]
    if answer.interims:
        found.append(f"interims {answer.interims}")
    if backend.asked != 1:
        found.append(f"asked {backend.asked}")
    for name in (outcome[6:].partition(":")[0] for outcome in expected if outcome.startswith("field ")):
        values = [value for key, value in answer.fields if key == name]
        found.append(f"field {name}: " + escaped(", ".join(values).encode("latin-1")))
    return sorted(found)
