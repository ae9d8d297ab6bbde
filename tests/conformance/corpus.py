"""Reads a corpus file: JSON lines, one character per byte, `{x*40}` for long runs."""

import json
import re
from pathlib import Path
from typing import TypedDict

FOLDER = Path(__file__).parent / "http1"
_RUN = re.compile(rb"\{(.)\*([0-9]+)\}", re.DOTALL)


class Case(TypedDict, total=False):
    """The keys as README.md here has them."""

    name: str
    rows: list[str]
    send: str
    status: int
    forwards: str
    fields: list[list[str]]
    length: int
    rest: str
    method: str
    may_upgrade: bool
    payload: str
    trailers: list[list[str]]
    open: bool
    host: str
    upgrade: str
    wants_close: bool
    is_http10: bool
    expects_continue: bool
    is_reusable: bool


def cases(name: str) -> list[Case]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


def text(value: str) -> bytes:
    return _RUN.sub(lambda run: run[1] * int(run[2]), value.encode("latin-1"))


def pairs(values: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(text(name), text(value)) for name, value in values]
