"""The names that a verified client certificate gives its owner, by the rules of SPIFFE where it is an SVID. Pure.

In: a certificate in DER that TLS has verified. Out: its SPIFFE id and DNS names, or an IdentityError. The ssl module
takes certificates with two SPIFFE ids, of authorities, or with no name at all, so the judgement is ours, from the bytes
(SPIFFE X.509-SVID sections 2 to 5).
"""

import re
from collections.abc import Iterator

# SPIFFE ID section 2.3.
MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_CHARS = 255
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[a-zA-Z0-9._-]+"
_SPIFFE = re.compile(rf"spiffe://([a-z0-9._-]{{1,{MAX_TRUST_DOMAIN_CHARS}}})((?:/{_SEGMENT})+)\Z")
# As it stands in certificates; a wildcard names no one.
_DNS = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")

# DER tags (X.690), and those of a certificate's parts (RFC 5280 sections 4.1 and 4.2.1.6).
_BOOLEAN, _BIT_STRING, _OCTET_STRING, _OID, _SEQUENCE = 0x01, 0x03, 0x04, 0x06, 0x30
_EXTENSIONS, _DNS_NAME, _URI = 0xA3, 0x82, 0x86
_SUBJECT_ALT_NAME, _KEY_USAGE, _BASIC_CONSTRAINTS = b"\x55\x1d\x11", b"\x55\x1d\x0f", b"\x55\x1d\x13"
# keyCertSign is bit 5, cRLSign bit 6, counted from the most significant.
_SIGNS_OTHERS = 0b0000_0110


class IdentityError(Exception):
    """The certificate names nobody, or is none that a client may show."""


def identities(der: bytes, trust_domain: str = "") -> tuple[str, ...]:
    """At least one name. trust_domain: the only one of SPIFFE ids; "" for any. Raises IdentityError."""
    names: list[tuple[int, bytes]] = []
    for oid, value in _extensions(der):
        if oid == _SUBJECT_ALT_NAME:
            names += _children(_only(value, _SEQUENCE))
        elif oid == _BASIC_CONSTRAINTS and any(
            tag == _BOOLEAN and v != b"\0" for tag, v in _children(_only(value, _SEQUENCE))
        ):
            raise IdentityError("the certificate of an authority")
        elif oid == _KEY_USAGE and any(byte & _SIGNS_OTHERS for byte in _only(value, _BIT_STRING)[1:2]):
            raise IdentityError("a certificate that may sign others")
    found = _dns_names(names)
    ids = [value for tag, value in names if tag == _URI]
    if any(value[:9].lower() == b"spiffe://" for value in ids):
        if len(ids) > 1:
            raise IdentityError(f"{len(ids)} URIs in a SPIFFE certificate, wanted 1")
        found = (_spiffe_id(ids[0], trust_domain), *found)
    if not found:
        raise IdentityError("a certificate without a name")
    return found


def _dns_names(names: list[tuple[int, bytes]]) -> tuple[str, ...]:
    texts = (value.decode("latin-1").lower() for tag, value in names if tag == _DNS_NAME)
    return tuple(text for text in texts if _DNS.match(text))


def _spiffe_id(value: bytes, trust_domain: str) -> str:
    text = value.decode("latin-1")
    match = _SPIFFE.match(text) if len(value) <= MAX_ID_BYTES else None
    if match is None:
        raise IdentityError("a malformed SPIFFE id")
    if trust_domain and match[1] != trust_domain:
        raise IdentityError(f"a SPIFFE id of the trust domain {match[1]}, wanted {trust_domain}")
    return text


def _extensions(der: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Their OIDs and values. Raises IdentityError."""
    certificate, *_ = _children(_only(der, _SEQUENCE)) or [(0, b"")]
    for tag, part in _children(certificate[1]):
        if tag == _EXTENSIONS:
            for _, extension in _children(_only(part, _SEQUENCE)):
                parts = _children(extension)
                if len(parts) < 2 or parts[0][0] != _OID or parts[-1][0] != _OCTET_STRING:
                    raise IdentityError("a malformed certificate")
                yield parts[0][1], parts[-1][1]


def _only(data: bytes, wanted: int) -> bytes:
    """The content of the one element that there is."""
    match _children(data):
        case [(tag, content)] if tag == wanted:
            return content
    raise IdentityError("a malformed certificate")


def _children(data: bytes) -> list[tuple[int, bytes]]:
    """The elements one after the other, by tag and content; definite lengths and one-byte tags, as DER has here."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        header = data[at : at + 2]
        if len(header) < 2 or header[0] & 0x1F == 0x1F:
            raise IdentityError("a malformed certificate")
        size, at = header[1], at + 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):
                raise IdentityError("a malformed certificate")
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise IdentityError("a malformed certificate")
        found.append((header[0], data[at : at + size]))
        at += size
    return found
