"""`split show`: what the files want, what the proxies do, as one table.

In: a Query. Out: text on stdout; proxies that did not answer and errors of files as lines on stderr. Without files and
without a proxy that answers there is nothing to show, and that is a failure.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from milliroute.control import errors, routestatus, snapshot
from milliroute.control.cli import apex as apexes
from milliroute.control.cli import proxies
from milliroute.control.cli.render import render
from milliroute.control.cli.rows import Row, merge
from milliroute.control.config import ClusterAccess
from milliroute.control.source.beside import combine
from milliroute.control.source.files import FileSource

# Seconds between two pictures of --watch.
REDRAW_S = 1.0
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@dataclass(frozen=True, slots=True)
class Query:
    """`apex` "" means every split; `form` is table, json or yaml."""

    apex: str
    files: tuple[str, ...]
    admins: tuple[str, ...]
    form: str
    cluster: ClusterAccess | None = None


def show(query: Query) -> None:
    """Print once. Raises ControlError."""
    rows, notes = collect(query)
    for note in notes:
        print(f"milliroute: {note}", file=sys.stderr)
    sys.stdout.write(render(rows, query.form))


def watch(query: Query) -> None:
    """Print again and again until Ctrl-C; a proxy that is away for a while is said and not fatal."""
    try:
        while True:
            picture = _picture(query)
            if sys.stdout.isatty():
                picture = CLEAR + picture
            sys.stdout.write(picture)
            sys.stdout.flush()
            time.sleep(REDRAW_S)
    except (KeyboardInterrupt, BrokenPipeError):
        return


def collect(query: Query) -> tuple[list[Row], list[str]]:
    """Rows, and what an operator should know beside them. Raises ControlError."""
    configured, notes = _configured(query)
    answers = proxies.ask(query.admins)
    if not answers.pages:
        if not query.files and query.cluster is None:
            raise errors.ControlError(f"no proxy answered ({'; '.join(answers.silent)})")
        notes.append(f"no proxy answered ({'; '.join(answers.silent)}): configured weights only")
    else:
        notes += [f"no answer from {line}" for line in answers.silent]
    rows = merge(answers.pages, configured, lambda apex, namespace: _is_wanted(query.apex, apex, namespace))
    if query.apex and not rows:
        raise errors.ControlError(f"no split of {query.apex}")
    return rows, notes


def _picture(query: Query) -> str:
    try:
        rows, notes = collect(query)
    except errors.ConfigError:
        raise
    except errors.ControlError as error:
        return f"milliroute: {error}\n"
    lines = "".join(f"milliroute: {note}\n" for note in notes) if query.form == "table" else ""
    return lines + render(rows, query.form)


def _configured(query: Query) -> tuple[Sequence[snapshot.SplitReport], list[str]]:
    if not query.files and query.cluster is None:
        return (), []
    objects = FileSource(query.files).read()
    if query.cluster is not None:
        try:
            from milliroute.control.cli import cluster  # with all that only a cluster needs
        except ImportError as error:
            raise errors.missing_extra("--kubernetes", error) from error
        objects = combine(objects, cluster.read(query.cluster)) if query.files else cluster.read(query.cluster)
    notes = [error for source in objects.sources for error in source.errors]
    built = snapshot.build(objects, None, time.time_ns() // 1_000_000)
    notes += [line for status in built.routes for line in routestatus.warnings(status)]
    return (*built.splits, *built.rules), notes


def _is_wanted(asked: str, apex: str, namespace: str) -> bool:
    return not asked or apexes.matches(asked, apex, namespace)
