"""`split show`: counts of several proxies, configured weights beside them, and proxies that do not answer."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import yaml

from milliroute.control import errors
from milliroute.control.cli import proxies, showing, waiting
from milliroute.control.cli.editing import Change
from milliroute.control.cli.proxies import AuthorityPage, LeafPage, ProxyPage, SplitPage
from milliroute.control.cli.render import render
from milliroute.control.cli.rows import merge
from milliroute.control.cli.setting import Done, files_of_proxies
from milliroute.control.snapshot import LeafReport, SplitReport

REPORT = SplitReport(
    "default/reviews",
    "reviews",
    "split.yaml:1",
    "accepted",
    (),
    (LeafReport("reviews-v1", "500m", 500_000, 0.5), LeafReport("reviews-v2", "500m", 500_000, 0.5)),
)


def leaf(name: str, weight: str, requests: int, failures: int = 0, p99_ms: float | None = None) -> LeafPage:
    return LeafPage(
        name,
        weight,
        int(weight.removesuffix("m")) * 1000,
        0.5,
        requests=requests,
        successes=requests - failures,
        failures=failures,
        p50_ms=p99_ms and p99_ms / 2,
        p99_ms=p99_ms,
    )


def page(*leaves: LeafPage, name: str = "default/reviews", published: int = 1, source: str = "") -> ProxyPage:
    split = SplitPage(name, "reviews", list(leaves), source)
    return ProxyPage("p", [AuthorityPage("reviews.default:9080", [split], published)])


def everything(apex: str, namespace: str) -> bool:
    return True


def test_counts_are_added_and_percentiles_are_the_worst() -> None:
    one = page(leaf("v1", "900m", 900, p99_ms=4.0), leaf("v2", "100m", 100, failures=10))
    two = page(leaf("v1", "900m", 90, p99_ms=9.0), leaf("v2", "100m", 10))
    first, second = merge([one, two], (), everything)
    assert (first.requests, first.observed, first.success, first.p99_ms) == (990, 0.9, 1.0, 9.0)
    assert (second.requests, second.observed, second.p99_ms) == (110, 0.1, None)
    assert second.success == pytest.approx(100 / 110)


def test_the_newest_state_gives_the_weights_when_proxies_differ() -> None:
    old, new = page(leaf("v1", "900m", 1), published=1), page(leaf("v1", "500m", 1), published=2)
    assert [row.weight for row in merge([new, old], (), everything)] == ["500m"]


def test_weights_of_files_beat_those_of_proxies_and_counts_stay() -> None:
    rows = merge([page(leaf("reviews-v1", "900m", 7))], [REPORT], everything)
    assert [(row.leaf, row.weight, row.requests) for row in rows] == [
        ("reviews-v1", "500m", 7),
        ("reviews-v2", "500m", None),
    ]


def test_an_authority_without_a_split_has_no_rows() -> None:
    assert merge([page(leaf("reviews", "1", 5), name="")], (), everything) == []


def test_the_table_is_aligned_and_says_what_is_unknown() -> None:
    empty = msgspec.structs.replace(leaf("v2", "100m", 0), state="empty")
    table = render(merge([page(leaf("v1", "900m", 9, p99_ms=4.0), empty)], (), everything), "table")
    assert table.splitlines() == [
        "APEX     LEAF        WEIGHT  SHARE  OBSERVED  REQUESTS  SUCCESS    P50    P99",
        "reviews  v1            900m  50.0%    100.0%         9  100.00%  2.0ms  4.0ms",
        "reviews  v2 (empty)    100m  50.0%      0.0%         0        -      -      -",
    ]


def showing_all() -> ProxyPage:
    """A failover whose first leaf is out, with a limit and a fault."""
    replace = msgspec.structs.replace
    v1 = replace(leaf("v1", "1", 0), state="out", out=["10.0.0.1:80"])
    v2 = replace(leaf("v2", "1", 0), sick=["10.0.0.3:80", "10.0.0.4:80"])
    split = SplitPage(
        "default/reviews", "reviews", [v1, v2], failover=["v2"], rate_limits=["5/s (Service default/reviews)"],
        fault="abort=503 5%",
    )  # fmt: skip
    return ProxyPage("p", [AuthorityPage("reviews.default:9080", [split])])


def test_the_table_says_what_is_taken_out_and_in_force() -> None:
    lines = render(merge([showing_all()], (), everything), "table").splitlines()
    assert [line.split("  ")[1] for line in lines[1:3]] == ["v1 (out)", "v2 (taken)"]
    assert lines[3:] == [
        "reviews: rate limit 5/s (Service default/reviews)",
        "reviews: fault abort=503 5%",
        "reviews: v1: out for failures: 10.0.0.1:80",
        "reviews: v2: unhealthy: 10.0.0.3:80, 10.0.0.4:80",
    ]


def test_what_several_proxies_leave_out_or_have_taken_is_put_together() -> None:
    other = msgspec.structs.replace(leaf("v2", "1", 0), out=["10.0.0.3:80"])
    split = SplitPage("default/reviews", "reviews", [leaf("v1", "1", 0), other], failover=["v1"])
    pages = [showing_all(), ProxyPage("q", [AuthorityPage("reviews.default:9080", [split])])]
    first, second = merge(pages, (), everything)
    assert (first.is_taken, second.is_taken) == (True, True)
    assert (second.out, second.sick) == (("10.0.0.3:80",), ("10.0.0.3:80", "10.0.0.4:80"))
    assert merge([page(leaf("v1", "900m", 9))], (), everything)[0].is_taken is None


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_scripts_get_every_number(form: str, read: object) -> None:
    assert callable(read)
    [row] = read(render(merge([page(leaf("v1", "900m", 9))], (), everything), form))
    assert (row["split"], row["leaf"], row["requests"], row["p99_ms"]) == ("default/reviews", "v1", 9, None)


@contextmanager
def proxy_admin(status: int, body: bytes) -> Iterator[str]:
    """An admin listener with one answer."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_proxy_is_asked_over_http() -> None:
    with proxy_admin(200, msgspec.json.encode(page(leaf("v1", "900m", 9)))) as address:
        answers = proxies.ask([address, address])
    assert [p.proxy for p in answers.pages] == ["p"]
    assert answers.silent == ()


@pytest.mark.parametrize(("status", "body"), [(404, b""), (200, b"<html>"), (200, b'{"proxy": 1}'), (200, b"")])
def test_what_is_no_proxy_counts_as_silent(status: int, body: bytes) -> None:
    with proxy_admin(status, body) as address:
        answers = proxies.ask([address])
    assert answers.pages == ()
    assert answers.silent[0].startswith(f"{address}: ")


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens: it was taken a moment ago."""
    with proxy_admin(200, b"") as address:
        return address


def test_without_files_and_without_an_answer_there_is_nothing_to_show(nobody: str) -> None:
    with pytest.raises(errors.ControlError, match=r"^no proxy answered \(127.0.0.1:\d+: connection refused\)$"):
        showing.show(showing.Query("", (), (nobody,), "table"))


def test_with_files_the_configured_weights_are_shown_and_the_silence_said(
    nobody: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = "apiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: {name: reviews}\n"
    path = tmp_path / "split.yaml"
    path.write_text(f"{split}spec: {{service: reviews, backends: [{{service: v1, weight: 900m}}]}}\n")
    showing.show(showing.Query("reviews", (str(path),), (nobody,), "table"))
    captured = capsys.readouterr()
    assert "reviews  v1      900m  100.0%" in captured.out
    assert "no proxy answered" in captured.err


def test_an_apex_that_nobody_knows_is_a_failure() -> None:
    with (
        proxy_admin(200, msgspec.json.encode(page(leaf("v1", "900m", 9)))) as address,
        pytest.raises(errors.ControlError, match=r"^no split of ratings$"),
    ):
        showing.show(showing.Query("ratings", (), (address,), "table"))


def test_the_file_of_a_split_is_learnt_from_a_proxy(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.touch()
    assert files_of_proxies("reviews", [page(source=f"{path}:12")]) == [str(path)]


def test_a_file_that_is_not_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.ControlError, match=r"elsewhere.yaml: no file here; name the split's file with -f"):
        files_of_proxies("reviews", [page(source="/elsewhere.yaml:1")])
    with pytest.raises(errors.ControlError, match=r"no proxy knows a split of ratings"):
        files_of_proxies("ratings", [page()])


DONE = Done("split.yaml", "default/reviews", (Change(1, "v1", "900m", "0"), Change(2, "v2", "100m", "1")))


def test_a_proxy_is_behind_until_it_has_every_weight() -> None:
    behind = waiting.behind(DONE, [page(leaf("v1", "900m", 0), leaf("v2", "100m", 0))])
    assert behind == ["p: v1=900m v2=100m"]
    assert waiting.behind(DONE, [page(leaf("v1", "0", 0), leaf("v2", "1000m", 0))]) == []
    assert waiting.behind(DONE, [page(leaf("v1", "1", 0), name="default/other")]) == []


def test_waiting_ends_with_who_is_behind() -> None:
    body = msgspec.json.encode(page(leaf("v1", "900m", 0)))
    with (
        proxy_admin(200, body) as address,
        pytest.raises(errors.ControlError, match=r"not in force everywhere .*v1=900m"),
    ):
        waiting.until_in_force(DONE, [address], 0)
