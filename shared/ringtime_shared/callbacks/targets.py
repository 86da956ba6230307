"""Where a callback URL leads: scheme, host and port."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ringtime_shared.callbacks.address_rules import Address, parse_address
from ringtime_shared.callbacks.url_rules import url_fault

_ORIGIN = re.compile(r"([A-Za-z]+://[^/?#]*)")
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """What a connection is made to."""

    scheme: str  #: http or https
    host: str  #: a name in lower case, or an address without brackets
    port: int
    address: Address | None  #: the host, if it is an address; a mapped one is the IPv4 address

    @property
    def origin(self) -> str:
        """Return `scheme://host:port`, the same text for all spellings of one target."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_target(url: str) -> Target | None:
    """Return where a URL leads; None for one that breaks the rules of `url_rules` up to its path."""
    origin = _ORIGIN.match(url)
    return _parse_origin(origin[1].lower()) if origin else None


@lru_cache(maxsize=4_096)  # the paths of an app's callbacks differ, their origins seldom do
def _parse_origin(origin: str) -> Target | None:
    if url_fault(origin) is not None:
        return None
    scheme, _, authority = origin.partition("://")
    if authority.startswith("["):
        text, _, port = authority[1:].partition("]")
        port = port[1:]
    else:
        text, _, port = authority.partition(":")
    address = parse_address(text)
    host = text if address is None else str(address)
    return Target(scheme, host, int(port) if port else DEFAULT_PORTS[scheme], address)
