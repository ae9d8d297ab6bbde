"""Groups as text with Linkerd's marks, or as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from milliroute.control.check.findings import Group, is_good

_MARKS = {"ok": "\u221a", "warning": "\u203c", "error": "\u00d7"}


def text(groups: Sequence[Group]) -> str:
    lines: list[str] = []
    for group in groups:
        lines += [group.title, "-" * len(group.title)]
        for finding in group.findings:
            lines.append(f"{_MARKS[finding.level]} {finding.text}")
            lines += [f"    {more}" for more in (finding.detail, finding.hint and f"hint: {finding.hint}") if more]
        lines.append("")
    return "\n".join([*lines, f"Status check results are {_MARKS['ok' if is_good(groups) else 'error']}", ""])


def document(groups: Sequence[Group]) -> str:
    return json.dumps({"success": is_good(groups), "categories": [asdict(group) for group in groups]}, indent=1) + "\n"
