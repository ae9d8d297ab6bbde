"""Every case of the HTTP/2 corpora has its outcome through a proxy: on both codecs, before either kind of backend."""

from collections.abc import Iterator

import pytest

from tests.conformance.h2_client import H2CaseClient
from tests.conformance.h2_text import H2Case, cases, escaped
from tests.conformance.stage import Stage, speaking, stage
from tests.proxy.codec.h2_peers import POST, headers
from tests.proxy.serving import BOTH_CODECS
from tests.proxy.tables import leaves

# RFC 9113 section 8.1: NO_ERROR follows a whole answer; REFUSED_STREAM is said for all streams at once.
_NOT_SAID = ("NO_ERROR", "REFUSED_STREAM")
NAMES = ("requests", "framing", "hpack", "floods", "tunnels")
CASES = [case for name in NAMES for case in cases(name)]


@pytest.fixture(
    scope="module", params=[(codec, version) for codec in BOTH_CODECS for version in ("h1", "h2")], ids="-".join
)
def before(request: pytest.FixtureRequest) -> Iterator[Stage]:
    codec, version = request.param
    with stage(codec, version) as made:
        yield made


def test_the_corpora_cover_every_class_of_http2() -> None:
    rows = {row for case in CASES + cases("responses") for row in case.rows}
    # A26 needs a split without backends, and has a test of its own below.
    wanted = (
        {f"H{n}" for n in range(1, 9)} | {f"A{n}" for n in range(20, 31) if n != 26} | {f"R{n}" for n in range(1, 5)}
    )
    assert sorted((wanted | {f"D{n}" for n in range(1, 13)}) - rows) == []
    assert len(CASES) + len(cases("responses")) >= 150


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_client_gets_the_reaction_and_the_backend_only_what_is_right(before: Stage, case: H2Case) -> None:
    async def play(here: Stage) -> None:
        raw = await here.proxy.client()
        client = H2CaseClient(raw.reader, raw.writer)
        await client.play(case.steps, has_opening=case.has_opening)
        expected = case.outcomes(here.version, here.codec)
        await client.until(lambda: _has_come(client, expected))
        await client.mark()
        raw.close()
        await here.settled()
        assert here.record.refused == []
        assert _outcomes(client, here, expected) == expected

    before.run(play)


def test_a_call_that_has_no_backend_is_answered_in_its_own_way(before: Stage) -> None:
    async def play(here: Stage) -> None:
        await here.proxy.update(speaking(leaves({"v1": []}, 1), here.version))
        raw = await here.proxy.client()
        client = H2CaseClient(raw.reader, raw.writer)
        call = [*POST, (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        await client.play([headers(1, call) + headers(3, POST)], has_opening=True)
        await client.until(lambda: len(client.answers) == 2)
        assert (client.answers[1].status, dict(client.answers[1].fields)["grpc-status"]) == (200, "14")
        assert client.answers[3].status == 503
        raw.close()
        await here.restore()

    before.run(play)


def _has_come(client: H2CaseClient, expected: list[str]) -> bool:
    """What takes the backend's time: each answer, or a reset in its place."""
    words = [outcome.split(" ") for outcome in expected]
    whole = {n for n, answer in client.answers.items() if answer.is_whole} | set(client.resets)
    is_answered = all(int(word[1]) in whole for word in words if word[0] == "answer")
    return is_answered and all(len(client.answers) >= int(word[1]) for word in words if word[0] == "unended")


def _outcomes(client: H2CaseClient, here: Stage, expected: list[str]) -> list[str]:
    """What has happened, in the corpus's words; fields and trailers only as far as the case asks for them."""
    found = []
    if client.goaway not in ("", "NO_ERROR"):
        found.append(f"connection {client.goaway}")
        assert client.is_closed
    elif "closed" in expected:
        found.append("closed")
    else:
        assert not client.is_closed
        unended = [n for n, answer in client.answers.items() if not answer.is_whole and n not in client.resets]
        found += [f"unended {len(unended)}"] if unended else []
        refused = [str(n) for n, code in client.resets.items() if code == "REFUSED_STREAM"]
        found += [" ".join(["refused", *refused])] if refused else []
        found += [f"stream {n} {code}" for n, code in client.resets.items() if code not in _NOT_SAID]
        found += [_said(n, answer.status, answer.body) for n, answer in client.answers.items() if answer.is_whole]
    whole = [f"backend {seen.method} {_text(seen.target)}" + _quoted(seen.body) for seen in here.record.seen]
    found += _passed_on(whole, expected)
    for word, _, name in (outcome.partition(":")[0].partition(" ") for outcome in expected):
        if word in ("field", "trailer"):
            seen = here.record.seen[0]
            values = seen.values(name) if word == "field" else [v for n, v in seen.trailers if n == name]
            found.append(f"{word} {name}: " + _text(", ".join(values)))
    return sorted(found)


def _passed_on(whole: list[str], expected: list[str]) -> list[str]:
    """maybe: at most one of it, where a message goes wrong behind what is whole in HTTP/1.1. any: any number of it,
    where whole requests are cancelled.
    """
    rest, found = list(whole), []
    for outcome in expected:
        for word, limit in ((" maybe ", 1), (" any ", len(whole))):
            request = outcome.replace(word, " ", 1)
            if outcome.startswith("backend" + word) and rest.count(request) <= limit:
                found.append(outcome)
                rest = [one for one in rest if one != request]
    return found + rest or ["backend nothing"]


def _said(stream_id: int, status: int, body: bytes) -> str:
    return f"answer {stream_id} {status}" + _quoted(b"" if body == b"ok" else body)


def _text(value: str) -> str:
    return escaped(value.encode("latin-1"))


def _quoted(body: bytes) -> str:
    if len(body) > 100:
        return f" {len(body)} bytes"
    return f' "{escaped(body)}"' if body else ""
