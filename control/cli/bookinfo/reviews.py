"""`reviews`, the service whose traffic the demo splits: three versions that a reader can tell apart at a glance."""

import logging

import msgspec

from milliroute.control.cli.bookinfo.asking import ask
from milliroute.control.cli.bookinfo.client import Unreachable, Upstream
from milliroute.control.cli.bookinfo.model import Rating, Ratings, Review, Reviews
from milliroute.control.cli.bookinfo.server import Answer, Handler, Request, json, plain

# None: this version shows no stars and asks nobody.
STAR_COLORS: dict[str, str | None] = {"v1": None, "v2": "red", "v3": "black"}

TEXTS = {
    "Antipholus": "An evening of pure delight. Two pairs of twins, one town, and not a single person who knows whom"
    " he is talking to. I recognised myself in all four of them.",
    "Dromio": "Great fun from the first beating to the last. It loses one point for the rope, which I was sent to buy"
    " and was then blamed for.",
}

log = logging.getLogger("bookinfo")


def reviews(version: str, ratings: Upstream | None) -> Handler:
    """Make the handler of one version; v1 needs no `ratings`."""
    color = STAR_COLORS[version]

    async def handle(request: Request) -> Answer:
        if request.path != "/reviews/0":
            return plain(404, f"no {request.path} here, /reviews/0 is")
        if color is None or ratings is None:
            return _answer(version, None, "")
        try:
            return _answer(version, await ask(ratings, "/ratings/0", request.headers, Ratings), color)
        except Unreachable as error:
            log.warning("ratings: %s", error)
            return json(msgspec.json.encode(Reviews(version, _reviews(None, color), are_ratings_missing=True)))

    return handle


def _answer(version: str, ratings: Ratings | None, color: str) -> Answer:
    return json(msgspec.json.encode(Reviews(version, _reviews(ratings, color))))


def _reviews(ratings: Ratings | None, color: str) -> list[Review]:
    stars = {} if ratings is None else ratings.stars
    return [
        Review(reviewer, text, Rating(stars[reviewer], color) if reviewer in stars else None)
        for reviewer, text in TEXTS.items()
    ]
