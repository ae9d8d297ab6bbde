"""Paths that nobody can read in two ways. Pure.

Policies judge a path as it came, and a backend may read it otherwise: decode it, resolve dots, cut it at `;`. Repairing
it would be a third reading, so a path is either in normal form, where all readings are one, or it is not.
History: Envoy's CVE-2019-9901 (dots, doubled slashes) and CVE-2021-29492 (escaped slashes).
"""

import re

# Of a target most paths are so, and then normal: no escapes, no empty segments, none that begins with a dot.
is_plain = re.compile(rb"(?=/)(?:/(?!\.)[A-Za-z0-9\-._~!$&'()*+,=:@]++)*+/?(?:\?|\Z)").match
_PATH = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@%]*+)++\Z")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
# What must not be hidden behind a percent sign: plain characters (RFC 3986 section 2.3), separators, controls, a second
# percent sign, and bytes that stand in no UTF-8 but in overlong forms of the others.
_NEVER_ESCAPED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/\\;%\x7f"
    + bytes(range(0x20))
    + bytes((0xC0, 0xC1, *range(0xF5, 0x100)))
)


def is_normal(target: bytes) -> bool:
    """Whether nobody can read the path of this target otherwise: absolute, no empty or dot segments, nothing escaped
    that means something, none of the characters that RFC 3986 does not have there, and no `;`."""
    if is_plain(target) is not None:
        return True
    path = target.partition(b"?")[0]
    if _PATH.match(path) is None or b"//" in path:
        return False
    if b"%" in path and not all(escape and int(escape, 16) not in _NEVER_ESCAPED for escape in _ESCAPE.findall(path)):
        return False
    return b"/." not in path or not any(segment in (b".", b"..") for segment in path.split(b"/"))
