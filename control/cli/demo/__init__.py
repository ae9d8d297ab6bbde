"""`milliroute demo`: Bookinfo behind sidecar proxies, a stream of page views, and the live split on the terminal.

- `plan`: which processes on which ports; pure.
- `working_copy`: the working copy of `deploy/demo/*.yaml`, which the destination service watches.
- `processes`: starts them, restarts one that dies, stops all; none outlives the demo.
- `visitors`: about five page views a second; `gauge`: what the proxy of productpage says about its splits.
- `panel`: all of it as text; `command`: flags, signals and the loop that holds the parts together.

How a page view travels, `[x]` being the sidecar proxy of x and `=>` the split:

    visitor -> [productpage] -> productpage
                                productpage -> [productpage] -> [details] -> details
                                productpage -> [productpage] => reviews-v1, reviews-v2 or reviews-v3
                                                                reviews-vN -> [reviews] -> [ratings] -> ratings
"""

from milliroute.control.cli.demo.command import main

__all__ = ["main"]
