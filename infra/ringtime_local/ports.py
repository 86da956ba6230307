"""Free loopback ports that stay ours for as long as this process lives.

A port taken from the kernel (`bind(0)`) lies in the range that outgoing connections use, so it may be gone
when a killed server wants it back. Ports here come from below that range, and each is held by a lock file, so
that two runs at once never pick the same one between looking and starting.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
from collections.abc import Iterator, Sequence

from ringtime_local.cache import cache_folder
from ringtime_local.errors import LaunchError

LOWEST = 20_000
HIGHEST = 32_000  # exclusive; Linux hands out 32768 and above to outgoing connections
ATTEMPTS = 500

_held: list[int] = []  # open lock files: the kernel drops the locks when this process ends


def take_ports(count: int, hosts: Sequence[str] = ("127.0.0.1",)) -> list[int]:
    """Return `count` different ports that are free on every one of `hosts`, locked for this process."""
    found: list[int] = []
    for port in _candidates():
        if len(found) == count:
            return found
        if _lock(port) and all(is_free(host, port) for host in hosts):
            found.append(port)
    raise LaunchError(f"found only {len(found)} of {count} free ports between {LOWEST} and {HIGHEST}")


def is_free(host: str, port: int) -> bool:
    """Say whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _candidates() -> Iterator[int]:
    yield from random.sample(range(LOWEST, HIGHEST), ATTEMPTS)


def _lock(port: int) -> bool:
    folder = cache_folder() / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / str(port), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    _held.append(lock)
    return True
