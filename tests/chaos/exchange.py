"""What both clients of the chaos load give back for a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """error: the proxy's own word (l5d-proxy-error)."""

    status: int
    body: bytes
    error: str = ""


class Broken(Exception):
    """No whole answer. is_begun: a part of one had come."""

    def __init__(self, text: str, *, is_begun: bool) -> None:
        super().__init__(text + (" after a part of the answer" if is_begun else ""))
        self.is_begun = is_begun
