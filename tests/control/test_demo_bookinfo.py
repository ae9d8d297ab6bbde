"""The Bookinfo services over real sockets, pointed straight at each other."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import msgspec
import pytest

from milliroute.control.cli.bookinfo import page
from milliroute.control.cli.bookinfo.client import Unreachable, Upstream
from milliroute.control.cli.bookinfo.leaves import BOOK, details, ratings
from milliroute.control.cli.bookinfo.model import Rating, Ratings, Review, Reviews
from milliroute.control.cli.bookinfo.productpage import productpage
from milliroute.control.cli.bookinfo.reviews import reviews
from milliroute.control.cli.bookinfo.server import Answer, Handler, Request, Server, plain

T = TypeVar("T")
NOBODY = "127.0.0.1:1"


class Town:
    """Starts services on free ports and stops them all at the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def serve(self, handler: Handler) -> Upstream:
        server = Server(handler)
        port = await server.start("127.0.0.1", 0)
        self._stack.push_async_callback(server.stop)
        return self.upstream(f"127.0.0.1:{port}")

    def upstream(self, address: str) -> Upstream:
        upstream = Upstream(address)
        self._stack.callback(upstream.close)
        return upstream

    async def bookinfo(self, version: str) -> Upstream:
        opinions = await self.serve(reviews(version, await self.serve(ratings)))
        return await self.serve(productpage(await self.serve(details), opinions))


def in_town(visit: Callable[[Town], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncExitStack() as stack:
            return await visit(Town(stack))

    return asyncio.run(run())


def page_of(version: str) -> str:
    async def visit(town: Town) -> str:
        reply = await (await town.bookinfo(version)).get("/productpage")
        assert reply.status == 200
        return reply.body.decode()

    return in_town(visit)


async def raw(port_of: Upstream, request: bytes) -> bytes:
    host, _, port = port_of.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def test_v1_shows_reviews_without_stars() -> None:
    html = page_of("v1")
    assert html.count('class="review"') == 2
    assert "★" not in html
    assert "reviews-v1" in html


@pytest.mark.parametrize(("version", "color"), [("v2", "red"), ("v3", "black")])
def test_v2_and_v3_show_nine_full_stars_in_their_color(version: str, color: str) -> None:
    html = page_of(version)
    assert html.count(f'class="stars {color}"') == 2
    assert html.count("★") == 10
    assert "<i>★</i>" in html
    assert 'aria-label="5 of 5 stars"' in html
    assert 'aria-label="4 of 5 stars"' in html


def test_the_page_has_the_book_and_its_details() -> None:
    html = page_of("v1")
    assert f"<h1>{BOOK.title}</h1>" in html
    for value in (BOOK.author, BOOK.publisher, BOOK.isbn_13, str(BOOK.pages)):
        assert value in html
    assert 'class="missing"' not in html


def test_what_a_service_says_is_escaped() -> None:
    html = page.render(None, Reviews("<b>", [Review("<i>", "a & b", Rating(3, '"x"'))]))
    assert "reviews-&lt;b&gt;" in html
    assert "— &lt;i&gt;" in html
    assert "a &amp; b" in html
    assert "stars &quot;x&quot;" in html


def test_more_stars_than_there_are_show_as_five() -> None:
    html = page.render(None, Reviews("v2", [Review("a", "b", Rating(9, "red"))]))
    assert "5 of 5 stars" in html
    assert html.count("★") == 5


def test_a_part_that_is_down_is_named_and_the_page_stays_a_200() -> None:
    async def visit(town: Town) -> str:
        front = await town.serve(productpage(await town.serve(details), town.upstream(NOBODY)))
        reply = await front.get("/productpage")
        assert reply.status == 200
        return reply.body.decode()

    html = in_town(visit)
    assert "Reviews are currently unavailable" in html
    assert BOOK.author in html


def test_reviews_without_ratings_come_without_stars_and_say_so() -> None:
    async def visit(town: Town) -> Reviews:
        reply = await (await town.serve(reviews("v2", town.upstream(NOBODY)))).get("/reviews/0")
        return msgspec.json.decode(reply.body, type=Reviews)

    answer = in_town(visit)
    assert answer.are_ratings_missing
    assert [review.rating for review in answer.reviews] == [None, None]


def test_who_the_user_is_travels_from_the_page_to_ratings() -> None:
    seen: list[str] = []

    async def spy(request: Request) -> Answer:
        seen.append(request.headers["x-user"])
        return Answer(200, "application/json", msgspec.json.encode(Ratings({})))

    async def visit(town: Town) -> None:
        opinions = await town.serve(reviews("v3", await town.serve(spy)))
        front = await town.serve(productpage(await town.serve(details), opinions))
        await front.get("/productpage", [("x-user", "dromio")])

    in_town(visit)
    assert seen == ["dromio"]


def test_unknown_paths_are_404_and_other_methods_405() -> None:
    async def visit(town: Town) -> tuple[int, bytes]:
        front = await town.bookinfo("v1")
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        return (await front.get("/nothing")).status, await raw(front, post)

    status, answer = in_town(visit)
    assert status == 404
    assert answer.startswith(b"HTTP/1.1 405 ")


def test_pipelined_requests_are_answered_in_order_on_one_connection() -> None:
    async def visit(town: Town) -> bytes:
        get = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
        requests = get % (b"/details/0", b"") + get % (b"/no", b"Connection: close\r\n")
        return await raw(await town.serve(details), requests)

    first, second = in_town(visit).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 OK")
    assert second.startswith(b"404 Not Found")


def test_head_has_the_length_and_no_body() -> None:
    async def visit(town: Town) -> bytes:
        return await raw(await town.serve(details), b"HEAD /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    head, _, body = in_town(visit).partition(b"\r\n\r\n")
    assert b"content-length: 27" in head
    assert body == b""


def test_garbage_is_answered_with_400_and_a_close() -> None:
    async def visit(town: Town) -> bytes:
        return await raw(await town.serve(details), b"\x00 garbage\r\n\r\n")

    assert in_town(visit).startswith(b"HTTP/1.1 400 Bad Request")


def test_a_handler_that_fails_is_a_500_and_the_next_request_is_served() -> None:
    async def moody(request: Request) -> Answer:
        if request.path == "/bad":
            raise ValueError("bad mood")
        return plain(200, "fine")

    async def visit(town: Town) -> list[int]:
        upstream = await town.serve(moody)
        return [(await upstream.get(path)).status for path in ("/bad", "/good")]

    assert in_town(visit) == [500, 200]


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async def visit(town: Town) -> list[int]:
        first = Server(details)
        port = await first.start("127.0.0.1", 0)
        upstream = town.upstream(f"127.0.0.1:{port}")
        statuses = [(await upstream.get("/details/0")).status]
        await first.stop()
        second = Server(details)
        await second.start("127.0.0.1", port)
        statuses.append((await upstream.get("/details/0")).status)
        await second.stop()
        return statuses

    assert in_town(visit) == [200, 200]


def test_nobody_listening_is_unreachable_with_the_address_in_the_text() -> None:
    async def visit(town: Town) -> None:
        await town.upstream(NOBODY).get("/")

    with pytest.raises(Unreachable, match=NOBODY):
        in_town(visit)
