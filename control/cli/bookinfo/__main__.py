"""One process of one Bookinfo service: argv, signals, listen, serve."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from milliroute.control.cli.bookinfo.client import Upstream
from milliroute.control.cli.bookinfo.leaves import details, ratings
from milliroute.control.cli.bookinfo.productpage import productpage
from milliroute.control.cli.bookinfo.reviews import STAR_COLORS, reviews
from milliroute.control.cli.bookinfo.server import Handler, Server

# Every Service of the application has this port; what a service dials is its sidecar.
SERVICE_PORT = 9080


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; 1 when the port is taken, 2 when the arguments are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    args = _parser().parse_args(argv)
    try:
        asyncio.run(_serve(_handler(args), args.listen))
    except OSError as error:
        print(f"bookinfo {args.service}: cannot listen on {args.listen}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m milliroute.control.cli.bookinfo")
    parser.add_argument("service", choices=["productpage", "details", "ratings", "reviews"])
    parser.add_argument("--listen", required=True, type=_address, metavar="HOST:PORT")
    parser.add_argument("--version", default="v1", choices=sorted(STAR_COLORS), help="of reviews")
    for name in ("details", "reviews", "ratings"):
        help_text = f"where to ask for {name}: the sidecar of this process"
        parser.add_argument(f"--{name}", type=_address, metavar="HOST:PORT", help=help_text)
    return parser


def _address(text: str) -> str:
    host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return f"{host}:{port}"


def _handler(args: argparse.Namespace) -> Handler:
    match args.service:
        case "details":
            return details
        case "ratings":
            return ratings
        case "reviews":
            return reviews(args.version, _upstream("ratings", args.ratings) if args.ratings else None)
        case _:
            return productpage(_upstream("details", args.details), _upstream("reviews", args.reviews))


def _upstream(service: str, address: str | None) -> Upstream:
    authority = f"{service}:{SERVICE_PORT}"
    return Upstream(address or authority, authority)


async def _serve(handler: Handler, listen: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Server(handler)
    host, _, port = listen.rpartition(":")
    bound = await server.start(host, int(port))
    print(f"bookinfo: listening {host}:{bound}", file=sys.stderr, flush=True)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
