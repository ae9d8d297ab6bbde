"""The requests that are sent."""

import h11
import pytest

from benchmarks.scenario import SCENARIOS, Scenario, request_maker


def parsed(raw: bytes) -> tuple[h11.Request, int]:
    """What h11 makes of it: the request, and the bytes of its body."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    request, length = server.next_event(), 0
    assert isinstance(request, h11.Request)
    while isinstance(event := server.next_event(), h11.Data):
        length += len(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    return request, length


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_request_is_whole_and_has_ten_realistic_fields(scenario: Scenario) -> None:
    request, length = parsed(request_maker(scenario, 1)(1))
    assert length == scenario.upload_bytes
    assert len(request.headers) == (11 if scenario.upload_bytes else 10)
    assert request.target.startswith(b"/%s/" % scenario.answer.encode())


def test_path_request_id_and_traceparent_never_repeat() -> None:
    make = request_maker(SCENARIOS[0], 5)
    requests = [parsed(make(number))[0] for number in range(1, 301)]
    fields = [dict(request.headers) for request in requests]
    assert len({request.target for request in requests}) == 300
    assert len({one[b"x-request-id"] for one in fields}) == len({one[b"traceparent"] for one in fields}) == 300
    assert {len(request.target.partition(b"?")[0]) for request in requests} == {len("/small/v1/orders/") + 16}
