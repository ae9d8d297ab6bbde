"""`python -m tests.netns.client VERB ...`: what an app does that knows of no proxy, with the standard library alone.

http HOST PORT N [new]: N GETs over one connection, or over a new one each; prints how many answers had which body.
get HOST PORT PATH [NAME=VALUE ...]: prints the status and the body. hear HOST PORT: connects, says nothing, prints the
milliseconds until the first line, and it. say HOST PORT: sends stdin, ends its side, prints what comes back in hex.
"""

import http.client
import json
import socket
import sys
import time
from collections import Counter

TIMEOUT_S = 20.0


def many(host: str, port: int, count: int, *, is_new: bool) -> str:
    found: Counter[str] = Counter()
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    for _ in range(count):
        connection.request("GET", "/")
        answer = connection.getresponse()
        found[f"{answer.status} {answer.read().decode()}"] += 1
        if is_new:
            connection.close()
    return json.dumps(found)


def one(host: str, port: int, path: str, *fields: str) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    connection.request("GET", path, headers=dict(field.split("=", 1) for field in fields))
    answer = connection.getresponse()
    return f"{answer.status} {answer.read().decode('latin-1')}"


def hear(host: str, port: int) -> str:
    started = time.monotonic()
    with socket.create_connection((host, port), TIMEOUT_S) as sock, sock.makefile() as file:
        line = file.readline().strip()
        return f"{(time.monotonic() - started) * 1000:.0f} {line}"


def say(host: str, port: int, data: bytes) -> str:
    with socket.create_connection((host, port), TIMEOUT_S) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := sock.recv(65536):
            got += chunk
        return got.hex()


def main(verb: str, host: str, port: str, *rest: str) -> str:
    if verb == "http":
        return many(host, int(port), int(rest[0]), is_new=rest[1:] == ("new",))
    if verb == "get":
        return one(host, int(port), *rest)
    return hear(host, int(port)) if verb == "hear" else say(host, int(port), bytes.fromhex(rest[0]))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
