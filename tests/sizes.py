"""How much of its cases a test tries: a part in `make test`, all in `make long`, with the same rules for both."""

import os

IS_LONG = bool(os.environ.get("MILLIROUTE_LONG"))


def cases(all_of_them: int, part: float = 0.2) -> int:
    return all_of_them if IS_LONG else max(1, round(all_of_them * part))
