"""One simulated process: its clock, its view of the store, its lease; and how they go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from ringtime_shared.clock import ServerTime, SystemClock
from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Row
from ringtime_shared.parts import HeldParts, PartMap
from ringtime_shared.stores.arrivals import find_arrivals
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Arrival, DuePage, IdPage, IndexEntry
from tests.cluster.arrival_faults import ArrivalFaults

START_MS = 1_800_000_000_000 + 37_000  # so that a run of 40 s crosses the end of a minute
_CHANGES = frozenset({"create_app", "replace_app", "delete_app"})


def right_ms() -> int:
    """Return what a right clock shows."""
    return START_MS + int(asyncio.get_running_loop().time() * 1000)


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Chances per store call."""

    slow: float = 0.0  #: the call takes up to `slow_s`
    slow_s: float = 4.0
    slow_calls: frozenset[str] = frozenset()  #: only these; empty: any
    lost_reply: float = 0.0  #: it is carried out and the caller is told nothing
    refused: float = 0.0  #: it is not carried out and the caller is told so
    uncounted: float = 0.0  #: it changes an app, and dies before that is counted; as a lost reply else


@dataclass(slots=True)
class Work:
    """What was read of the store, in rows unless it says otherwise, and what was filed in it."""

    index: int = 0
    arrivals: int = 0
    positions: int = 0  #: keys of live rows
    rows: int = 0
    pages: int = 0  #: queries for rows, one for each poller instance and bucket that is asked for
    looks: int = 0  #: queries for positions
    marks: int = 0  #: written
    filed: set[tuple[Instance, int]] = field(default_factory=set)  #: who has rows in which bucket
    announced: int = 0  #: arrivals written

    def note(self, name: str, args: tuple[Any, ...], answer: Any) -> None:
        """Count what a call of the store gave, or took."""
        if name == "fetch_index":
            self.index += len(answer)
        elif name == "fetch_arrivals":
            self.arrivals += len(answer)
        elif name == "fetch_due":
            self.pages += len(answer)
            self.rows += _held(answer)
        elif name == "fetch_live_ids":
            self.looks += len(answer)
            self.positions += _held(answer)
        elif name == "put_marks":
            self.marks += len(args[0])
        elif name == "put_rows":
            places = [row.place for row in args[0]]
            self.filed.update((place.instance, place.bucket) for place in places)
            self.announced += len(find_arrivals(places, right_ms()))


def _held(pages: Sequence[DuePage | IdPage]) -> int:
    return sum(len(page.rows if isinstance(page, DuePage) else page.ids) for page in pages)


class Pod(SystemClock):
    """The machine's clock and the pause switch of one process."""

    def __init__(self, name: str, rng: Random, rates: FaultRates, *, skew_ms: int = 0) -> None:
        self.name = name
        self.rng = rng
        self.rates = rates
        self.is_alive = True
        self.off_ms = float(skew_ms)  #: of the wall clock, ahead of the right time
        self.drift = 0.0  #: ms a ms
        self.under_way = 0  #: its store calls that are not carried out yet
        self.uncounted: tuple[int, float] = 0, 0.0  #: what the count was, and when, as it changed an app last
        self.is_paused = False
        self.loop = asyncio.get_running_loop()  # asked each time, it would be a tenth of a run
        self._frozen_s = 0.0  # when it was paused
        self._running = asyncio.Event()
        self._running.set()

    def now_ms(self) -> int:
        boot_ms = self.boot_ms()
        return START_MS + boot_ms + int(self.off_ms + self.drift * boot_ms)

    def boot_ms(self) -> int:
        return int((self._frozen_s if self.is_paused else self.loop.time()) * 1000)

    def pause(self, seconds: float) -> None:
        """Freeze the process as SIGSTOP does: no call goes out or comes back, the clock seems to stand."""
        if not self.is_paused:
            self.is_paused, self._frozen_s = True, self.loop.time()
            self._running.clear()
            self.loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self.is_paused = False
        self._running.set()

    async def wait_running(self) -> None:
        await self._running.wait()


class PodStore:
    """The shared store as one pod sees it over a network: slow, and not always answering."""

    def __init__(self, store: MemoryStore, pod: Pod) -> None:
        self._store = store
        self._pod = pod
        self.hosts_off_ms: list[float] = []  #: of the store's hosts; none: it has no clock
        self.work: Work | None = None  #: counts what this pod reads
        self.arrival_faults: ArrivalFaults | None = None
        self.parts: HeldParts | None = None  #: if the pod holds a part map; else it goes by the store's

    async def fetch_times(self) -> list[ServerTime]:
        """Each host is asked as anything else is."""
        times = []
        for number in range(len(self.hosts_off_ms)):
            asked_ms = self._pod.boot_ms()
            try:
                told_ms = await self._call("time", self._tell, number)
            except (StoreUnavailable, OutcomeUnknown):
                continue
            answered_ms = self._pod.boot_ms()
            offset_ms = told_ms - (asked_ms + answered_ms) // 2
            times.append(ServerTime(f"host {number}", offset_ms, (answered_ms - asked_ms) // 2 + 1))
        if self.hosts_off_ms and not times:
            raise StoreUnavailable("no host told the time")
        return times

    async def _tell(self, number: int) -> int:
        now_s = asyncio.get_running_loop().time()
        return START_MS + int(now_s * 1000 + self.hosts_off_ms[number])

    def hold_parts(self) -> None:
        """Go by a part map of this pod's own, as over a network, not by the one that is stored."""
        fetch = partial(self._call, "fetch_parts", self._store.fetch_parts)
        self.parts = HeldParts(fetch, self._pod.boot_ms, PartMap())

    async def put_rows(self, rows: Sequence[Row]) -> None:
        if self.parts is None:
            await self._call("put_rows", self._store.put_rows, rows)
        else:
            await self.parts.write(lambda count: self._call("put_rows", self._store.file_rows, rows, count))

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        entries: list[IndexEntry]
        if self.parts is None:
            entries = await self._call("fetch_index", self._store.fetch_index, first, last, groups)
        else:
            read = partial(self._call, "fetch_index", self._store.read_index, first, last, groups)
            entries = await self.parts.read(read)
        return entries

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        """Leave out, keep back and repeat what the faults say."""
        arrivals: list[Arrival] = await self._call("fetch_arrivals", self._arrivals_since, after_ms, groups)
        return arrivals

    async def _arrivals_since(self, after_ms: int, groups: Collection[int] | None) -> list[Arrival]:
        faults = self.arrival_faults
        if faults is None:
            return await self._store.fetch_arrivals(after_ms, groups)
        earlier = await self._store.fetch_arrivals(after_ms - faults.repeated_ms, groups)
        return faults.shown(earlier, after_ms=after_ms, now_ms=right_ms())

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = self.__dict__[name] = partial(self._call, name, getattr(self._store, name))
        return call  # and the next time it is found without being asked for here

    async def _call(
        self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any
    ) -> Any:
        pod, rng, rates = self._pod, self._pod.rng, self._pod.rates
        if pod.is_paused:
            await pod.wait_running()
        if rng.random() < rates.refused:
            raise StoreUnavailable(f"{name}: simulated refusal")
        may_be_slow = not rates.slow_calls or name in rates.slow_calls
        delay_s = rng.uniform(0, rates.slow_s) if may_be_slow and rng.random() < rates.slow else 0.004
        is_uncounted = rates.uncounted > 0 and name in _CHANGES and rng.random() < rates.uncounted
        if options:
            method = partial(method, **options)
        if is_uncounted:
            method = partial(self._change_uncounted, method)
        # What was sent is carried out, even if the sender dies or stops waiting.
        call: asyncio.Future[Any] = pod.loop.create_future()
        pod.under_way += 1
        pod.loop.call_later(delay_s, self._carry_out, method, args, call)
        answer = await call
        if self.work is not None:
            self.work.note(name, args, answer)
        if pod.is_paused:
            await pod.wait_running()
        if is_uncounted or rng.random() < rates.lost_reply:
            raise OutcomeUnknown(f"{name}: simulated lost reply")
        return answer

    def _carry_out(
        self,
        method: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        call: asyncio.Future[Any],
    ) -> None:
        self._pod.under_way -= 1
        try:
            method(*args).send(None)
        except StopIteration as done:
            if not call.done():
                call.set_result(done.value)
        except Exception as error:  # noqa: BLE001 - whoever waits for the call gets it
            if not call.done():
                call.set_exception(error)
        else:
            raise AssertionError(f"{method!r} waits for something: the memory driver does not")

    async def _change_uncounted(self, change: Callable[..., Awaitable[Any]], *args: Any) -> None:
        count = self._store._app_changes
        await change(*args)  # in one go: the memory driver waits for nothing
        while self._store._app_changes > count:
            self._store._app_changes -= self._store._last_app_changes.pop().weight
        self._pod.uncounted = count, asyncio.get_running_loop().time()


class PodSession(MemorySession):
    """A lease whose renewals and calls stop while its pod is paused, and end when it dies."""

    def __init__(self, hub: Hub, pod: Pod, *, ttl_ms: int, margin_ms: int) -> None:
        super().__init__(hub, pod, ttl_ms=ttl_ms, margin_ms=margin_ms)
        self._pod = pod

    async def _reach(self) -> None:
        await self._pod.wait_running()
        await asyncio.sleep(0.002)
        await self._pod.wait_running()

    async def join(self, member: Any) -> None:
        await self._reach()
        await super().join(member)

    async def claim(self, instances: Any) -> Any:
        await self._reach()
        return await super().claim(instances)

    async def release(self, instances: Any) -> None:
        await self._reach()
        await super().release(instances)

    async def wait_for_change(self) -> None:
        await super().wait_for_change()
        await self._pod.wait_running()

    def renew(self, started_ms: int) -> None:
        if self._pod.is_alive and not self._pod.is_paused:
            super().renew(started_ms)
