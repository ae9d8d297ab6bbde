"""How much of its cases a test tries: a part in `make test`, all in `make long`, with the same rules for both."""

import os

import pytest

IS_LONG = bool(os.environ.get("MILLIROUTE_LONG"))
# For end-to-end tests of what is above the codecs.
CODEC = pytest.mark.parametrize("codec", ["fast", "reference"] if IS_LONG else ["fast"])


def cases(all_of_them: int, part: float = 0.2) -> int:
    return all_of_them if IS_LONG else max(1, round(all_of_them * part))
