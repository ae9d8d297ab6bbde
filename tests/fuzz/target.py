"""What a fuzzing target is, and how its inputs are made: seeds that are right, bent in a few places."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

_EDITS = ("insert", "replace", "delete", "repeat", "splice", "flip")
# Pieces that change what many formats mean.
_PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"-", b"0", b"\xff", b"\x80", b"\x7f", b"\xc3\xa9",
    b"9" * 20, b"\xff" * 9, b"\r\n\r\n", b"a" * 300,
)  # fmt: skip
_MOST_EDITS = 5
_MOST_BYTES = 20_000


def check_said(error: Exception) -> None:
    """What is raised on purpose tells its reader something, in one line."""
    assert str(error)
    assert "\n" not in str(error)


@dataclass(frozen=True, slots=True)
class Target:
    """check raises for bugs only: it knows what its parser documents. pieces: the words of the format."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], None]
    pieces: tuple[bytes, ...] = field(default=())

    def inputs(self) -> st.SearchStrategy[bytes]:
        seeds = list(self.seeds())
        return st.one_of(_bent(seeds, self.pieces + _PIECES), st.binary(max_size=200))

    def drawer(self, rng: random.Random) -> Callable[[], bytes]:
        """The same inputs, drawn by chance alone: hypothesis takes 3 ms for each of them, and a parser often 0.1 ms."""
        seeds, pieces = list(self.seeds()), self.pieces + _PIECES

        def draw() -> bytes:
            if rng.random() < 0.02:
                return rng.randbytes(rng.randrange(200))
            data = rng.choice(seeds)
            for _ in range(rng.randrange(_MOST_EDITS + 1)):
                new = rng.choice(pieces) if rng.random() < 0.7 else rng.randbytes(rng.randrange(13))
                at, size = rng.randrange(len(data) + 1), rng.randrange(41)
                data = _edited(data, rng.choice(_EDITS), at, size, new, seeds)[:_MOST_BYTES]
            return data

        return draw


@st.composite
def _bent(draw: st.DrawFn, seeds: list[bytes], pieces: tuple[bytes, ...]) -> bytes:
    data = draw(st.sampled_from(seeds))
    piece = st.one_of(st.sampled_from(pieces), st.binary(max_size=12))
    edit = st.tuples(st.sampled_from(_EDITS), st.integers(0, 1 << 16), st.integers(0, 40), piece)
    for kind, place, size, new in draw(st.lists(edit, max_size=_MOST_EDITS)):
        at = place % (len(data) + 1)
        data = _edited(data, kind, at, size, new, seeds)[:_MOST_BYTES]
    return data


def _edited(data: bytes, kind: str, at: int, size: int, new: bytes, seeds: list[bytes]) -> bytes:
    before, touched, after = data[:at], data[at : at + size], data[at + size :]
    match kind:
        case "insert":
            return before + new + touched + after
        case "replace":
            return before + new + data[at + len(new) :]
        case "delete":
            return before + after
        case "repeat":
            return before + touched * 3 + after
        case "splice":
            return before + seeds[size % len(seeds)][at:]
    return before + bytes(byte ^ (1 << size % 8) for byte in touched[:1]) + data[at + 1 :]
