"""Names to addresses: cached for a while, within a deadline, one lookup under way for each name.

The system's own `getaddrinfo` does the work, so that a name means here what it means to every other program
(hosts file, nsswitch, search domains, the order of RFC 6724); libraries that ask name servers themselves
know only part of that. It blocks and cannot be interrupted: where a name server is silent it comes back
after 10 to 20 s, or after 2 to 4 s with the options that `process` sets for our services.

So threads are what is scarce, and given out as permits are (`fairness`): apps take turns, and those
whose names take long leave some to the others. Creates and deliveries have threads of their own.

| what happens | deliveries | creates |
|---|---|---|
| no answer within `egress.dns_timeout_ms` | as if it had no address, for a while | the same |
| no thread came free in time | a shortage: no attempt is made | nothing is found out |
| `MOST_SCREENS` wait for a thread | | nothing is found out, at once |
| no thread can be started, no descriptor | a shortage | nothing is found out |

A thread that hangs is given up, not waited for; what it finds in the end is kept for the next who asks.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import ENOMEM
from typing import NamedTuple

from ringtime_shared.callbacks.address_rules import Address, parse_address
from ringtime_shared.fairness.fair_queue import FairQueue, Share
from ringtime_shared.process.descriptors import is_shortage
from ringtime_shared.settings import EgressSettings

#: Each address once, in the system's order; None for one that must never be reached. Empty: not found.
Answer = tuple[Address | None, ...]
Lookup = Callable[[str], Sequence[str]]  #: blocking; raises OSError or ValueError for a name without address

DELIVERY_THREADS, CREATE_THREADS = 32, 16
MOST_SCREENS = 256  #: creates' lookups without a thread; an app may have as many as are left
MOST_KEPT = 4_096  #: answers
MOST_ADDRESSES = 256  #: no honest name has more; one that has is not called
_FAILURE_KEEP_S = 2.0
_SILENCE_KEEP_S = 5.0


class _Kept(NamedTuple):
    answer: Answer
    until_s: float


class _Flight:
    """The lookup of one name, from the first who asks until its thread comes back."""

    __slots__ = ("answer", "begun_s", "host", "wishes")

    def __init__(self, host: str, answer: asyncio.Future[Answer]) -> None:
        self.host = host
        self.answer = answer  #: done when there is one, or when nobody is to wait any longer
        self.begun_s: float | None = None
        self.wishes: dict[tuple[_Threads, str], _Wish] = {}

    def settle(self, result: Answer | OSError) -> None:
        if self.answer.done():
            return
        if isinstance(result, OSError):
            self.answer.set_exception(result)
            self.answer.exception()  # whoever waited may have gone
        else:
            self.answer.set_result(result)


class _Wish:
    """A flight that an app waits for, in its turn for a thread of one purpose."""

    __slots__ = ("app_id", "flight", "is_queued", "waiters", "zone")

    def __init__(self, app_id: str, flight: _Flight) -> None:
        self.app_id = app_id
        self.flight = flight
        # What names have in common that one server answers for, as a guess.
        self.zone = ".".join(flight.host.rsplit(".", 2)[-2:])
        self.is_queued = False
        self.waiters = 0


class _Threads:
    """The threads of one purpose: who waits for them, and who has them."""

    def __init__(self, most: int, most_waiting: int | None) -> None:
        """`most_waiting`: lookups without a thread, of which an app may have as many as are left; None: no
        bound but that of those who ask."""
        self._queue: FairQueue[_Wish] = FairQueue(most, max(most // 4, 1))
        self._share = Share(in_flight=most, per_s=None, weight=1)
        self._most_waiting = most_waiting
        self._waiting = Counter[str]()  # by app

    def may_wait(self, app_id: str) -> bool:
        return (
            self._most_waiting is None or self._waiting[app_id] < self._most_waiting - self._waiting.total()
        )

    def put(self, wish: _Wish, now_s: float) -> None:
        wish.is_queued = True
        self._waiting[wish.app_id] += 1
        self._queue.put(wish.app_id, self._share, wish.zone, wish, int(now_s * 1_000))

    def withdraw(self, wish: _Wish) -> None:
        self._leave_line(wish)
        self._queue.withdraw(wish.app_id, wish.zone, wish)

    def take(self, now_s: float) -> _Wish | None:
        """Return whose turn it is, and count a thread as taken; None: nobody's, or there is none."""
        wish = self._queue.take(int(now_s * 1_000))
        if wish is not None:
            self._leave_line(wish)
        return wish

    def end(self, wish: _Wish, now_s: float, *, was_asked: bool) -> None:
        if was_asked:
            self._queue.note(wish.app_id, wish.zone, wish, int(now_s * 1_000))
        self._queue.end(wish.app_id, wish.zone, wish)

    def _leave_line(self, wish: _Wish) -> None:
        wish.is_queued = False
        self._waiting[wish.app_id] -= 1
        if not self._waiting[wish.app_id]:
            del self._waiting[wish.app_id]


def system_lookup(host: str) -> Sequence[str]:
    """Ask the system for the IPv4 and IPv6 addresses of a name. Raises OSError, ValueError."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


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
        self._flights: dict[str, _Flight] = {}
        self._deliveries = _Threads(DELIVERY_THREADS, None)  # the attempts under way are bounded
        self._creates = _Threads(CREATE_THREADS, MOST_SCREENS)

    async def resolve(self, host: str, *, app_id: str, timeout_s: float) -> Answer:
        """Return what a name stands for, at most `egress.dns_keep_s` old, for a delivery of this app.

        Empty if it has no address, or no answer came within `timeout_s` and `egress.dns_timeout_ms`.

        Raises OSError with the number of a shortage if this node could not ask.
        """
        answer = await self._find(self._deliveries, app_id, host, timeout_s)
        if answer is None:
            raise OSError(ENOMEM, "no thread for a name lookup")
        return answer

    def recall(self, host: str) -> Answer | None:
        """Return what `resolve` would, where that needs no lookup; else None."""
        kept = self._kept.get(host)
        return kept.answer if kept is not None and asyncio.get_running_loop().time() < kept.until_s else None

    async def screen(self, host: str, *, app_id: str, timeout_s: float) -> Answer:
        """Return the same for a create; empty also if this node could not ask."""
        try:
            return await self._find(self._creates, app_id, host, timeout_s) or ()
        except OSError:
            return ()

    async def _find(self, threads: _Threads, app_id: str, host: str, timeout_s: float) -> Answer | None:
        """Return the answer; None if no thread came free for it in time."""
        loop = asyncio.get_running_loop()
        if (kept := self.recall(host)) is not None:
            return kept
        flight = self._flights.get(host)
        if flight is None:
            flight = _Flight(host, loop.create_future())
        # One that waits for a thread in another app's turn waits in this one's too.
        wish = flight.wishes.get((threads, app_id))
        if wish is None:
            wish = _Wish(app_id, flight)
            if flight.begun_s is None:
                if not threads.may_wait(app_id):
                    return None
                self._flights[host] = flight
                threads.put(wish, loop.time())
            flight.wishes[threads, app_id] = wish
        wish.waiters += 1
        try:
            if flight.begun_s is None:
                self._begin(threads)
            await asyncio.wait([flight.answer], timeout=timeout_s)
        finally:
            self._leave(threads, wish)
        if flight.answer.done():
            return flight.answer.result()
        return None if flight.begun_s is None else ()

    def _leave(self, threads: _Threads, wish: _Wish) -> None:
        """Nobody looks up what nobody waits for."""
        flight = wish.flight
        wish.waiters -= 1
        if not wish.waiters:
            del flight.wishes[threads, wish.app_id]
            if wish.is_queued:
                threads.withdraw(wish)
            if not flight.wishes and flight.begun_s is None:
                self._flights.pop(flight.host, None)

    def _begin(self, threads: _Threads) -> None:
        """Start lookups as far as there are threads."""
        loop = asyncio.get_running_loop()
        while (wish := threads.take(loop.time())) is not None:
            flight = wish.flight
            if flight.begun_s is not None:  # in the turn of another app
                threads.end(wish, loop.time(), was_asked=False)
                continue
            flight.begun_s = loop.time()
            try:
                self._start_thread(threads, wish)
            except (RuntimeError, MemoryError):  # the system has none
                self._land(threads, wish, OSError(ENOMEM, "no thread for a name lookup"))
                return
            loop.call_later(self._timeout_s, flight.settle, ())

    def _start_thread(self, threads: _Threads, wish: _Wish) -> None:
        """Run one lookup in a daemon thread: one of a pool would hold up the exit of the process."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            answer: Answer | OSError = ()
            try:
                answer = self._ask(wish.flight.host)
            finally:
                with suppress(RuntimeError):  # the loop was closed meanwhile; nobody wants to know any more
                    loop.call_soon_threadsafe(self._land, threads, wish, answer)

        threading.Thread(target=run, name=f"resolve {wish.flight.host}", daemon=True).start()

    def _land(self, threads: _Threads, wish: _Wish, answer: Answer | OSError) -> None:
        now_s, flight = asyncio.get_running_loop().time(), wish.flight
        del self._flights[flight.host]
        threads.end(wish, now_s, was_asked=not isinstance(answer, OSError))
        if not isinstance(answer, OSError):
            self._keep(flight.host, answer, now_s, is_late=flight.answer.done())
        flight.settle(answer)
        self._begin(threads)

    def _ask(self, host: str) -> Answer | OSError:
        """Return the addresses, or the shortage that kept this node from asking."""
        try:
            texts = list(dict.fromkeys(self._lookup(host)))
        except (OSError, ValueError, MemoryError) as error:
            if not is_shortage(error):
                return ()
            return error if isinstance(error, OSError) else OSError(ENOMEM, "no memory for a name lookup")
        if len(texts) > MOST_ADDRESSES:
            return (None,)
        return tuple(dict.fromkeys(parse_address(text) for text in texts))

    def _keep(self, host: str, answer: Answer, now_s: float, *, is_late: bool) -> None:
        if answer:
            keep_s = self._keep_s
        else:
            keep_s = min(self._keep_s, _SILENCE_KEEP_S if is_late else _FAILURE_KEEP_S)
        self._kept[host] = _Kept(answer, now_s + keep_s)
        self._kept.move_to_end(host)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
