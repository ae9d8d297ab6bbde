"""The strict scanner: one compiled expression takes a whole plain HTTP/1.1 head in one C call, or declines it.

Declining (None) is always safe: h11 and the strict rules look at the head then. Accepting promises that they would have
accepted it with the same method, target, fields and framing; tests/proxy/codec/test_differential.py holds it to that.

The expression reads names, and the values that frame; which bytes the others hold, one translate tells. A field that
matters and is not in its usual form is only noted, and the head is looked at again. On a 595-byte head with ten fields,
CPython 3.11: 2.9 us and 0.6 us. Values in the expression and a second one for names were 3.1 us and 2.7 us.
"""

import re

from milliroute.proxy.codec import rules
from milliroute.proxy.message import CHUNKED, Fields, RequestHead, ResponseHead

_ORDERS = (b"l5d-", b"l5d_")
# Possessive quantifiers: nothing is ever given back, so a hostile head costs no more than a plain one.
_LINE = rb"%b++:[^\r]*+\r\n" % rules.TOKEN
# Without the bytes that may stand in it (rules.VALUE) nothing is left of a head but its line ends, one after another: a
# control byte or half a line end would stand between them.
_IN_LINES = bytes(b for b in range(256) if b == 0x09 or (b >= 0x20 and b != 0x7F))
_LINE_ENDS = frozenset(b"\r\n" * count for count in range(rules.MAX_FIELDS + 3))


def _letter(letter: bytes) -> bytes:
    return b"[%b%b]" % (letter.upper(), letter) if letter.isalpha() else re.escape(letter)


def _any_of(names: set[bytes]) -> bytes:
    """In either case, letter by letter: of most other names the first or the second is not among them."""
    ways = []
    for first in sorted({name[:1] for name in names}):
        rest = {name[1:] for name in names if name[:1] == first}
        ways.append(_letter(first) + (b"" if b"" in rest else _any_of(rest)))
    return b"(?:%b)" % b"|".join(ways) if len(ways) > 1 else ways[0]


def _once(group: int, name: bytes, value: bytes) -> bytes:
    """A field in its usual form, whose value goes into the group; a second of its name is not. In the two spellings in
    use, with at most one space. The group is set when the whole line is seen to be good, and never undone."""
    title = b"-".join(_letter(word[:1]) + word[1:] for word in name.split(b"-"))
    return rb"%b: ?(?(%d)(?!)|(?=%b\r\n)([^\r]*+)\r\n)" % (title, group, value)


def _note(beginnings: set[bytes]) -> bytes:
    """Any other line of these, with a group of its own, which is empty."""
    return rb"(?=%b)()%b" % (_any_of(beginnings), _LINE)


def _head(start: bytes, names: set[bytes], *special: bytes) -> "re.Pattern[bytes]":
    """names: of the special lines; most others begin with a letter that none of these has."""
    # Atomic, and not a possessive repeat: that loses groups (CPython gh-101955).
    letters = b"".join(sorted({name[:1] for name in names} | {name[:1].upper() for name in names}))
    free = rb"(?![%b])%b" % (letters, _LINE)
    return re.compile(rb"%b(?>(?:%b){0,%d})\r\n" % (start, b"|".join((free, *special, _LINE)), rules.MAX_FIELDS))


# Origin-form only (RFC 9112 section 3.2.1), no fragment sign.
_REQUEST_LINE = rb"(%b++) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r\n" % rules.TOKEN
_STATUS_LINE = rb"HTTP/1\.1 ([2-5][0-9][0-9]) [^\r]*+\r\n"
# What frames the body goes on as it came only in the spelling that no parser reads in two ways: a decimal number, not
# with leading zeros, and `chunked` in lower case.
_LENGTH = rb"(?:0|[1-9][0-9]{0,%d}+)" % (rules.MAX_LENGTH_DIGITS - 1)
_IN_REQUEST = {name + b":" for name in rules.REQUEST_NAMES} | set(_ORDERS)
_IN_RESPONSE = {name + b":" for name in rules.RESPONSE_NAMES}
# Of what is said of clients and hops the plainest: all of the line.
_SENDER = rb"(?=[Xx]-[Ff]orwarded-[Ff]or:)(?(6)(?!)|([^\r]*+)\r\n)"

_FRAMED = (
    _once(3, b"host", rules.HOST),
    _once(4, b"content-length", _LENGTH),
    _once(5, b"transfer-encoding", b"chunked"),
)
_NOTED = _note(_IN_REQUEST)
_match_request = _head(_REQUEST_LINE, _IN_REQUEST, *_FRAMED, _NOTED).match
_match_telling = _head(_REQUEST_LINE, _IN_REQUEST | rules.SAID, *_FRAMED, _SENDER, _NOTED, _note(rules.SAID)).match
_match_response = _head(
    _STATUS_LINE,
    _IN_RESPONSE,
    _once(2, b"content-length", _LENGTH),
    _once(3, b"transfer-encoding", b"chunked"),
    _note(_IN_RESPONSE),
).match


def _finder(names: tuple[bytes, ...], extra: bytes = b"") -> "re.Pattern[bytes]":
    return re.compile(rb"\r\n(" + b"|".join(names) + extra + rb"): ?([^\r]*)")


# Of a head that was noted, in lower case: 2.7 us, and half of what a search in either case costs.
_find_in_request = _finder(rules.REQUEST_NAMES, rb"|l5d[-_][^:]*").findall
_find_in_response = _finder(rules.RESPONSE_NAMES).findall


def scan_request(buf: bytes, tells: bool = False) -> tuple[RequestHead, int] | None:
    """The head at the start of buf and where it ends; None when it is incomplete or not plain. tells: head.said is
    set, too."""
    match = _match_telling(buf) if tells else _match_request(buf)
    if match is None:
        return None
    if tells:
        method, target, host, length, coding, sender, noted, more = match.groups()
    else:
        method, target, host, length, coding, noted = match.groups()
    end = match.end()
    wire = buf if end == len(buf) else buf[:end]
    if end > rules.MAX_HEAD_BYTES or len(target) > rules.MAX_TARGET_BYTES:
        return None
    if wire.translate(None, _IN_LINES) not in _LINE_ENDS:
        return None
    head: RequestHead | None
    if noted is None and host is not None and (length is None or coding is None) and method != b"CONNECT":
        # Most requests: nothing that stays on this hop.
        size = 0 if length is None else int(length)
        head = RequestHead(method, target, host.lower(), wire, size if coding is None else CHUNKED)
    else:
        head = _look_again(method, target, wire)
        if head is None:
            return None
    if tells:
        if sender is None and more is None:
            head.said = b""
        else:
            head.said = sender if more is None and head.wire is wire else None
    return head, end


def _look_again(method: bytes, target: bytes, wire: bytes) -> RequestHead | None:
    lowered = wire.lower()
    found = _find_in_request(lowered)
    return _judge(method, target, found, wire) if _is_plain(found, wire, lowered) else None


def _is_plain(found: Fields, wire: bytes, lowered: bytes) -> bool:
    """As in the expressions, and in any spelling of the names."""
    for name, value in found:
        if name == b"content-length" and not _is_plain_length(value):
            return False
        if name == b"host" and not rules.is_host(value):
            return False
        if name == b"transfer-encoding":
            begin = lowered.find(b"\r\ntransfer-encoding:") + 20
            if not wire.startswith((b" chunked\r\n", b"chunked\r\n"), begin):
                return False
    return True


def _is_plain_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= rules.MAX_LENGTH_DIGITS and (value[0] != 0x30 or value == b"0")


def _judge(method: bytes, target: bytes, found: Fields, wire: bytes) -> RequestHead:
    fields = [(name, value.strip(b" \t")) for name, value in found]
    verdict = rules.judge_request(method, fields, is_http10=False)
    if verdict.drop:
        wire = without(wire, verdict.drop, verdict.upgrade)
    head = RequestHead(method, target, verdict.host, wire, verdict.length)
    head.wants_close = verdict.wants_close
    head.expects_continue = verdict.expects_continue
    head.upgrade = verdict.upgrade
    return head


def scan_response(buf: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
    """A final response's head; None when it is incomplete, interim or not plain."""
    match = _match_response(buf)
    if match is None:
        return None
    digits, length, coding, noted = match.groups()
    end = match.end()
    wire = buf if end == len(buf) else buf[:end]
    if end > rules.MAX_HEAD_BYTES or wire.translate(None, _IN_LINES) not in _LINE_ENDS:
        return None
    status = int(digits)
    if noted is None and (length is None) is not (coding is None) and method != b"HEAD" and status not in (204, 304):
        # Most responses: a body, nothing that stays on this hop.
        return ResponseHead(status, wire, CHUNKED if length is None else int(length), True), end
    lowered = wire.lower()
    found = _find_in_response(lowered)
    if not _is_plain(found, wire, lowered):
        return None
    fields = [(name, value.strip(b" \t")) for name, value in found]
    verdict = rules.judge_response(status, method, fields, is_http10=False, may_upgrade=False)
    if verdict.drop:
        wire = without(wire, verdict.drop, b"")
    return ResponseHead(status, wire, verdict.length, verdict.is_reusable), end


def without(wire: bytes, drop: frozenset[bytes], upgrade: bytes) -> bytes:
    """The head without the fields of these (lower-case) names; an upgrade is asked for anew on the next hop."""
    lines = wire[:-4].split(b"\r\n")
    kept = [line for line in lines[1:] if line[: line.index(b":")].lower() not in drop]
    if upgrade:
        kept += [b"connection: upgrade", b"upgrade: " + upgrade]
    return b"\r\n".join([lines[0], *kept, b"", b""])
