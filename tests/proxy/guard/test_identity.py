"""Names in certificates: what openssl makes, judged from its DER by the rules of SPIFFE."""

import ssl
from pathlib import Path

import pytest

from milliroute.proxy.guard.identity import IdentityError, identities
from tests.certificates import Authority, authority

WEB = "spiffe://shop.example/ns/web"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ids"))


def der(path: str | Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text())


def made(ours: Authority, *alternatives: str, extensions: tuple[str, ...] = ()) -> bytes:
    return der(ours.client("c", *alternatives, extensions=extensions).cert)


@pytest.mark.parametrize(
    ("alternatives", "names"),
    [
        ((f"URI:{WEB}",), (WEB,)),
        ((f"URI:{WEB}", "DNS:Web.Example"), (WEB, "web.example")),
        (("DNS:a.example", "DNS:b.example"), ("a.example", "b.example")),
        (("URI:https://x/y", "DNS:a.example"), ("a.example",)),
        (("DNS:*.example", "DNS:a.example"), ("a.example",)),
    ],
)
def test_a_clients_names_are_its_spiffe_id_and_its_dns_names(
    ours: Authority, alternatives: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert identities(made(ours, *alternatives)) == names


@pytest.mark.parametrize(
    "alternatives",
    [
        (f"URI:{WEB}", f"URI:{WEB}2"),
        (f"URI:{WEB}", "URI:https://x/y"),
        ("URI:spiffe://shop.example",),
        ("URI:spiffe://shop.example/",),
        ("URI:spiffe://Shop.example/web",),
        ("URI:SPIFFE://shop.example/web",),
        ("URI:spiffe://shop.example/web/",),
        ("URI:spiffe://shop.example//web",),
        ("URI:spiffe://shop.example/../web",),
        ("URI:spiffe://shop.example/./web",),
        ("URI:spiffe://shop.example/w%65b",),
        ("URI:spiffe://shop.example/web?x",),
        ("URI:spiffe://shop.example/web\\#x",),
        ("URI:spiffe://user@shop.example/web",),
        ("URI:spiffe://shop.example:80/web",),
        ("URI:spiffe://shop.example/" + "a" * 2048,),
        ("DNS:*.example",),
        ("email:a@b.example",),
        ("URI:https://x/y",),
        (),
    ],
)
def test_a_certificate_without_one_plain_name_is_nobodys(ours: Authority, alternatives: tuple[str, ...]) -> None:
    with pytest.raises(IdentityError):
        identities(made(ours, *alternatives))


@pytest.mark.parametrize(
    "extension", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "keyUsage=cRLSign"]
)
def test_an_authoritys_own_certificate_is_no_clients(ours: Authority, extension: str) -> None:
    with pytest.raises(IdentityError):
        identities(made(ours, f"URI:{WEB}", extensions=(extension,)))


def test_the_usual_extensions_do_no_harm(ours: Authority) -> None:
    extensions = (
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth",
    )
    assert identities(made(ours, f"URI:{WEB}", extensions=extensions)) == (WEB,)


def test_ids_of_other_trust_domains_are_refused_where_one_is_set(ours: Authority) -> None:
    certificate = made(ours, f"URI:{WEB}")
    assert identities(certificate, "shop.example") == (WEB,)
    with pytest.raises(IdentityError, match=r"trust domain shop\.example, wanted other\.example"):
        identities(certificate, "other.example")


def test_a_name_with_a_nul_in_it_is_none() -> None:
    """What C reads as a.example up to the NUL."""
    name = b"a.example\0.evil.example"
    san = b"\x30" + bytes((len(name) + 2,)) + b"\x82" + bytes((len(name),)) + name
    value = b"\x04" + bytes((len(san),)) + san
    extension = b"\x30" + bytes((len(value) + 5,)) + b"\x06\x03\x55\x1d\x11" + value
    listed = b"\x30" + bytes((len(extension),)) + extension
    tbs = b"\xa3" + bytes((len(listed),)) + listed
    body = b"\x30" + bytes((len(tbs),)) + tbs
    with pytest.raises(IdentityError, match="without a name"):
        identities(b"\x30" + bytes((len(body),)) + body)


def test_any_cut_or_changed_byte_is_a_certificate_or_an_identity_error(ours: Authority) -> None:
    whole = made(ours, f"URI:{WEB}")
    for at in range(len(whole)):
        for broken in (whole[:at], whole[:at] + bytes((whole[at] ^ 0x81,)) + whole[at + 1 :]):
            try:
                names = identities(broken)
            except IdentityError:
                continue
            assert names
