"""Bookinfo of our own: the small application that `milliroute demo` splits traffic for.

- `productpage` asks `details` and `reviews` and answers with HTML (`page`).
- `details` and `ratings` answer with JSON that never changes.
- `reviews` has three versions: v1 without stars, v2 with red stars, v3 with black stars; v2 and v3 ask `ratings`.
- `server` and `client` carry HTTP/1.1 (h11); `model` is what travels in the bodies.
- `python -m milliroute.control.cli.bookinfo SERVICE --listen HOST:PORT` is one process of one service.

A service never knows where another one runs: it dials its own sidecar proxy and names the service it wants in Host.
"""
