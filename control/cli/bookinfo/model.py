"""What travels between the Bookinfo services, as JSON."""

import msgspec


class Details(msgspec.Struct, frozen=True):
    """Answer of `details`: GET /details/0."""

    title: str
    author: str
    year: int
    type: str
    pages: int
    publisher: str
    language: str
    isbn_13: str


class Ratings(msgspec.Struct, frozen=True):
    """Answer of `ratings`: GET /ratings/0. Stars from 0 to 5 by reviewer."""

    stars: dict[str, int]


class Rating(msgspec.Struct, frozen=True):
    """Stars of one review; `color` is a CSS colour name: `red` from v2, `black` from v3."""

    stars: int
    color: str


class Review(msgspec.Struct, frozen=True):
    """One review. `rating` is None in v1, and in v2 and v3 while `ratings` does not answer."""

    reviewer: str
    text: str
    rating: Rating | None = None


class Reviews(msgspec.Struct, frozen=True):
    """Answer of `reviews`: GET /reviews/0."""

    version: str
    reviews: list[Review]
    are_ratings_missing: bool = False
