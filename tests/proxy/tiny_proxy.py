"""`python -m tests.proxy.tiny_proxy`: an agent over workers that only wait for the end; for test_processes.

Says on stdout which modules that must not be there before the fork were there, then what each worker was told to do.
"""

import os
import socket
import sys

from milliroute.proxy.agent import launch
from milliroute.proxy.config import HostPort, Listener, ProxyConfig
from milliroute.proxy.ipc import Drain, FrameBuffer, Ready, decode_down, encode

HEAVY = ("grpc", "google.protobuf", "prometheus_client", "uvloop")


def say(line: str) -> None:
    """In one write: the workers share stdout."""
    os.write(1, f"{line}\n".encode())


def receive(pipe: socket.socket) -> bytes:
    try:
        return pipe.recv(65536)
    except ConnectionResetError:
        # The agent died with words of ours unread.
        return b""


def worker(pipe_fd: int, listen_fds: list[int], config: ProxyConfig) -> None:
    """Ready at once; ends at Drain, or when the agent is gone."""
    pipe = socket.socket(fileno=pipe_fd)
    heavy = [name for name in HEAVY if name in sys.modules]
    # Before the line: who has read it may kill the agent, which must find nobody in the middle of a word to it.
    pipe.sendall(encode(Ready(os.getpid())))
    say(f"worker {os.getpid()} {len(listen_fds)} listeners, heavy modules {heavy}")
    frames = FrameBuffer()
    while data := receive(pipe):
        for frame in frames.feed(data):
            if isinstance(decode_down(frame), Drain):
                say("drained")
                sys.exit(0)
    say("orphaned")
    sys.exit(0)


if __name__ == "__main__":
    # A port that nobody listens on: the control service is down all the time.
    listeners = (Listener(HostPort("127.0.0.1", 0)), Listener(HostPort("127.0.0.1", 0), "reviews"))
    config = ProxyConfig("tiny", "127.0.0.1:1", listeners, HostPort("127.0.0.1", 0), workers=2, grace_s=5.0)
    sys.exit(launch.run(config, worker))
