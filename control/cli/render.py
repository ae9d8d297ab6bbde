"""Rows as text: an aligned table for people, JSON and YAML for scripts. Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import yaml

from milliroute.control.cli.rows import Row

COLUMNS = ("APEX", "LEAF", "WEIGHT", "SHARE", "OBSERVED", "REQUESTS", "SUCCESS", "P50", "P99")
# Columns of names are aligned left, columns of numbers right.
NAMES = 2


def render(rows: Sequence[Row], form: str) -> str:
    """`form` is table, json or yaml; the text ends with a line feed."""
    if form == "json":
        return json.dumps([asdict(row) for row in rows], indent=2) + "\n"
    if form == "yaml":
        return yaml.safe_dump([asdict(row) for row in rows], sort_keys=False)
    return table(rows)


def table(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS))]
    notes = dict.fromkeys(note for row in rows for note in _notes(row))
    return "".join([*(_line(line, widths) for line in lines), *(f"{note}\n" for note in notes)])


def _notes(row: Row) -> list[str]:
    """What holds for the requests of the whole split, and which endpoints get none."""
    found = [f"{row.apex}: rate limit {limit}" for limit in row.rate_limits]
    found += [f"{row.apex}: fault {row.fault}"] if row.fault else []
    found += [f"{row.apex}: {row.leaf}: out for failures: {', '.join(row.out)}"] if row.out else []
    return [*found, *([f"{row.apex}: {row.leaf}: unhealthy: {', '.join(row.sick)}"] if row.sick else [])]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if n < NAMES else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip() + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    # A leaf that takes no traffic although it has weight is worth a word, and that which takes all of a failover split.
    marks = ["taken"] if row.is_taken else []
    marks += [row.state] if row.state not in ("", "ok") else []
    mark = f" ({', '.join(marks)})" if marks else ""
    return (
        row.apex,
        row.leaf + mark,
        row.weight,
        _percent(row.share),
        _percent(row.observed),
        "-" if row.requests is None else str(row.requests),
        _percent(row.success, 2),
        _ms(row.p50_ms),
        _ms(row.p99_ms),
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f}%"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}ms"
