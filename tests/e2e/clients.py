"""One load, spread over the ingest pods of a split deployment, while something befalls it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

from ringtime_local.cluster import Cluster
from tests.e2e.conftest import APPS, PARTITIONS, until_shared
from tests.harness.client import LoadClient
from tests.harness.ledger import Verdict, judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, record

RATE = 200.0 if IS_LONG else 100.0  #: of all but the steady load, which is the same in both sets
LEAD_S = (1, 20) if IS_LONG else (1, 4)
PER_KILL = 1_000  #: most duplicates for one dispatcher killed or frozen
OWNED = len(APPS) * PARTITIONS
BEFORE_S, AFTER_S = (5, 5) if IS_LONG else (2, 2)  #: load before a fault and after it


class Clients:
    """One load, spread over the ingest pods."""

    def __init__(
        self,
        cluster: Cluster,
        receiver: Receiver,
        clients: list[LoadClient],
        seed: int,
        apps: Sequence[str],
    ) -> None:
        self.cluster = cluster
        self.receiver = receiver
        self.load = Load(receiver, apps=apps, rng=Random(seed))
        self.clients = clients

    async def steady(
        self, seconds: float, *, lead_s: tuple[float, float] = (1, 30), per_s: float = RATE
    ) -> None:
        """So many creates a second in all, 5 % of them cancelled."""
        share = per_s / len(self.clients)
        await asyncio.gather(
            *(
                self.load.run(client, per_s=share, seconds=seconds, lead_s=lead_s, cancels=0.05)
                for client in self.clients
            )
        )

    async def burst(self, count: int, *, due_in_s: float, over_s: float = 1.0) -> float:
        """Create `count` schedules due within `over_s`; return when the first is due, epoch seconds."""
        due_s = time.time() + due_in_s
        await asyncio.gather(
            *(
                self.load.create(
                    self.clients[n % len(self.clients)], int((due_s + over_s * n / count) * 1000)
                )
                for n in range(count)
            )
        )
        return due_s

    def acked_since(self, since_ms: float) -> bool:
        """Whether a create was acknowledged after this moment."""
        return any(entry.acked_ms > since_ms for entry in reversed(self.load.creates))

    async def verdict(self, name: str, *, timeout_s: float = 90, **facts: Any) -> Verdict:
        """Wait for what is still to come, judge, write it down; nothing may be lost or early."""
        await wait_for_deliveries(self.receiver, self.load.creates, timeout_s=timeout_s)
        verdict = judge(self.load.creates, self.receiver.arrivals())
        unanswered = sum(entry.schedule_id is None for entry in self.load.creates)
        print(record(name, verdict, unanswered=unanswered, **facts).stem, verdict, facts)
        assert verdict.broken() == []
        return verdict


@asynccontextmanager
async def clients_of(
    cluster: Cluster, receiver: Receiver, seed: int, apps: Sequence[str] = APPS, *, owned: int = OWNED
) -> AsyncIterator[Clients]:
    """Return a load once the cluster shares its `owned` poller instances out."""
    await until_shared(cluster, owned)
    async with AsyncExitStack() as stack:
        pods = [pod for name, pod in cluster.pods.items() if name.startswith("ingest")]
        bases = [f"http://127.0.0.1:{pod.port}/goscheduler" for pod in pods]
        clients = [await stack.enter_async_context(LoadClient(base, 64)) for base in bases]
        yield Clients(cluster, receiver, clients, seed, apps)


async def restart(cluster: Cluster, name: str) -> None:
    """Start a pod that ended again, and return when it is ready."""
    pod = cluster.start_pod(name)
    await asyncio.to_thread(pod.wait_ready, time.monotonic() + 90)


async def until(due_s: float) -> None:
    """Return at this time of the load's own timetable."""
    await asyncio.sleep(max(due_s - time.time(), 0))


async def through(
    clients: Clients,
    fault: Awaitable[None],
    *,
    at_least_s: float = 0,
    lead_s: tuple[float, float] = LEAD_S,
) -> None:
    """Load until the fault is over and a little longer, or for `at_least_s`."""
    begun_s = time.time()
    load = asyncio.create_task(clients.steady(1_200, lead_s=lead_s))
    try:
        await until(begun_s + BEFORE_S)
        await fault
        await until(max(begun_s + at_least_s, time.time() + AFTER_S))
    finally:
        clients.load.is_over = True
        await load
