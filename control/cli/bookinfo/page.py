"""The HTML of the product page: models in, one document out. A part that is None is named as unavailable.

Everything that comes from a service is escaped; the template is `page.html` beside this module.
"""

from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from milliroute.control.cli.bookinfo.model import Details, Rating, Review, Reviews

MAX_STARS = 5
# The page has a heading even while `details` does not answer.
TITLE = "The Comedy of Errors"


def render(details: Details | None, reviews: Reviews | None) -> str:
    """Make the whole document."""
    return _template().substitute(
        title=escape(TITLE if details is None else details.title),
        author="" if details is None else escape(f"by {details.author}"),
        details=_missing("Book details are") if details is None else _details(details),
        served="" if reviews is None else f'<span class="served">reviews-{escape(reviews.version)}</span>',
        reviews=_missing("Reviews are") if reviews is None else _reviews(reviews),
    )


@cache
def _template() -> Template:
    return Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))


def _missing(what: str) -> str:
    return f'<p class="missing">{what} currently unavailable for this book.</p>'


def _details(details: Details) -> str:
    rows = {
        "Type": details.type,
        "Pages": str(details.pages),
        "First played": str(details.year),
        "Publisher": details.publisher,
        "Language": details.language,
        "ISBN-13": details.isbn_13,
    }
    return "<dl>" + "\n".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items()) + "</dl>"


def _reviews(reviews: Reviews) -> str:
    notice = [_missing("Ratings are")] if reviews.are_ratings_missing else []
    return "\n".join([_review(review) for review in reviews.reviews] + notice)


def _review(review: Review) -> str:
    stars = "" if review.rating is None else _stars(review.rating)
    reviewer = escape(review.reviewer)
    return f'<div class="review"><p>{escape(review.text)}</p><footer>— {reviewer}{stars}</footer></div>'


def _stars(rating: Rating) -> str:
    full = max(0, min(MAX_STARS, rating.stars))
    empty = f"<i>{'★' * (MAX_STARS - full)}</i>" if full < MAX_STARS else ""
    label = f'role="img" aria-label="{full} of {MAX_STARS} stars"'
    return f'<span class="stars {escape(rating.color)}" {label}>{"★" * full}{empty}</span>'
