"""The text of a manifest: UTF-8, with or without a byte order mark, and nothing else.

In: the bytes of a file. Out: its text, byte order mark included, so that who writes it back keeps it; or an
EncodingError at `path:line:col`. Whatever reads or edits manifests decodes them here, so that no file is good for one
and bad for the other. UTF-16, which some Windows tools write, is refused and named: read with a guess, one lost byte
would turn the rest of a file into other characters.
"""

import codecs

from milliroute.control.errors import ControlError

BOM = "\ufeff"

# In this order: the mark of UTF-16 little-endian begins the one of UTF-32.
_OTHERS = (
    ("UTF-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("UTF-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


class EncodingError(ControlError):
    """A file is not UTF-8; the message begins with path:line:col."""


def decoded(content: bytes, path: str) -> str:
    """Raises EncodingError."""
    if other := _other(content):
        raise EncodingError(f"{path}:1:1: not UTF-8 text (saw {other}, want UTF-8)")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = position(content[: error.start].decode("utf-8", "replace").removeprefix(BOM))
        saw = f"saw byte {content[error.start]:#04x}, want UTF-8"
        raise EncodingError(f"{path}:{line}:{column}: not UTF-8 text ({saw})") from None


def position(before: str) -> tuple[int, int]:
    """The line and the column, from 1, of what comes after this text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _other(content: bytes) -> str:
    """The encoding that is seen, or ""; without a mark by the zero byte of the first character (YAML 1.2, 5.2)."""
    for name, marks in _OTHERS:
        if content.startswith(marks):
            return name
    return "UTF-16" if content[:2].count(0) == 1 else ""
