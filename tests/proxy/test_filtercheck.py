"""A State whose filters would break a head is refused whole, whoever made it."""

import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.agent.destination import StateError, decode_kept


def state(**parts: object) -> bytes:
    route = pb.Route(split=pb.Split(), name="HTTPRoute a/b/0", **parts)  # type: ignore[arg-type]  # parts of a Route
    return pb.State(key="k", epoch="e", version=1, authority=pb.Authority(routes=[route])).SerializeToString()


def request(**change: object) -> pb.Filters:
    return pb.Filters(request=pb.HeaderChange(**change))  # type: ignore[arg-type]  # parts of a HeaderChange


@pytest.mark.parametrize(
    ("parts", "saw"),
    [
        ({"filters": request(set=[pb.Header(name="host", value="a")])}, "saw the field 'host'"),
        ({"filters": request(remove=["transfer-encoding"])}, "saw the field 'transfer-encoding'"),
        ({"filters": request(add=[pb.Header(name="L5d-x", value="a")])}, "saw the field 'L5d-x'"),
        ({"filters": request(add=[pb.Header(name="l5d-x", value="a")])}, "saw the field 'l5d-x'"),
        ({"filters": request(add=[pb.Header(name=":path", value="a")])}, "saw the field ':path'"),
        ({"filters": request(add=[pb.Header(name="a", value="b\r\nc: d")])}, "saw the value"),
        ({"filters": request(add=[pb.Header(name="a", value="\u20ac")])}, "saw the value"),
        ({"filters": pb.Filters(rewrite=pb.Rewrite(hostname="a b"))}, "saw the host 'a b'"),
        ({"filters": pb.Filters(rewrite=pb.Rewrite(path=pb.PathChange(path="/a b")))}, "saw the path '/a b'"),
        ({"filters": pb.Filters(rewrite=pb.Rewrite(path=pb.PathChange(path="/a", matched="/b/")))}, "for '/b/'"),
        ({"redirect": pb.Redirect(status=200)}, "and status 200"),
        ({"redirect": pb.Redirect(status=302, scheme="ftp")}, "saw the scheme 'ftp'"),
        ({"redirect": pb.Redirect(status=302, port=70000)}, "saw port 70000"),
        ({"status": 200}, "saw status 200"),
    ],
)
def test_what_must_not_get_into_a_head_is_refused(parts: dict[str, object], saw: str) -> None:
    with pytest.raises(StateError, match=saw.replace("(", "[(]")):
        decode_kept(state(**parts), 1)


def test_what_is_good_passes() -> None:
    filters = request(set=[pb.Header(name="x-a", value="b c")], remove=["x-d"])
    redirect = pb.Redirect(status=301, path=pb.PathChange(path="/x", is_prefix=True, matched="/a"))
    update = decode_kept(state(filters=filters, redirect=redirect), 1).update
    assert update.state is not None
    (route,) = update.state.routes
    assert (route.name, route.redirect is not None, route.filters is not None) == ("HTTPRoute a/b/0", True, True)
