"""`python -m tests.e2e.route_backend NAME ...`: as `backend`, but the answer is JSON of what the server was asked.

`{"leaf": NAME, "line": request line, "fields": [[name, value], ...]}`; the response has `x-internal: 1` and
`x-version: old` for filters to work on. A request whose path ends with /slow is never answered.
"""

import json
import sys

import uvloop

from tests.e2e.backend import Backend, serve


class Mirror(Backend):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._name = name
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            line, *fields = self._held[:end].decode("latin-1").split("\r\n")
            self._held = self._held[end + 4 :]
            if line.split()[1].endswith("/slow"):
                return
            pairs = [[name.lower(), value.strip()] for name, _, value in (field.partition(":") for field in fields)]
            body = json.dumps({"leaf": self._name, "line": line, "fields": pairs}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nx-internal: 1\r\nx-version: old\r\n\r\n"
            self._transport.write(head.encode() + body)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:], Mirror))
