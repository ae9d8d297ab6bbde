"""The strict rules for HTTP/2 messages (RFC 9113 section 8), shared by the fast and the reference codec.

In come the decoded fields of one message, out comes what they say or a StreamError. The rule not to break: what two
parsers could read differently is refused, never repaired; so both codecs decide by this module and nothing else.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from milliroute.proxy.codec import rules
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.errors import StreamError

PROTOCOL_ERROR = 0x1  # RFC 9113 section 8.1.1: what every malformed message is

# RFC 9113 section 8.2.2; http2-settings belongs to the upgrade of HTTP/1.1 (RFC 7540 section 3.2).
_CONNECTION_SPECIFIC = frozenset((
    b"connection", b"http2-settings", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade",
))  # fmt: skip
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_RESPONSE_PSEUDO = frozenset((b":status",))
_NO_PSEUDO = _NO_NAMES = frozenset[bytes]()

_is_token = re.compile(rules.TOKEN + rb"++").fullmatch
# RFC 9113 section 8.2.1: lower case, and no colon but a pseudo-field's first byte.
_is_field_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++").fullmatch
# No CTL but tab, and neither space nor tab at either end (RFC 9113 section 8.2.1).
_is_value = re.compile(rb"(?![\t ])" + rules.VALUE + rb"*+(?<![\t ])").fullmatch
# Origin-form without a fragment sign, as for HTTP/1 (RFC 9113 section 8.3.1).
_is_path = re.compile(rb"/[\x21\x22\x24-\x7e]*+").fullmatch
_is_status = re.compile(rb"[1-5][0-9][0-9]").fullmatch
# Judgements worth keeping, since names and hosts repeat; longer ones are judged each time, so that nobody fills the
# memory with them.
_MAX_KEPT_BYTES = 64
_KEPT = 1024
_USUAL_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT"))

_USUAL_STATUSES = {
    b"%d" % status: status for status in (200, 201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 500, 503)
}

# What the name of a field asks for, and Field.kind once its value is right: nothing more, a look by a rule, being a
# pseudo-field; a look at `te`, which is plain then; to be told apart as what proxies said. 0: not judged yet.
_PLAIN, _SPECIAL, _PSEUDO, _TE, _SAID = range(1, 6)


class RequestVerdict(msgspec.Struct, gc=False):
    """What the fields of a request say.

    authority: lower case, of :authority or else of Host. protocol: of extended CONNECT (RFC 8441) or b"".
    content_length: None where not said. drop: names that are not passed on: Host beside :authority, and l5d-* orders.
    said: the fields by which proxies say whom they ask for and that they were passed (x-forwarded-*, Forwarded, Via).
    """

    method: bytes
    target: bytes
    authority: bytes
    scheme: bytes
    protocol: bytes = b""
    content_length: int | None = None
    drop: frozenset[bytes] = frozenset()
    said: Sequence[Field] = ()


def judge_request(
    fields: Iterable[Field], *, end_stream: bool = False, may_extended_connect: bool = False
) -> RequestVerdict:
    """may_extended_connect: we have sent SETTINGS_ENABLE_CONNECT_PROTOCOL. Raises StreamError; its status says what an
    answer would be: 400, 414 or 501.
    """
    said: list[Field] = []
    pseudo, special = _sort(fields, _REQUEST_PSEUDO, said)
    method = pseudo.get(b":method", b"")
    if method == b"CONNECT" or b":protocol" in pseudo:
        _judge_connect(pseudo, special, may_extended_connect)
    target, scheme = pseudo.get(b":path", b""), pseudo.get(b":scheme")
    if method not in _USUAL_METHODS and not _is_token(method):
        raise StreamError(PROTOCOL_ERROR, ":method is missing or not a token")
    if scheme not in (b"http", b"https"):
        raise StreamError(PROTOCOL_ERROR, ":scheme is missing or neither http nor https")
    if not _is_path(target) or len(target) > rules.MAX_TARGET_BYTES:
        _judge_target(method, target)
    authority = _authority(pseudo, special) if special or b":authority" not in pseudo else _HOSTS[pseudo[b":authority"]]
    verdict = RequestVerdict(method, target, authority, scheme, pseudo.get(b":protocol", b""))
    if special:
        verdict.content_length = _content_length(special, end_stream)
        verdict.drop = _dropped(pseudo, special)
    if said:
        verdict.said = said
    return verdict


def judge_response(
    fields: Iterable[Field], method: bytes = b"GET", *, end_stream: bool = False
) -> tuple[int, int | None]:
    """(status, bytes of DATA to come or None where not said); method: of the request.

    0 bytes for HEAD, 204 and 304 whatever content-length says, not said of a tunnel; a status below 200 is interim.
    Raises StreamError.
    """
    pseudo, special = _sort(fields, _RESPONSE_PSEUDO)
    text = pseudo.get(b":status", b"")
    status = _USUAL_STATUSES.get(text) or _status(text, end_stream)
    if method == b"CONNECT" and opens_tunnel(status):
        return status, None  # whatever content-length says (RFC 9110 section 9.3.6)
    is_bodiless = method == b"HEAD" or status in (204, 304)
    length = _content_length(special, end_stream and not is_bodiless) if special else None
    if status < 200:
        return status, None  # RFC 9110 section 8.6: it has no content, so no length, but a wrong one is wrong
    return status, 0 if is_bodiless else length


def _status(text: bytes, end_stream: bool) -> int:
    if not _is_status(text):
        raise StreamError(PROTOCOL_ERROR, ":status is missing or not 100 to 599", status=502)
    status = int(text)
    if status == 101:
        raise StreamError(PROTOCOL_ERROR, "101 has no meaning in HTTP/2 (RFC 9113 section 8.6)", status=502)
    if status < 200 and end_stream:
        raise StreamError(PROTOCOL_ERROR, f"{status} with END_STREAM, wanted a final response", status=502)
    return status


def opens_tunnel(status: int) -> bool:
    """As the answer to CONNECT: only DATA follows, and END_STREAM is a half-close (RFC 9113 section 8.5)."""
    return 200 <= status < 300


def without_length(fields: list[Field]) -> list[Field]:
    """RFC 9110 section 9.3.6: a tunnel has no content-length; one that comes is ignored and not passed on."""
    return [field for field in fields if field.name != b"content-length"]


def judge_trailers(fields: Sequence[Field]) -> frozenset[bytes]:
    """The names that may not come as trailers and are not passed on; raises StreamError.

    That END_STREAM came with them is the caller's to check.
    """
    _, special = _sort(fields, _NO_PSEUDO)
    if special and any(field.name == b"content-length" for field in special):
        # The `h2` library would believe it: what frames a message is refused, not dropped.
        raise StreamError(PROTOCOL_ERROR, "content-length in trailers (RFC 9110 section 6.5.1)")
    forbidden = [field.name for field in fields if not rules.may_trail(field.name)]
    return frozenset(forbidden) if forbidden else _NO_NAMES


def judge_length(content_length: int | None, received: int, *, is_end: bool) -> None:
    """received: bytes of DATA without padding so far; raises StreamError (RFC 9113 section 8.1.1)."""
    if content_length is not None and (received > content_length or (is_end and received != content_length)):
        raise StreamError(PROTOCOL_ERROR, f"DATA of {received} bytes, content-length says {content_length}")


def _sort(
    fields: Iterable[Field], allowed: frozenset[bytes], said: list[Field] | None = None
) -> tuple[dict[bytes, bytes], list[Field]]:
    """(pseudo-fields, regular fields that a rule is about); all others have passed. said: gets what proxies said."""
    pseudo: dict[bytes, bytes] = {}
    special: list[Field] = []
    is_past_pseudo = False
    for field in fields:
        kind = field.kind or _judge_field(field)
        if kind == _PLAIN:
            is_past_pseudo = True
        elif kind == _PSEUDO:
            name = field.name
            if is_past_pseudo or name in pseudo or name not in allowed:
                raise StreamError(PROTOCOL_ERROR, "a pseudo-field that is unknown, repeated, misplaced or not allowed")
            pseudo[name] = field.value
        else:
            is_past_pseudo = True
            if kind == _SPECIAL:
                special.append(field)
            elif said is not None:
                said.append(field)
    return pseudo, special


def _judge_field(field: Field) -> int:
    kind = _KINDS[field.name]
    # Letters and digits only, as an id has them: known to be right for a sixth of the price.
    if kind != _PSEUDO and not field.value.isalnum() and not _is_value(field.value):
        raise StreamError(PROTOCOL_ERROR, "a field value with control characters or outer white space")
    if kind == _TE:
        if field.value.lower() != b"trailers":
            raise StreamError(PROTOCOL_ERROR, "te other than trailers (RFC 9113 section 8.2.2)")
        kind = _PLAIN
    field.kind = kind
    return kind


class _Kinds(dict[bytes, int]):
    """name -> what it asks for; raises StreamError. A dictionary that fills itself, 35 ns a look against 250 ns."""

    def __missing__(self, name: bytes) -> int:
        kind = _kind(name)
        if len(name) <= _MAX_KEPT_BYTES:
            if len(self) >= _KEPT:
                self.clear()
            self[name] = kind
        return kind


def _kind(name: bytes) -> int:
    if name[:1] == b":":
        return _PSEUDO
    if not _is_field_name(name):
        raise StreamError(PROTOCOL_ERROR, "a field name that is empty or not a lower-case token")
    if name in _CONNECTION_SPECIFIC:
        raise StreamError(PROTOCOL_ERROR, f"{name.decode()} is of the connection and has no place in HTTP/2")
    if name in (b"content-length", b"host") or rules.is_order(name):
        return _SPECIAL
    if name == b"via" or rules.is_about_clients(name):
        return _SAID
    return _TE if name == b"te" else _PLAIN


class _Hosts(dict[bytes, bytes]):
    """:authority or Host -> the same in lower case; raises StreamError. Fills itself as well."""

    def __missing__(self, host: bytes) -> bytes:
        if not rules.is_host(host):
            raise StreamError(PROTOCOL_ERROR, ":authority or Host is not a host and port")
        lower = host.lower()
        if len(host) <= _MAX_KEPT_BYTES:
            if len(self) >= _KEPT:
                self.clear()
            self[host] = lower
        return lower


# Of the process: the same few names come on every connection.
_KINDS, _HOSTS = _Kinds(), _Hosts()


def _judge_connect(pseudo: dict[bytes, bytes], special: list[Field], may_extended_connect: bool) -> None:
    if b":protocol" not in pseudo:
        raise StreamError(PROTOCOL_ERROR, "CONNECT is not offered", status=501)
    if not may_extended_connect:
        raise StreamError(PROTOCOL_ERROR, ":protocol without SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 section 4)")
    if pseudo.get(b":method") != b"CONNECT" or b":authority" not in pseudo:
        raise StreamError(PROTOCOL_ERROR, ":protocol without CONNECT and :authority (RFC 8441 section 4)")
    if pseudo[b":protocol"] != b"websocket":
        raise StreamError(PROTOCOL_ERROR, ":protocol other than websocket", status=501)
    if any(field.name == b"content-length" for field in special):
        raise StreamError(PROTOCOL_ERROR, "CONNECT with content-length")


def _judge_target(method: bytes, target: bytes) -> None:
    if len(target) > rules.MAX_TARGET_BYTES:
        raise StreamError(PROTOCOL_ERROR, f":path of {len(target)} bytes", status=414)
    if not _is_path(target) and not (target == b"*" and method == b"OPTIONS"):
        raise StreamError(PROTOCOL_ERROR, ":path is missing or not in origin-form")


def _authority(pseudo: dict[bytes, bytes], special: list[Field]) -> bytes:
    """RFC 9113 section 8.3.1: one of :authority and Host at least; both only if they agree."""
    hosts = [field.value for field in special if field.name == b"host"]
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (authority is None and not hosts):
        raise StreamError(PROTOCOL_ERROR, f"{len(hosts)} Host fields, wanted :authority or one Host")
    found = _HOSTS[hosts[0] if authority is None else authority]
    # By the byte, as the `h2` library has it: what a parser behind us would take for the same is not ours to guess.
    if hosts and authority is not None and hosts[0] != authority:
        raise StreamError(PROTOCOL_ERROR, ":authority and Host differ")
    return found


def _content_length(special: list[Field], end_stream: bool) -> int | None:
    text = None
    for field in special:
        if field.name == b"content-length":
            if text is not None:
                raise StreamError(PROTOCOL_ERROR, "content-length twice")
            text = field.value
    if text is None:
        return None
    if not text.isdigit() or len(text) > rules.MAX_LENGTH_DIGITS:
        raise StreamError(PROTOCOL_ERROR, "content-length is not a number of at most 18 digits")
    length = int(text)
    if end_stream:
        judge_length(length, 0, is_end=True)
    return length


def _dropped(pseudo: dict[bytes, bytes], special: list[Field]) -> frozenset[bytes]:
    has_authority = b":authority" in pseudo
    return frozenset(
        field.name for field in special if rules.is_order(field.name) or (field.name == b"host" and has_authority)
    )
