"""Names to addresses: cached for a while, within a deadline, one lookup under way for each name.

The system's own `getaddrinfo` does the work, so that a name means here what it means to every other program
(hosts file, search domains, resolv.conf, the order of RFC 6724). It blocks and cannot be interrupted: each
lookup gets a thread, few at once, and a thread that hangs is given up, not waited for. An answer that comes
after the deadline is kept for the next who asks.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from ringtime_shared.callbacks.address_rules import Address, parse_address
from ringtime_shared.settings import EgressSettings

#: Each address once, in the system's order; None for one that must never be reached. Empty: not found.
Answer = tuple[Address | None, ...]
Lookup = Callable[[str], Sequence[str]]  #: blocking; raises OSError or ValueError for a name without address

MOST_THREADS = 16
MOST_WAITING = 1_000  #: lookups begun or waiting for a thread; one more fails at once
MOST_KEPT = 4_096  #: answers
MOST_ADDRESSES = 256  #: no honest name has more; one that has is not called
_FAILURE_KEEP_S = 2.0


class _Kept(NamedTuple):
    answer: Answer
    until_s: float


class _Flight(NamedTuple):
    task: asyncio.Task[Answer]
    until_s: float  #: nobody waits longer for it


def system_lookup(host: str) -> Sequence[str]:
    """Ask the system for the IPv4 and IPv6 addresses of a name. Raises OSError, ValueError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Resolver:
    """Looks names up. Needs no closing: its threads end with the process.

    Args:
        lookup: what is asked; tests give answers of their own.
    """

    def __init__(self, settings: EgressSettings, *, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._timeout_s = settings.dns_timeout_ms / 1_000
        self._keep_s = settings.dns_keep_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._under_way: dict[str, _Flight] = {}
        self._threads = asyncio.Semaphore(MOST_THREADS)

    async def resolve(self, host: str, *, timeout_s: float) -> Answer:
        """Return what a name stands for, at most `egress.dns_keep_s` old.

        Empty if it has no address, or no answer came within `timeout_s` and `egress.dns_timeout_ms`.
        """
        now_s = asyncio.get_running_loop().time()
        kept = self._kept.get(host)
        if kept is not None and now_s < kept.until_s:
            return kept.answer
        flight = self._under_way.get(host)
        if flight is None:
            if len(self._under_way) >= MOST_WAITING:
                return ()
            task = asyncio.create_task(self._look_up(host), name=f"resolve {host}")
            flight = self._under_way[host] = _Flight(task, now_s + self._timeout_s)
        wait_s = min(timeout_s, flight.until_s - now_s)
        if wait_s > 0:
            await asyncio.wait([flight.task], timeout=wait_s)
        return flight.task.result() if flight.task.done() else ()

    async def _look_up(self, host: str) -> Answer:
        try:
            async with self._threads:
                answer = await self._in_thread(host)
            self._keep(host, answer)
            return answer
        finally:
            del self._under_way[host]

    async def _in_thread(self, host: str) -> Answer:
        """Run one lookup in a daemon thread: one of a pool would hold up the exit of the process."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        def run() -> None:
            answer: Answer = ()
            try:
                answer = self._ask(host)
            finally:
                with suppress(RuntimeError):  # the loop was closed meanwhile; nobody wants to know any more
                    loop.call_soon_threadsafe(settle, answer)

        threading.Thread(target=run, name=f"resolve {host}", daemon=True).start()
        return await future

    def _ask(self, host: str) -> Answer:
        try:
            texts = list(dict.fromkeys(self._lookup(host)))
        except (OSError, ValueError):
            return ()
        if len(texts) > MOST_ADDRESSES:
            return (None,)
        return tuple(dict.fromkeys(parse_address(text) for text in texts))

    def _keep(self, host: str, answer: Answer) -> None:
        keep_s = self._keep_s if answer else min(self._keep_s, _FAILURE_KEEP_S)
        self._kept[host] = _Kept(answer, asyncio.get_running_loop().time() + keep_s)
        self._kept.move_to_end(host)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
