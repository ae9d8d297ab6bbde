"""python -m tests.kube [--port N] [--tls FOLDER] [--kubeconfig FOLDER] [MANIFEST...]: the stand-in as a process.

It runs until it is interrupted. Its address is printed on a line of its own when it listens; the manifests are put in
first. --tls makes an authority and a certificate in that folder; without, kubectl sends no token.
"""

import argparse
import signal
from pathlib import Path

import yaml

from tests.kube.standin import Standin, certified


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kube", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", type=Path, help="a folder to make certificates in")
    parser.add_argument("--kubeconfig", type=Path, help="a folder to write kubeconfig and token into")
    parser.add_argument("manifests", nargs="*", type=Path)
    words = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Standin(port=words.port, tls=certified(words.tls) if words.tls else None) as api:
        for path in words.manifests:
            api.put(*filter(None, yaml.safe_load_all(path.read_text())))
        if words.kubeconfig:
            api.kubeconfig(words.kubeconfig)
        print(api.url, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
