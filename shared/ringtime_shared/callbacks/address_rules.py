"""Which addresses and names are public. Pure: no policy, no lookup.

The list is our own, not `ipaddress.is_global`, which Python 3.11 answers with True for multicast, NAT64,
6to4, site-local and other blocks that lead back inside. IPv4: all but the blocks below. IPv6: nothing but
2000::/3, without the blocks below; every form that carries an IPv4 address in it falls away with that,
except the mapped one, which is the same as the IPv4 address and checked as it.

Source: the IANA special-purpose registries, and the tables of Smokescreen and Svix.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

BLOCKED_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; also 100.100.100.200, the metadata of Alibaba
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's own services, though the block is public
        "169.254.0.0/16",  # link-local; also 169.254.169.254, the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; also broadcast
    )
)
PUBLIC_IPV6 = IPv6Network("2000::/3")
BLOCKED_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments; also Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

# A site of the public internet has none of these: they mean what the network around this process says.
_INTERNAL_SUFFIXES = (".localhost", ".localdomain", ".local", ".internal", ".intranet", ".lan", ".home.arpa")
# Metadata of clouds under public names, some at public addresses.
_METADATA_NAMES = frozenset(
    ["metadata.goog", "metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com"]
)


def parse_address(text: str) -> Address | None:
    """Return an address as a lookup spells it, or None for what must not be reached: text that is no
    address, or one with a zone (`fe80::1%eth0`). An IPv4-mapped address becomes the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


@lru_cache(maxsize=4_096)
def is_public(address: Address) -> bool:
    """Whether an address from `parse_address` is one of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in BLOCKED_IPV4)
    return address in PUBLIC_IPV6 and not any(address in block for block in BLOCKED_IPV6)


@lru_cache(maxsize=1_024)
def is_internal_name(host: str) -> bool:
    """Whether a host name, in lower case, never means a site of the public internet.

    A name of one label counts: it is completed with the search domains of this machine (in Kubernetes,
    those of the cluster), so it can only mean a neighbour.
    """
    return "." not in host or host.endswith(_INTERNAL_SUFFIXES) or host in _METADATA_NAMES
