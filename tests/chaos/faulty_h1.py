"""HTTP/1.1 of the misbehaving endpoint: requests with content-length or none, one answer or fault each."""

from functools import partial

from tests.chaos.faulty import CUT_S, GARBAGE, SLOW_S, Endpoint, Wire

# A request that ends a connection by its fault, or is never answered, is the last one that is read on it.
ENDS = {"silent", "reset", "reset-head", "reset-body", "close", "garbage"}


class Speaker:
    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._held = b""
        self._is_over = False

    def take(self, data: bytes) -> None:
        self._held += data
        while not self._is_over and (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].decode("latin-1")
            _, _, rest = head.lower().partition("\r\ncontent-length:")
            after = end + 4 + (int(rest.split("\r\n")[0]) if rest else 0)
            if len(self._held) < after:
                return
            self._held = self._held[after:]
            method, path, _ = head.split(" ", 2)
            self._obey(method, path)

    def _obey(self, method: str, path: str) -> None:
        endpoint, wire = self._endpoint, self._wire
        mode = endpoint.mode if method != "PUT" else "ok"
        body = endpoint.answer(method, path)
        status = "503 Service Unavailable" if mode in ("error", "refuse") else "200 OK"
        answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        self._is_over = mode in ENDS
        match mode:
            case "slow":
                wire.later(SLOW_S, partial(wire.write, answer))
            case "silent":
                pass
            case "reset":
                wire.cut()
            case "reset-head":
                wire.write(answer[:20])
                wire.cut_soon()
            case "reset-body":
                wire.write(answer[:-3])
                wire.cut_soon()
            case "close":
                wire.end_half()
            case "close-after":
                self._is_over = True
                wire.write(answer)
                wire.end_half()
            case "garbage":
                wire.write(GARBAGE)
            case "twice":
                wire.write(answer + answer)
            case "late-twice":
                wire.write(answer)
                wire.later(CUT_S, partial(wire.write, answer))
            case _:
                wire.write(answer)
