"""Where callbacks may go: the operator's word on addresses, ports and name lookups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from msgspec import Meta

Network = IPv4Network | IPv6Network

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """Which targets callbacks may reach, checked when a schedule is created and again at each connect. Set
    the same values in every process. Private, loopback, link-local and other special addresses are refused
    unless `allow` names them."""

    allow: tuple[str, ...] = ()
    """Blocks of addresses that callbacks may reach although they are private: `10.1.0.0/16`, `fd00::/8`.
    Every app may call whatever listens there."""

    deny: tuple[str, ...] = ()
    """Blocks of addresses that callbacks never reach, whatever `allow` says. Name public addresses of your
    own here."""

    ports: Annotated[tuple[str, ...], Meta(min_length=1)] = ("80", "443", "8080", "8443")
    """Ports that callbacks may reach, each a number or a range such as `8000-8999`. Few, so that callbacks
    cannot talk to a mail server or a database."""

    https_only: bool = False
    """Whether `http://` is refused."""

    dns_timeout_ms: Annotated[int, Meta(ge=10, le=10_000)] = 2_000
    """Time for one name lookup, in milliseconds; it also counts against the attempt's own deadline."""

    dns_keep_s: Annotated[float, Meta(ge=0, le=60)] = 30.0
    """How long the answer to a lookup is used, in seconds; 0 asks for each attempt. Connections go to the
    addresses that were checked, so this bounds how late a moved host is noticed, not how safe a check is."""


def parse_network(text: str) -> Network:
    """Return a CIDR block, or one address, as a network. Raises ValueError, also for set host bits."""
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        if network.network_address.scope_id:
            raise ValueError("a zone names no network")
        if network.subnet_of(_MAPPED):
            # An address of this form is checked as the IPv4 address in it, so the block would match nothing.
            raise ValueError("write an IPv4 block as IPv4")
    return network


def parse_ports(text: str) -> range:
    """Return the ports that `443` or `8000-8999` stands for. Raises ValueError."""
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError("neither a port nor a range")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= 65_535:
        raise ValueError("out of range")
    return range(first, last + 1)
