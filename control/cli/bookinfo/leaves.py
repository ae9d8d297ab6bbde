"""`details` and `ratings`: the two services that ask nobody."""

import msgspec

from milliroute.control.cli.bookinfo.model import Details, Ratings
from milliroute.control.cli.bookinfo.server import Answer, Request, json, plain

BOOK = Details(
    title="The Comedy of Errors",
    author="William Shakespeare",
    year=1595,
    type="Paperback",
    pages=200,
    publisher="First Folio Press",
    language="English",
    isbn_13="123-1234567890",
)
STARS = Ratings(stars={"Antipholus": 5, "Dromio": 4})


async def details(request: Request) -> Answer:
    """Answer GET /details/0."""
    if request.path != "/details/0":
        return plain(404, f"no {request.path} here, /details/0 is")
    return json(msgspec.json.encode(BOOK))


async def ratings(request: Request) -> Answer:
    """Answer GET /ratings/0."""
    if request.path != "/ratings/0":
        return plain(404, f"no {request.path} here, /ratings/0 is")
    return json(msgspec.json.encode(STARS))
