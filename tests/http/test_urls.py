"""Where an image is: URLs made whole, and those nothing is fetched from."""

import base64
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given, strategies as st

from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.http.address_guard import (
    UnsafeURLError,
    display_url,
    encode_url,
    resolve_redirect,
    resolve_url,
)
from openai_images.wire.base64_decoder import MemorySink, decode_data_url, is_data_url
from tests.helpers.clients import PNG

BASE = "https://api.test/v1/"


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://pictures.test/a.png", "https://pictures.test/a.png"),
        ("HTTP://Pictures.TEST:8080/A.png", "http://pictures.test:8080/A.png"),
        ("/v1/images/img-7/content?variant=0", "https://api.test/v1/images/img-7/content?variant=0"),
        ("images/7.png", "https://api.test/v1/images/7.png"),
        ("//pictures.test/a.png", "https://pictures.test/a.png"),
        ("https://pictures.test", "https://pictures.test/"),
        ("https://pictures.test/a.png?sig=a%2Bb%3D&se=2026-11-22T10%3A00#top", None),
        ("https://pictures.test/a%2fb/../c;d=1", "https://pictures.test/a%2fb/../c;d=1"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://[2606:4700:0::1111]/a", "http://[2606:4700::1111]/a"),
        ("http://93.184.216.34/a", "http://93.184.216.34/a"),
        (" https://pictures.test/a \n", "https://pictures.test/a"),
        (
            "https://pictures.test/ein Bild ü.png?q=ö",
            "https://pictures.test/ein%20Bild%20%C3%BC.png?q=%C3%B6",
        ),
        ("https://bücher.test/a", "https://xn--bcher-kva.test/a"),
        ("https://pictures.test./a", "https://pictures.test./a"),
        ("http://sd_server-1:7860/a", "http://sd_server-1:7860/a"),
    ],
)
def test_a_url_made_whole(url: str, whole: str | None) -> None:
    """Relative ones are the API's; what is signed travels as it was written, without its fragment."""
    assert resolve_url(url, BASE).url == (url.partition("#")[0] if whole is None else whole)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "file:"),
        ("ftp://pictures.test/a", "ftp:"),
        ("gopher://pictures.test/", "gopher:"),
        ("javascript:alert(1)", "javascript:"),
        ("data:image/png;base64,AAAA", "data:"),
        ("unix:/var/run/docker.sock", "unix:"),
        ("https://user:word@pictures.test/a", "credentials"),
        ("https://@pictures.test/a", "credentials"),
        ("https://pictures.test@169.254.169.254/a", "credentials"),
        ("http://127.1/", "no valid host"),
        ("http://127.0.1/", "no valid host"),
        ("http://2130706433/", "no valid host"),
        ("http://0x7f000001/", "no valid host"),
        ("http://0x7f.0.0.1/", "no valid host"),
        ("http://0177.0.0.1/", "no valid host"),
        ("http://127.0.0.1./", "no valid host"),
        ("http://0/", "no valid host"),
        ("http://1.2.3.4.5/", "no valid host"),
        ("http://256.1.1.1/", "no valid host"),
        ("http://[fe80::1%25eth0]/", "no valid host"),
        ("http://[fe80::1%eth0]/", "no valid host"),
        ("http://[::1/", "cannot be parsed"),
        ("http://[v1.x]/", "no valid host|cannot be parsed"),
        ("http://a..b/", "no valid host"),
        ("http://.test/", "no valid host"),
        ("http://pictures.test%2f.evil.test/", "no valid host"),
        ("http://pictures.test\\.evil.test/", "no valid host"),
        ("http://pictures.test\\@evil.test/", "credentials|no host"),
        ("http://evil.test|x/", "no valid host"),
        ("http://pictures.test:0/", "port"),
        ("http://pictures.test:99999/", "cannot be parsed"),
        ("http://pictures.test:x/", "cannot be parsed"),
        ("http://pictures.test/a\r\nX-Evil: 1", "control"),
        ("http://pic\ttures.test/", "control"),
        ("http://pictures.test/\x00", "control"),
        ("http://" + "a" * 70 + "é.test/", "no valid host"),
        ("http://\uff0fevil.test/", "cannot be parsed|no valid host"),
    ],
)
def test_nothing_is_fetched_from(url: str, why: str) -> None:
    """Other schemes, credentials, and what two readers could take for different hosts."""
    with pytest.raises(UnsafeURLError, match=why):
        resolve_url(url, BASE)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
        ("http://[::1]/", "::1"),
        ("http://\uff11\uff12\uff17.0.0.1/", "127.0.0.1"),
        ("http://127\u30020\u30020\u30021/", "127.0.0.1"),
        ("http://localhost/", None),
        ("http://127.0.0.1.nip.test/", None),
    ],
)
def test_an_address_is_known_as_one(url: str, address: str | None) -> None:
    """In whatever characters it is written; a name with an address in it is a name."""
    place = resolve_url(url, BASE)
    assert place.address == (None if address is None else str(ip_address(address)))
    assert address is None or place.host == place.address


def test_bytes_of_a_header() -> None:
    """Those that are no UTF-8 travel as they were; half a pair of surrogates is no byte at all."""
    assert resolve_url("/\udcfc.png?a=\udcfc", BASE).url == "https://api.test/%FC.png?a=%FC"
    with pytest.raises(UnsafeURLError, match="cannot be parsed"):
        resolve_url("/\ud800.png", BASE)


def test_a_url_for_people() -> None:
    """Whole, and harmless on a terminal."""
    assert encode_url("file:///etc/x?sig=a%2Bb") == "file:///etc/x?sig=a%2Bb"
    assert encode_url("x:\x1b[2J\ud800ü") == "x:%1B[2J%3F%C3%BC"


@given(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from(["", "http://", "https://", "//", "/", "http:", "https:\\\\"]),
)
@example("[::1]\\@a", "http://")
@example("a:80:90/", "http://")
@example("\u2100.test", "http://")
@example("a/\udcc3\udcbc", "http://")
@example("a/\ud800", "http://")
def test_any_text(text: str, before: str) -> None:
    """Whatever a server writes is refused, or becomes a URL that every reader understands alike."""
    try:
        place = resolve_url(before + text, BASE)
    except UnsafeURLError:
        return
    assert place.url.isascii()
    assert place.url.isprintable()
    assert " " not in place.url
    parts = urlsplit(place.url)
    assert (parts.scheme, parts.hostname, parts.username) == (place.scheme, place.host, None)
    assert (parts.port or {"http": 80, "https": 443}[parts.scheme]) == place.port
    assert resolve_url(place.url, BASE) == place


def test_an_origin() -> None:
    """The same scheme, host and port, said or not."""
    same = [resolve_url(url, BASE) for url in ("/a", "https://api.test/b", "https://API.test:443/c")]
    others = ["http://api.test/", "https://api.test:444/", "https://api.test./", "https://www.api.test/"]
    assert {place.origin for place in same} == {("https", "api.test", 443)}
    assert all(resolve_url(url, BASE).origin != same[0].origin for url in others)
    assert resolve_url("http://[::1]:8/x", BASE).root == "http://[::1]:8/"


def test_a_redirect() -> None:
    """It is seen from where it was met, and may become safer only."""
    here = resolve_url("https://pictures.test/a/b.png?x=1", BASE)
    assert resolve_redirect(here, "c.png").url == "https://pictures.test/a/c.png"
    assert resolve_redirect(here, "//other.test/d").url == "https://other.test/d"
    assert (
        resolve_redirect(resolve_url("http://pictures.test/", BASE), "https://pictures.test/").scheme
        == "https"
    )
    with pytest.raises(UnsafeURLError, match="https to http"):
        resolve_redirect(here, "http://pictures.test/a")
    with pytest.raises(UnsafeURLError, match="file:"):
        resolve_redirect(here, "file:///etc/passwd")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://pictures.test/a.png?sig=secret#x", "https://pictures.test/a.png"),
        ("https://user:word@pictures.test/a", "https://pictures.test/a"),
        ("/v1/images/7?variant=0", "/v1/images/7"),
        ("https://pictures.test/a;token=secret", "https://pictures.test/a"),
        ("data:image/png;base64,AAAA", "a data: URL"),
        ("https://pictures.test/" + "a" * 500, "https://pictures.test/" + "a" * 178 + "…"),
        ("https://pictures.test/\x1b[31m", "https://pictures.test/?[31m"),
    ],
)
def test_what_is_shown(url: str, text: str) -> None:
    """No query, no credentials, no control characters, no end of it."""
    assert display_url(url) == text


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:image/png;base64," + base64.b64encode(PNG).decode(),
        "data:;base64," + quote(base64.b64encode(PNG).decode(), safe=""),
        "data:image/png," + quote(PNG, safe=""),
    ],
)
def test_a_data_url(url: str) -> None:
    """The image itself, in base64 or not."""
    assert is_data_url(url)
    assert decode_data_url(url, MemorySink(), 1000).data == PNG


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:image/png;base64", DecodeError),
        ("data:image/png;base64,A*B", DecodeError),
        ("data:image/png;base64," + "A" * 2000, ResponseTooLargeError),
        ("data:image/png," + "A" * 2000, ResponseTooLargeError),
    ],
)
def test_a_data_url_that_is_none(url: str, kind: type[Exception]) -> None:
    """What is no base64, or too much of it, is told."""
    with pytest.raises(kind):
        decode_data_url(url, MemorySink(), 1000)
