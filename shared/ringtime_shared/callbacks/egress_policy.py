"""Which targets the operator lets callbacks reach. Pure: what a name means is given, not looked up.

| asked | by | answer |
|---|---|---|
| before a lookup | `refuses` | scheme, port, addresses in the URL, names that mean a neighbour |
| after it | `allows` | the same, and every address that the name has |

An address is judged in this order: `deny` refuses it on any port; `open` takes it on any port; the port must
be one of `ports`; `allow` takes it; else it must be public.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ringtime_shared.callbacks.address_rules import Address, is_internal_name, is_public
from ringtime_shared.callbacks.url_rules import Target
from ringtime_shared.settings import EgressSettings
from ringtime_shared.settings.egress import Network, parse_network, parse_ports

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
NOT_ALLOWED = "the target is not allowed"  #: all that a client is told, so that it cannot map the network


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """The settings of `egress`, parsed."""

    ports: tuple[range, ...]
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    open: tuple[Network, ...] = ()  #: may be reached on any port: loopback in development mode, else none
    https_only: bool = False

    @classmethod
    def of(cls, settings: EgressSettings, *, loopback: bool = False) -> EgressPolicy:
        """Parse checked settings.

        Args:
            loopback: development mode: this machine may be called on any port.
        """
        return cls(
            ports=tuple(parse_ports(text) for text in settings.ports),
            allow=tuple(parse_network(text) for text in settings.allow),
            deny=tuple(parse_network(text) for text in settings.deny),
            open=LOOPBACK if loopback else (),
            https_only=settings.https_only,
        )

    def refuses(self, target: Target) -> bool:
        """Whether the target is refused whatever a lookup would say."""
        if self.https_only and target.scheme != "https":
            return True
        if target.address is not None:
            return not self._allows_address(target.address, target.port)
        if not (self.open or self._allows_port(target.port)):
            return True
        return is_internal_name(target.host) and not (self.allow or self.open)

    def allows(self, target: Target, addresses: Sequence[Address | None]) -> bool:
        """Whether the target may be called at the addresses it was found to have, None for an unusable one.

        One that is refused refuses the target: an answer of public and private addresses is an attack.
        """
        if not addresses or self.refuses(target):
            return False
        if target.address is None and is_internal_name(target.host):
            named = (*self.allow, *self.open)
            if not all(address is not None and _is_in(address, named) for address in addresses):
                return False
        return all(self._allows_address(address, target.port) for address in addresses)

    def _allows_port(self, port: int) -> bool:
        return any(port in ports for ports in self.ports)

    def _allows_address(self, address: Address | None, port: int) -> bool:
        if address is None or _is_in(address, self.deny):
            return False
        if _is_in(address, self.open):
            return True
        return self._allows_port(port) and (is_public(address) or _is_in(address, self.allow))


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
