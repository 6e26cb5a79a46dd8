"""What an IP address is, and whether images are fetched from it."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from openai_images.http.address_guard import classify, is_allowed, normalize

KINDS = [
    ("8.8.8.8", "public"),
    ("1.1.1.1", "public"),
    ("172.15.255.255", "public"),
    ("172.32.0.0", "public"),
    ("100.63.255.255", "public"),
    ("100.128.0.0", "public"),
    ("223.255.255.255", "public"),
    ("2606:4700:4700::1111", "public"),
    ("2a00:1450::1", "public"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("100.64.0.1", "private"),
    ("198.18.0.1", "private"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("64:ff9b:1::a00:1", "private"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("0.0.0.0", "loopback"),
    ("::1", "loopback"),
    ("::", "loopback"),
    ("169.254.169.254", "forbidden"),
    ("169.254.0.1", "forbidden"),
    ("100.100.100.200", "forbidden"),
    ("168.63.129.16", "forbidden"),
    ("192.0.0.192", "forbidden"),
    ("fd00:ec2::254", "forbidden"),
    ("fd20:ce::254", "forbidden"),
    ("0.1.2.3", "forbidden"),
    ("192.0.2.1", "forbidden"),
    ("192.88.99.1", "forbidden"),
    ("198.51.100.7", "forbidden"),
    ("203.0.113.7", "forbidden"),
    ("224.0.0.1", "forbidden"),
    ("239.255.255.250", "forbidden"),
    ("240.0.0.1", "forbidden"),
    ("255.255.255.255", "forbidden"),
    ("fe80::1", "forbidden"),
    ("fe80::1%eth0", "forbidden"),
    ("fec0::1", "forbidden"),
    ("ff02::1", "forbidden"),
    ("2001::1", "forbidden"),
    ("2001:db8::1", "forbidden"),
    ("3fff::1", "forbidden"),
    ("100::1", "forbidden"),
    ("5f00::1", "forbidden"),
    ("4000::1", "forbidden"),
    ("::7f00:1", "forbidden"),
    # Those that carry another address are what that one is.
    ("::ffff:8.8.8.8", "public"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:169.254.169.254", "forbidden"),
    ("::ffff:0:10.0.0.1", "private"),
    ("64:ff9b::808:808", "public"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "forbidden"),
    ("2002:808:808::1", "public"),
    ("2002:a00:1::", "private"),
    ("2002:a9fe:a9fe::", "forbidden"),
]

HOME = ("192.168.1.7",)
HERE = ("127.0.0.1", "::1")
ALL_IPV4 = st.ip_addresses(v=4).map(str)
ALL_IPV6 = st.ip_addresses(v=6).map(str)


@pytest.mark.parametrize(("address", "kind"), KINDS)
def test_what_an_address_is(address: str, kind: str) -> None:
    """Each is what the registries of IANA, and the clouds, say of it."""
    assert classify(address) == kind


@pytest.mark.parametrize(("address", "kind"), KINDS)
@pytest.mark.parametrize("api", [(), ("93.184.216.34",), HOME, HERE])
def test_where_the_api_is_counts(address: str, kind: str, api: tuple[str, ...]) -> None:
    """A network of one's own is reached only from an API within one, and what is forbidden from nowhere."""
    inside = api in (HOME, HERE)
    assert is_allowed(address, api) == (kind == "public" or (kind in ("private", "loopback") and inside))


@pytest.mark.parametrize("address", ["169.254.7.7", "fe80::1", "203.0.113.7", "100.100.100.200"])
def test_the_apis_own_address(address: str) -> None:
    """Where the API itself is, images may be, in whatever spelling; its neighbours get nothing from that."""
    assert is_allowed(address, (address,))
    assert is_allowed("::ffff:169.254.7.7", ("169.254.7.7",))
    assert not is_allowed("169.254.169.254", (address,))
    assert not is_allowed("10.0.0.1", (address,))


@given(ALL_IPV4, st.sampled_from(["::ffff:{}", "::ffff:0:{}", "64:ff9b::{}"]))
def test_carried_addresses(address: str, carrier: str) -> None:
    """An IPv4 address within IPv6 is that address."""
    assert normalize(carrier.format(address)) == normalize(address) == address
    assert classify(carrier.format(address)) == classify(address)


@given(ALL_IPV4 | ALL_IPV6)
def test_no_address_is_more_than_python_says(address: str) -> None:
    """What Python calls local, multicast or reserved is never public here."""
    inner = ip_address(normalize(address))
    names = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16") if inner.version == 4 else ("fc00::/7",)
    own = any(inner in ip_network(name) for name in names)
    if own or inner.is_loopback or inner.is_link_local or inner.is_multicast or inner.is_reserved:
        assert classify(address) != "public"


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "1.2.3", "::g"])
def test_what_is_no_address(text: str) -> None:
    """A name, and a way of writing an address that readers understand differently, is none."""
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        classify(text)
