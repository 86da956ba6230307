"""How fast a session claims and releases, and what its view costs, on an etcd of this machine.

Run: PYTHONPATH=infra python benchmarks/etcd_session.py [claims]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from ringtime_local import LocalServers
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import CoordinationSettings


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    began, began_cpu = time.perf_counter(), time.process_time()
    yield
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(f"{what:<52}{took:8.3f} s{count / took:12,.0f}/s{cpu / count * 1e6:10.1f} us CPU each")


async def until(session: EtcdSession, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_so():
            await session.wait_for_change()


async def measure(endpoint: str, claims: int) -> None:
    settings = CoordinationSettings(endpoints=(endpoint,), prefix="/bench", ttl_s=30)
    wanted = [Instance(f"app{number % 200}", number // 200) for number in range(claims)]
    one, two, late = (EtcdSession(settings, SystemClock()) for _ in range(3))
    await one.join(Member(node="n1"))
    await two.join(Member(node="n2"))

    with timed(f"claim {claims:,}, packed, one call", claims):
        assert len(await one.claim(wanted)) == claims
    with timed("until another session has seen them all", claims):
        await until(two, lambda: len(two.view().claims) == claims)
    with timed("a claim of what is taken, one call", claims):
        assert not await two.claim(wanted)
    with timed("join with that many claims there", claims):
        await late.join(Member(node="n3"))

    assert len(late.view().claims) == claims
    with timed("view, nothing changed (1,000 times)", 1000):
        for _ in range(1000):
            late.view()

    async def change(work: Callable[[list[Instance]], Awaitable[object]]) -> None:
        await work(wanted[:1])
        late.view()

    await one.release(wanted[:1])
    await until(late, lambda: wanted[0] not in late.view().claims)
    with timed("view, a change before each (100 times): the copy", 100):
        for _ in range(100):
            late._book._view = None  # noqa: SLF001 - the cost of one new view, without etcd's part
            late.view()
    with timed("claim and release one by one (100 times)", 200):
        for _ in range(100):
            await change(late.claim)
            await change(late.release)
    with timed("release all, packed, one call", claims):
        await one.release(wanted)
    await one.claim(wanted)
    with timed("close: revoke a lease of that many keys, seen", claims):
        await one.close()
        await until(two, lambda: not two.view().claims)
    await two.close()
    await late.close()


if __name__ == "__main__":
    with LocalServers(cassandra=False, kafka=False) as servers:
        asyncio.run(measure(servers.etcd.endpoint, int(sys.argv[1]) if len(sys.argv) > 1 else 50_000))
