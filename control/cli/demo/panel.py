"""The text on the terminal: a state of the demo in, lines out. Pure; `Screen` adds the few control codes of a TTY.

Colour is put on whole cells after they are padded, so that columns stay in line with and without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from milliroute.control.cli.demo.gauge import Leaf, Reading
from milliroute.control.cli.demo.visitors import Views

SPLIT_SERVICE = "reviews"
LOOKS = {"reviews-v1": "no stars", "reviews-v2": "red stars", "reviews-v3": "black stars"}
HEADINGS = ("LEAF", "WEIGHT", "SHARE", "OBSERVED", "", "REQUESTS", "SUCCESS", "P50", "P99", "")
# Left-aligned columns by index: the leaf, the bar and its looks. Numbers are right-aligned.
LEFT = {0, 4, 9}
BAR_CELLS = 16

BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user can do next: an address, commands and a file."""

    page_url: str
    set_command: str
    show_command: str
    split_path: str


@dataclass(frozen=True, slots=True)
class State:
    """All that one picture shows. `reading` is None while the proxy does not answer."""

    reading: Reading | None
    views: Views
    news: Sequence[str]


class Paint:
    """Colours a text, or leaves it as it is."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_on and text.strip() else text


def render(state: State, paint: Paint) -> list[str]:
    """The whole picture, line by line."""
    return [*_table(state.reading, paint), "", _views_line(state.views, paint), *_news(state.news, paint)]


def guide(hints: Hints, paint: Paint) -> list[str]:
    """What to try next."""
    steps = (
        ("see it", f"{hints.page_url}  (reload a few times)"),
        ("shift it", hints.set_command),
        ("or edit and save", hints.split_path),
        ("ask the proxy", hints.show_command),
        ("stop", "Ctrl-C"),
    )
    return [paint("Try next", BOLD), *(f"  {what:<18}{paint(how, CYAN)}" for what, how in steps)]


def _table(reading: Reading | None, paint: Paint) -> list[str]:
    authority = None if reading is None else reading.of(SPLIT_SERVICE)
    if reading is None or authority is None or not authority.splits:
        return [f"Split of {SPLIT_SERVICE}: waiting for the proxy to tell about it"]
    split = authority.splits[-1]
    source = f"TrafficSplit {split.name}" if split.name else "no TrafficSplit, all to the Service itself"
    state = paint(reading.control.state, GREEN if reading.control.state == "connected" else RED)
    title = f"Split of {paint(SPLIT_SERVICE, BOLD)}: {source}, version {authority.version}, control {state}"
    rows = [HEADINGS, *(_row(leaf) for leaf in split.leaves)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths, paint, is_heading=index == 0) for index, row in enumerate(rows)]
    return [title, "", *lines, *(paint(f"  ! {warning}", RED) for warning in authority.warnings)]


def _row(leaf: Leaf) -> tuple[str, ...]:
    looks = LOOKS.get(leaf.leaf, "") if leaf.state == "ok" else f"{LOOKS.get(leaf.leaf, '')} ({leaf.state})".strip()
    return (
        leaf.leaf,
        leaf.weight,
        _percent(leaf.share),
        _percent(leaf.observed_share),
        _bar(leaf.share, leaf.observed_share or 0.0),
        str(leaf.requests),
        _percent(leaf.successes / leaf.requests if leaf.requests else None),
        _milliseconds(leaf.p50_ms),
        _milliseconds(leaf.p99_ms),
        looks,
    )


def _line(row: Sequence[str], widths: Sequence[int], paint: Paint, *, is_heading: bool) -> str:
    cells = [
        cell.ljust(width) if column in LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    if is_heading:
        return "  " + paint("  ".join(cells).rstrip(), DIM)
    cells[4] = paint(cells[4], CYAN)
    if "red" in cells[9]:
        cells[9] = paint(cells[9], RED)
    return "  " + "  ".join(cells).rstrip()


def _bar(share: float, observed: float) -> str:
    """Observed share as full cells; `|` marks the configured one."""
    cells = ["█" if cell < round(observed * BAR_CELLS) else "·" for cell in range(BAR_CELLS)]
    mark = round(share * BAR_CELLS)
    return "".join([*cells[:mark], "|", *cells[mark:]])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f}%"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _views_line(views: Views, paint: Paint) -> str:
    failed = paint(f"{views.failed} failed", RED) if views.failed else "0 failed"
    partial = paint(f", {views.partial} incomplete", RED) if views.partial else ""
    return f"Page views: {views.total}, {failed}{partial}"


def _news(news: Sequence[str], paint: Paint) -> list[str]:
    return [paint(f"  ! {line}", RED) for line in news]
