"""Where servers listen: `host:port`, as the environment names them."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from ringtime_local.errors import NotReady

CONNECT_TIMEOUT_S = 5.0


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_addresses(text: str, *, source: str) -> list[Address]:
    """Read `host:port[,host:port...]`; `source` is named when the text is refused."""
    found = []
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{source} must be host:port, separated by commas if several, not {text!r}")
        found.append(Address(host.strip("[]"), int(port)))
    return found


def addresses_from_environment(variable: str) -> list[Address]:
    """Return the addresses that an environment variable names; none when it is unset or empty."""
    text = os.environ.get(variable, "")
    return parse_addresses(text, source=variable) if text else []


def check_port(address: Address) -> None:
    """Connect and hang up. Raises NotReady. Cheap and quiet, where client libraries log each refusal."""
    try:
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise NotReady(f"{address}: {error}") from error
