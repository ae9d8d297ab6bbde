"""The picture on the terminal: pure text, and how it is redrawn."""

import io

import msgspec

from milliroute.control.cli.demo import panel
from milliroute.control.cli.demo.gauge import Reading
from milliroute.control.cli.demo.screen import Screen, fit
from milliroute.control.cli.demo.visitors import Views

ANSWER = b"""{"proxy": "p", "control": {"address": "127.0.0.1:8086", "state": "connected", "since_unix_s": 1.0},
 "authorities": [{"authority": "details.default:9080", "known": true, "version": 1, "splits": []},
  {"authority": "reviews.default:9080", "known": true, "epoch": "f00d", "version": 3, "warnings": ["a warning"],
   "splits": [{"name": "default/reviews", "apex": "reviews", "source": "split.yaml:1", "ramp": null, "sticky": null,
    "leaves": [
     {"leaf": "reviews-v1", "weight": "900m", "weight_micro": 900000, "share": 0.9, "endpoints": 1, "state": "ok",
      "requests": 9, "observed_share": 0.9, "successes": 9, "failures": 0, "p50_ms": 1.25, "p99_ms": 4.0},
     {"leaf": "reviews-v2", "weight": "100m", "weight_micro": 100000, "share": 0.1, "endpoints": 0, "state": "empty",
      "requests": 0, "observed_share": null, "successes": 0, "failures": 0, "p50_ms": null, "p99_ms": null}]}]}]}"""


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def picture(reading: Reading | None, views: Views, *news: str, is_colored: bool = False) -> list[str]:
    return panel.render(panel.State(reading, views, news), panel.Paint(is_on=is_colored))


def reading() -> Reading:
    return msgspec.json.decode(ANSWER, type=Reading)


def test_a_leaf_shows_its_weight_share_observed_share_and_times() -> None:
    lines = picture(reading(), Views(total=10))
    (row,) = [line for line in lines if "reviews-v1" in line]
    assert row.split() == [
        *("reviews-v1", "900m", "90.0%", "90.0%", "█" * 14 + "|" + "·" * 2),
        *("9", "100.0%", "1.2", "ms", "4.0", "ms", "no", "stars"),
    ]


def test_a_leaf_without_requests_shows_dashes_and_its_state() -> None:
    (row,) = [line for line in picture(reading(), Views()) if "reviews-v2" in line]
    assert row.split()[2:4] == ["10.0%", "-"]
    assert row.endswith("red stars (empty)")


def test_warnings_failures_and_news_are_in_the_picture() -> None:
    text = "\n".join(picture(reading(), Views(total=9, failed=2, partial=1), "details ended by SIGKILL"))
    assert "! a warning" in text
    assert "Page views: 9, 2 failed, 1 incomplete" in text
    assert "! details ended by SIGKILL" in text


def test_without_an_answer_of_the_proxy_the_picture_says_that_it_waits() -> None:
    assert "waiting for the proxy" in picture(None, Views())[0]


def test_color_changes_no_column() -> None:
    colored = picture(reading(), Views(), is_colored=True)
    assert any("\x1b[" in line for line in colored)
    # `fit` cuts what is too long to its plain text; spaces that only colour kept at the end do not count.
    assert [fit(f"{line}{' ' * 500}", 400).rstrip() for line in colored] == picture(reading(), Views())


def test_the_guide_names_page_command_and_file() -> None:
    guide = panel.guide(panel.Hints("http://page", "milliroute split set", "milliroute split show", "a.yaml"), plain())
    for wanted in ("http://page", "milliroute split set", "milliroute split show", "a.yaml", "Ctrl-C"):
        assert any(wanted in line for line in guide)


def plain() -> panel.Paint:
    return panel.Paint(is_on=False)


def test_a_terminal_is_drawn_over_and_lines_above_stay() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.add(["above"])
    screen.show(["one", "two"])
    screen.show(["three"])
    assert out.getvalue() == "above\n\n\x1b[Jone\ntwo\n\x1b[2F\x1b[Jthree\n"


def test_elsewhere_each_picture_is_a_block_of_its_own() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show(["one"])
    screen.show(["two"])
    assert out.getvalue() == "one\n\ntwo\n\n"
