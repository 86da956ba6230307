"""Which addresses and names are public: a table by the classes of the test plan, and every block's edges."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringtime_shared.callbacks.address_rules import (
    BLOCKED_IPV4,
    BLOCKED_IPV6,
    PUBLIC_IPV6,
    is_internal_name,
    is_public,
    parse_address,
)

PRIVATE = [
    # 97, 100: loopback and "this host"
    *("127.0.0.1", "127.0.0.0", "127.1.2.3", "127.255.255.255", "0.0.0.0", "0.0.0.1", "0.255.255.255"),
    # 101 to 103: loopback of IPv6, and IPv4 inside of IPv6
    *("::1", "::", "::2", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1"),
    *("::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:168.63.129.16", "0:0:0:0:0:ffff:a00:1"),
    *("::127.0.0.1", "::7f00:1", "::a9fe:a9fe", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    # 104 to 106: translated and tunnelled IPv4, also of public addresses
    *("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1", "64:ff9b:1:ffff::1"),
    *("2002:a9fe:a9fe::", "2002:7f00:1::1", "2002:808:808::1", "2001::7f00:1", "2001:0:4136:e378:8000::1"),
    *("2001:10::1", "2001:20::1", "2001:1ff:ffff::1"),
    # 107, 108: link-local, site-local, unique local
    *("fe80::1", "fe80::a9fe:a9fe", "febf:ffff::1", "fec0::1", "feff::1", "fc00::1", "fd00:ec2::254"),
    *("fd20:ce::254", "fdff:ffff::1"),
    # 109 to 111: metadata
    *("169.254.169.254", "169.254.0.1", "169.254.170.2", "169.254.255.255", "168.63.129.16"),
    *("100.100.100.200", "100.64.0.1", "100.127.255.255", "192.0.0.192", "192.0.0.1"),
    # private networks
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    # documentation, benchmarks, relays, multicast, reserved
    *("192.0.2.1", "198.51.100.1", "203.0.113.255", "198.18.0.1", "198.19.255.255", "192.88.99.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1", "ff00::"),
    *("2001:db8::1", "2001:db8:ffff::1", "3fff::1", "3fff:fff::1", "100::1", "100:0:0:1::1", "5f00::1"),
    *("4000::1", "1fff::1", "8000::1", "e000::1", "200::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0"),
    *("172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "1.0.0.0"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1"),
    *("2003::1", "2a00:1450::1", "2620:fe::fe", "3ffe::1", "3fff:1000::1", "::ffff:8.8.8.8"),
]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_leads_back_inside(text: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert not is_public(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public(text: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        *("fe80::1%eth0", "fe80::1%1", "2606:4700:4700::1111%eth0", "::1%lo", "::ffff:8.8.8.8%eth0"),  # 107
        *("127.1", "0177.0.0.1", "0x7f000001", "2130706433", "0x7f.1", "1.2.3", "1.2.3.4.5"),  # 98, 99
        *("", "localhost", "256.0.0.1", "08.8.8.8", " 8.8.8.8", "8.8.8.8\n", "８.8.8.8", "[::1]"),
    ],
)
def test_what_is_no_address_to_use(text: str) -> None:
    assert parse_address(text) is None


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert parse_address("::ffff:1.2.3.4") == IPv4Address("1.2.3.4")


@pytest.mark.parametrize("block", BLOCKED_IPV4, ids=str)
def test_an_ipv4_block_is_blocked_to_its_edges(block: object) -> None:
    network = ip_network(str(block))
    assert not is_public(network[0])
    assert not is_public(network[-1])
    for beyond in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= beyond < 1 << 32 and not any(IPv4Address(beyond) in other for other in BLOCKED_IPV4):
            assert is_public(IPv4Address(beyond))


@given(st.integers(0, (1 << 128) - 1).map(IPv6Address))
def test_ipv6_outside_of_2000_is_never_public(address: IPv6Address) -> None:
    found = parse_address(str(address))
    if address.ipv4_mapped is None:
        assert found == address
        is_blocked = address not in PUBLIC_IPV6 or any(address in block for block in BLOCKED_IPV6)
        assert is_public(address) is not is_blocked


@pytest.mark.parametrize("embed", ["::{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}"])
@given(st.ip_addresses(v=4))
def test_no_form_that_carries_an_ipv4_address_is_public(embed: str, address: IPv4Address) -> None:
    found = parse_address(embed.format(address))
    assert found is not None
    assert not is_public(found)


@pytest.mark.parametrize(
    ("host", "is_internal"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("localhost.localdomain", True),
        ("printer.local", True),
        ("metadata.google.internal", True),  # 112
        ("instance-data.ec2.internal", True),
        ("db.svc.cluster.local", True),
        ("nas.home.arpa", True),
        ("metadata.goog", True),
        ("metadata.tencentyun.com", True),
        ("redis", True),
        ("metadata", True),
        ("example.com", False),
        ("local.example.com", False),
        ("localhost.example.com", False),
        ("notlocal", True),
        ("thelocal.se", False),
        ("internal.example", False),
        ("home.arpa", False),
    ],
)
def test_names_of_neighbours(host: str, is_internal: bool) -> None:
    assert is_internal_name(host) is is_internal
