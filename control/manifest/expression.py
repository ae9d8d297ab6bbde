"""Regular expressions of users: RE2, compiled here to see whether they can be, never run here."""

import re2

from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar


def problem(text: str) -> str:
    """Why it is no expression; "": it is one."""
    options = re2.Options()
    options.log_errors = False  # RE2 writes to stderr otherwise
    try:
        re2.compile(text, options=options)
    except re2.error as error:
        return error.args[0].decode("utf-8", "replace") if error.args else "cannot be compiled"
    return ""


def check_regex(parent: Fields, name: str, report: Report) -> None:
    """Of a field that may be missing."""
    node = parent.get(name)
    if isinstance(node, Scalar) and (why := problem(node.text)):
        report.add(node, f"bad {name}: {why}", node, "a regular expression (RE2)")
