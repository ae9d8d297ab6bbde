"""The admin paths and what they do."""

import json

import pytest

from milliroute.proxy.agent.admin import Request, answer
from milliroute.proxy.agent.catalog import Catalog
from milliroute.proxy.agent.collector import Sources, Vitals
from milliroute.proxy.agent.ledger import Ledger
from milliroute.proxy.agent.splitsview import ControlView, SplitsView
from milliroute.proxy.agent.surface import routes
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.logs import current_level, set_level
from tests.proxy.fakes import CONFIG


class FakeAgent:
    def __init__(self) -> None:
        self.ready = False
        self.orders: list[str] = []

    @property
    def config(self) -> ProxyConfig:
        return CONFIG

    def is_ready(self) -> bool:
        return self.ready

    def splits(self) -> SplitsView:
        return SplitsView("proxy-1", ControlView("127.0.0.1:1", "connected", 1.5), [])

    def sources(self) -> Sources:
        vitals = Vitals(is_connected=True, disconnected_s=0.0, worker_restarts=0, workers=1, unix_ns=0)
        return Sources(Catalog(), Ledger(), lambda: vitals)

    def request_drain(self) -> None:
        self.orders.append("drain")

    def request_shutdown(self) -> None:
        self.orders.append("shutdown")


def ask(agent: FakeAgent, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, str]:
    response = answer(routes(agent), Request(method, path, {}, body, is_loopback=True))
    return response.status, response.body.decode()


def test_ready_follows_the_agent_and_live_does_not() -> None:
    agent = FakeAgent()
    assert ask(agent, "/ready") == (503, "not ready\n")
    assert ask(agent, "/live") == (200, "live\n")
    agent.ready = True
    assert ask(agent, "/ready") == (200, "ready\n")


def test_splits_config_and_version_are_json() -> None:
    agent = FakeAgent()
    control = {"address": "127.0.0.1:1", "state": "connected", "since_unix_s": 1.5}
    assert json.loads(ask(agent, "/splits")[1]) == {"proxy": "proxy-1", "control": control, "authorities": []}
    assert json.loads(ask(agent, "/config")[1])["listeners"][0]["apex"] == "reviews"
    assert set(json.loads(ask(agent, "/version")[1])) == {"version", "python"}


def test_metrics_are_served_again_and_again() -> None:
    agent = FakeAgent()
    action = routes(agent)["/metrics"]["GET"]
    for _ in range(2):
        assert b"milliroute_control_connected 1.0\n" in action(Request("GET", "/metrics", {})).body


@pytest.mark.parametrize("order", ["drain", "shutdown"])
def test_drain_and_shutdown_are_orders_and_not_pages(order: str) -> None:
    agent = FakeAgent()
    assert ask(agent, f"/{order}")[0] == 405
    assert ask(agent, f"/{order}", "POST")[0] == 200
    assert agent.orders == [order]


def test_the_log_level_can_be_read_and_changed_to_a_known_one_only() -> None:
    before = current_level()
    try:
        assert ask(FakeAgent(), "/log-level", "POST", b"error\n") == (200, "error\n")
        assert ask(FakeAgent(), "/log-level") == (200, "error\n")
        status, text = ask(FakeAgent(), "/log-level", "POST", b"loud")
        assert (status, text) == (400, "saw 'loud', wanted one of debug, info, warning, error\n")
    finally:
        set_level(before)
