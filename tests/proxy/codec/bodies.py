"""Seeded generation of chunked bodies: well-formed, then bent; and their hypothesis counterpart of well-formed ones."""

import random

from hypothesis import strategies as st

from tests.proxy.codec.heads import bent

_EXTENSIONS = (
    b"", b"", b"", b"", b";a", b";a=b", b';a="b c"', b";", b" ;a", b";a\t=b", b";" + b"x" * 255, b";" + b"x" * 256,
    b";\x01", b";a\rb", b" ", b"\t",
)  # fmt: skip
_SIZES = (b"%x", b"%x", b"%x", b"%X", b"0%x", b"00000000%x")
_BAD_SIZES = (
    b"0x%x",
    b"+%x",
    b"-%x",
    b"%xg",
    b" %x",
    b"%x_0",
    b"",
    b"ffffffffffffffff",
    b"00000000000000000%x",
    b"%x\n",
)
_ENDS = (b"", b"\n", b"\r", b"\n\r", b"\r\n\r\n", b"X\r\n")
_TRAILERS = (
    b"X-Sum: 1", b"x-a:", b"Host: b", b"Content-Length: 3", b"Transfer-Encoding: gzip", b"Authorization: x",
    b"l5d-a: b", b"Connection: close", b"bad name: x", b"no colon", b" folded: x", b"X: \x00", b"Y: caf\xe9",
    b"Z: a\nb", b": x",
)  # fmt: skip


def chunked_body(rng: random.Random) -> bytes:
    """Ends with what the next message could begin with, or with nothing, or in the middle."""
    is_plain = rng.random() < 0.4
    parts = [_chunk(rng, is_plain) for _ in range(rng.randrange(5))]
    parts.append(b"0" + (b"" if is_plain else rng.choice(_EXTENSIONS[:10])) + b"\r\n")
    if rng.random() < 0.3:
        known = _TRAILERS[:8] if is_plain or rng.random() < 0.5 else _TRAILERS
        parts += [line + b"\r\n" for line in rng.sample(known, rng.randrange(1, 4))]
    parts.append(b"\r\n")
    body = b"".join(parts) + rng.choice((b"", b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"0\r\n\r\n"))
    if not is_plain and rng.random() < 0.35:
        body = bent(rng, body)
    return body[: rng.randrange(len(body))] if rng.random() < 0.1 else body


def _chunk(rng: random.Random, is_plain: bool) -> bytes:
    payload = rng.choice((b"hello", b"\r\n\r\n", b"0\r\n\r\n", b"x" * rng.randrange(1, 40), b"\x00\xff\n"))
    pattern = _SIZES[0] if is_plain else rng.choice(_SIZES)
    extension, end = b"", b"\r\n"
    if not is_plain:
        extension = rng.choice(_EXTENSIONS if rng.random() < 0.1 else _EXTENSIONS[:8])
        if rng.random() < 0.05:
            pattern = rng.choice(_BAD_SIZES)
        if rng.random() < 0.04:
            end = rng.choice(_ENDS)
    size = pattern % len(payload) if b"%" in pattern else pattern
    return size + extension + b"\r\n" + payload + end


_extension = st.sampled_from((b"", b"", b";a", b";a=b", b';q="x y"'))
_trailer = st.sampled_from(
    (b"X-Sum: 1\r\n", b"x-b:\r\n", b"Host: evil\r\n", b"Set-Cookie: a\r\n", b"L5d-Client-Id: me\r\n")
)
payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=6)


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(a chunked body, its payload)"""
    chunks = draw(payloads)
    lines = [b"%x%s\r\n%s\r\n" % (len(chunk), draw(_extension), chunk) for chunk in chunks]
    trailers = draw(st.lists(_trailer, max_size=3))
    return b"".join([*lines, b"0\r\n", *trailers, b"\r\n"]), b"".join(chunks)
