"""What one etcd does for a fleet of dispatchers: leases, watches, and claims that every one of them hears of.

Each dispatcher is a connection of its own with a lease that is renewed as `coordination.ttl_s` says, a
member's key and a watch of everything, as a session has them. What arrives is counted and not kept, since a
thousand sessions' books do not fit one process. One real session claims for all of them.

Run: PYTHONPATH=infra:. .venv/bin/python benchmarks/etcd_fleet.py [dispatchers ...]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from aetcd import rpc

from ringtime_local import LocalServers
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.coordination.etcd.connection import Connection
from ringtime_shared.coordination.etcd.keys import Layout, to_value
from ringtime_shared.coordination.etcd.lease import KeptLease
from ringtime_shared.coordination.etcd.requests import put_if_absent
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import CoordinationSettings

FLEETS = (100, 300)  #: a thousand take more than one process of two cores to play
STEADY_S = 8.0
EVENTS = 300_000  #: that are to be delivered, to all dispatchers together
JOINS_AT_ONCE = 20
MOST_AT_TTL = 300


class Follower:
    """A dispatcher's lease and watch."""

    def __init__(self, number: int, settings: CoordinationSettings) -> None:
        self.heard = 0
        self.lost = ""
        self._name = f"dispatcher-{number}"
        self._layout = Layout(settings.prefix)
        self._connection = Connection(settings)
        self._lease = KeptLease(self._connection, SystemClock(), settings)
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """As a dispatcher does: again, where this process has too much to do to hear an answer in time."""
        for is_last in (False,) * 9 + (True,):
            try:
                await self._lease.grant()
                break
            except (OutcomeUnknown, StoreUnavailable):
                if is_last:
                    raise
        key, value = self._layout.node_key(self._name), to_value(Member(node=self._name))
        await self._connection.txn_again(put_if_absent(key, value, self._lease.id))
        self._tasks.append(asyncio.create_task(self._keep()))

    def follow(self) -> None:
        """Watch. Only once all have joined: each would hear of every other one, which takes this process
        longer than a call may."""
        self._tasks.append(asyncio.create_task(self._follow()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._lease.revoke()
        await self._connection.close()

    async def _keep(self) -> None:
        self.lost = await self._lease.keep()

    async def _follow(self) -> None:
        create = rpc.WatchCreateRequest(key=self._layout.start, range_end=self._layout.end)
        async with aclosing(self._connection.watch(rpc.WatchRequest(create_request=create))) as answers:
            async for answer in answers:
                self.heard += len(answer.events)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not holds():  # noqa: ASYNC110 - what others hear sets no event here
            await asyncio.sleep(0.02)


async def measure(endpoint: str, pid: int, count: int) -> str:
    ttl_s = 10 if count <= MOST_AT_TTL else 30  # this one process cannot renew more in time
    settings = CoordinationSettings(endpoints=(endpoint,), prefix=f"/fleet/{count}", ttl_s=ttl_s)
    followers = [Follower(number, settings) for number in range(count)]
    try:
        began_s = time.perf_counter()
        for start in range(0, count, JOINS_AT_ONCE):
            await asyncio.gather(*(each.join() for each in followers[start : start + JOINS_AT_ONCE]))
        joined_s = time.perf_counter() - began_s
        for each in followers:
            each.follow()
        before_s, began_s = cpu_s(pid), time.perf_counter()
        await asyncio.sleep(STEADY_S)
        steady = (cpu_s(pid) - before_s) / (time.perf_counter() - began_s)
        claimer = EtcdSession(settings, SystemClock())
        await claimer.join(Member(node="claimer"))
        instances = [Instance("app", number) for number in range(EVENTS // count)]
        heard = [each.heard for each in followers]
        before_s, began_s = cpu_s(pid), time.perf_counter()
        await claimer.claim(instances)
        claimed_s = time.perf_counter() - began_s
        pairs = list(zip(followers, heard, strict=True))
        await until(lambda: all(each.heard - had >= len(instances) for each, had in pairs))
        told_s, told_cpu_s = time.perf_counter() - began_s, cpu_s(pid) - before_s
        memory = resident_mib(pid)
        await claimer.close()
        lost = sum(bool(each.lost) for each in followers)
        events = len(instances) * count
        return (
            f"{count:>11,} {ttl_s:>5} {joined_s:>8.1f} {steady:>10.1%} {len(instances):>7,} {claimed_s:>8.2f}"
            f" {told_s:>8.2f} {told_cpu_s / events * 1e6:>9.2f} {events / told_s:>10,.0f} {memory:>8.0f}"
            f" {lost:>5}"
        )
    finally:
        await asyncio.gather(*(each.close() for each in followers))


async def main(fleets: list[int]) -> None:
    with LocalServers(cassandra=False, kafka=False, own=True) as servers:
        print(
            f"{'dispatchers':>11} {'TTL s':>5} {'joined s':>8} {'steady CPU':>10} {'claims':>7} {'made s':>8}"
            f" {'heard s':>8} {'us/event':>9} {'events/s':>10} {'etcd MiB':>8} {'lost':>5}"
        )
        for count in fleets:
            print(await measure(servers.etcd.endpoint, servers.etcd.pid, count), flush=True)


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]] or list(FLEETS)))
