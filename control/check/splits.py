"""Of the splits, routes and policies themselves: what no other check of a mesh looks at.

In: Objects, as files or a cluster have them. Out: one Finding per split or source that is not as its writer meant it.
"""

from collections.abc import Iterator

from milliroute.control import routestatus, snapshot
from milliroute.control.check.findings import Finding, Group
from milliroute.control.model import Objects
from milliroute.control.source.kubernetes.assembly import PREFIX


def group(objects: Objects, now_unix_ms: int) -> Group:
    return Group("milliroute-splits", tuple(_findings(objects, now_unix_ms)))


def _findings(objects: Objects, now_unix_ms: int) -> Iterator[Finding]:
    for source in objects.sources:
        for error in source.errors:
            # Whether a cluster's kind can be read at all is another group's finding.
            if not (source.path.startswith(PREFIX) and source.in_force in ("absent", "nothing")):
                yield Finding(
                    "error", "every object can be read", error, "correct it; until then the last good one counts"
                )
    made = snapshot.build(objects, None, now_unix_ms)
    for split in made.splits:
        text = f"split {split.name} divides {split.apex}"
        if split.status == "conflict":
            yield Finding("error", text, "; ".join(split.warnings), "delete one of the two: the older one counts")
        elif split.warnings:
            yield Finding("warning", text, "; ".join(split.warnings), "see docs/splits.md")
        else:
            yield Finding("ok", text)
    for route in made.routes:
        said = list(routestatus.warnings(route))
        text = f"{route.title} is in force"
        yield Finding("warning", text, "; ".join(said), "see docs/routes.md") if said else Finding("ok", text)
    for warning in made.access_warnings:
        yield Finding("warning", "every policy guards something", warning, "see docs/access.md")
    if not (made.splits or made.routes):
        yield Finding("ok", "there are no splits and no routes")
